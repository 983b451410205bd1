//! `FlowKeys`: what a flow dissector finds in a packet, `struct bpf_flow_keys`.

use super::layout;
use crate::net::eth;
use mimic_abi::Size;
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{ContextError, Region, Setup};
use std::sync::Arc;

/// Bytes of `struct bpf_flow_keys`.
pub const FLOW_KEYS_LEN: u32 = 56;

/// The keys. Addresses, ports and the label are in network order, as programs leave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowKeys {
    /// Offset of the network header, in bytes.
    pub nhoff: u16,
    /// Offset of the transport header.
    pub thoff: u16,
    /// `ETH_P_IP` or `ETH_P_IPV6`: what the addresses are; 0 if there are none.
    pub addr_proto: u16,
    /// It is a fragment.
    pub is_frag: u8,
    /// It is the first one.
    pub is_first_frag: u8,
    /// It is a packet in a packet.
    pub is_encap: u8,
    /// `IPPROTO_*`.
    pub ip_proto: u8,
    /// The link layer's protocol, `ETH_P_*`.
    pub n_proto: u16,
    /// The source port.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
    /// The source address: 16 bytes, or 4.
    pub src: [u8; 16],
    /// The destination address.
    pub dst: [u8; 16],
    /// `BPF_FLOW_DISSECTOR_F_*`.
    pub flags: u32,
    /// The flow label of IPv6.
    pub flow_label: u32,
}

impl FlowKeys {
    /// What the kernel gives a dissector to begin with.
    pub(crate) fn of(frame: &[u8], link_len: u32, protocol: u16) -> FlowKeys {
        let offset = (link_len as usize).min(frame.len()) as u16;
        FlowKeys { nhoff: offset, thoff: offset, n_proto: protocol, ..FlowKeys::default() }
    }

    /// Addresses of IPv4 lie where the kernel's union has them: the destination right behind the source.
    fn is_v4(&self) -> bool {
        self.addr_proto != eth::ETH_P_IPV6
    }

    /// Puts them where the program's context says.
    pub(crate) fn enter(&self, setup: &mut Setup<'_>, md: &Region) -> Result<(), ContextError> {
        let region = setup.region("flow_keys", FLOW_KEYS_LEN, Layout::Bytes(Access::ReadWrite))?;
        region.fill(0, FLOW_KEYS_LEN, 0);
        for (off, value) in [(0, self.nhoff), (2, self.thoff), (4, self.addr_proto)] {
            region.store(off, Size::H, value.into());
        }
        region.write(6, &[self.is_frag, self.is_first_frag, self.is_encap, self.ip_proto]);
        for (off, value) in [(10, self.n_proto), (12, self.sport), (14, self.dport)] {
            region.write(off, &value.to_be_bytes());
        }
        let (len, dst) = if self.is_v4() { (4, 20) } else { (16, 32) };
        region.write(16, &self.src[..len]);
        region.write(dst, &self.dst[..len]);
        region.store(48, Size::W, self.flags.into());
        region.write(52, &self.flow_label.to_be_bytes());
        md.store(layout::SK_BUFF_FLOW_KEYS, Size::Dw, region.base());
        Ok(())
    }

    /// Reads back what the program left. The kernel keeps the offsets inside the packet.
    pub(crate) fn leave(setup: &Setup<'_>, packet_len: usize) -> Option<FlowKeys> {
        let region: &Arc<Region> = setup.existing("flow_keys")?;
        let (first, last) = (u64::from(eth::ETH_HLEN), packet_len.max(eth::ETH_HLEN as usize) as u64);
        let nhoff = region.load(0, Size::H).clamp(first, last);
        let thoff = region.load(2, Size::H).clamp(nhoff, last);
        let byte = |off| region.load(off, Size::B) as u8;
        let big = |off| {
            let mut bytes = [0; 2];
            region.read(off, &mut bytes);
            u16::from_be_bytes(bytes)
        };
        let mut keys = FlowKeys {
            nhoff: nhoff as u16,
            thoff: thoff as u16,
            addr_proto: region.load(4, Size::H) as u16,
            is_frag: byte(6),
            is_first_frag: byte(7),
            is_encap: byte(8),
            ip_proto: byte(9),
            n_proto: big(10),
            sport: big(12),
            dport: big(14),
            flags: region.load(48, Size::W) as u32,
            ..FlowKeys::default()
        };
        let (len, dst) = if keys.is_v4() { (4, 20) } else { (16, 32) };
        region.read(16, &mut keys.src[..len]);
        region.read(dst, &mut keys.dst[..len]);
        let mut label = [0; 4];
        region.read(52, &mut label);
        keys.flow_label = u32::from_be_bytes(label);
        Some(keys)
    }
}
