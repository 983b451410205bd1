//! What programs are run on: for each program type a list of named inputs, in the terms of BPF_PROG_TEST_RUN.

use mimic_abi::ProgType;

use super::packets::packets;

/// One input of BPF_PROG_TEST_RUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Its name in records.
    pub name: String,
    /// The packet.
    pub data_in: Option<Vec<u8>>,
    /// Room for the packet afterwards, in bytes.
    pub data_size_out: u32,
    /// The context.
    pub ctx_in: Option<Vec<u8>>,
    /// Room for the context afterwards, in bytes.
    pub ctx_size_out: u32,
    /// How often to run; 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
}

/// Bytes of `struct xdp_md`.
const XDP_MD_LEN: usize = 24;
/// Bytes of `struct __sk_buff`.
const SK_BUFF_LEN: usize = 192;
/// Bytes of `struct nf_hook_state`.
const NF_HOOK_STATE_LEN: usize = 48;
/// What programs may make a packet grow by.
const ROOM: u32 = 1024;

/// The inputs for programs of this type. None for types that the kernel has no test run for: running them anyway on
/// nothing shows its errno.
pub fn inputs(prog_type: u32) -> Vec<Input> {
    let Ok(prog_type) = ProgType::try_from(prog_type) else { return vec![nothing()] };
    match prog_type {
        ProgType::Xdp => {
            let mut inputs = packet_inputs();
            inputs.push(xdp_with_context());
            inputs
        }
        ProgType::SocketFilter
        | ProgType::SchedCls
        | ProgType::SchedAct
        | ProgType::CgroupSkb
        | ProgType::LwtIn
        | ProgType::LwtOut
        | ProgType::LwtXmit
        | ProgType::LwtSeg6local
        | ProgType::SkSkb => {
            let mut inputs = packet_inputs();
            inputs.extend([skb_with_context(), skb_repeated()]);
            inputs
        }
        ProgType::FlowDissector => packet_inputs(),
        ProgType::Netfilter => {
            let mut inputs = packet_inputs();
            // At LOCAL_IN, where packets come with a link-layer header; and none.
            inputs.extend([hook(1, 2, "udp"), hook(1, 10, "pkt_v6"), nothing()]);
            inputs
        }
        ProgType::RawTracepoint | ProgType::RawTracepointWritable => vec![numbers("args", 12, 8)],
        ProgType::Syscall => vec![nothing(), zeros("zeros64", 64), numbers("numbers", 16, 4)],
        _ => vec![nothing()],
    }
}

fn packet_inputs() -> Vec<Input> {
    let input = |packet: super::Packet| Input {
        name: packet.name.into(),
        data_size_out: packet.bytes.len() as u32 + ROOM,
        data_in: Some(packet.bytes),
        ..Input::default()
    };
    packets().into_iter().map(input).collect()
}

fn packet(name: &str) -> Input {
    packet_inputs().into_iter().find(|input| input.name == name).unwrap_or_default()
}

/// Eight bytes of metadata before the packet.
fn xdp_with_context() -> Input {
    let mut input = packet("udp");
    let mut bytes = vec![0xa5; 8];
    bytes.extend(input.data_in.unwrap_or_default());
    let mut context = vec![0; XDP_MD_LEN];
    context[..4].copy_from_slice(&8u32.to_ne_bytes());
    context[4..8].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
    input.name = "udp_with_context".into();
    input.data_in = Some(bytes);
    input.ctx_in = Some(context);
    input.ctx_size_out = XDP_MD_LEN as u32;
    input
}

/// The fields that a test run may set: mark, priority, the five words of `cb`, the time stamp.
fn skb_with_context() -> Input {
    const FIELDS: &[(usize, u32)] =
        &[(8, 0x11), (32, 0x22), (48, 1), (52, 2), (56, 3), (60, 4), (64, 5), (152, 7)];
    let mut input = packet("tcp_syn");
    let mut context = vec![0; SK_BUFF_LEN];
    for (off, value) in FIELDS {
        context[*off..off + 4].copy_from_slice(&value.to_ne_bytes());
    }
    input.name = "tcp_syn_with_context".into();
    input.ctx_in = Some(context);
    input.ctx_size_out = SK_BUFF_LEN as u32;
    input
}

/// A packet at a hook of netfilter, of a family (`NFPROTO_*`): the first bytes of `struct nf_hook_state`.
fn hook(number: u8, family: u8, name: &str) -> Input {
    let mut context = vec![0; NF_HOOK_STATE_LEN];
    (context[0], context[1]) = (number, family);
    Input { name: format!("{name}_at_hook_{number}"), ctx_in: Some(context), ..packet(name) }
}

/// The packet as the first run left it goes into the next.
fn skb_repeated() -> Input {
    Input { name: "icmp_echo_3_times".into(), repeat: 3, ..packet("icmp_echo") }
}

fn zeros(name: &str, len: usize) -> Input {
    Input { name: name.into(), ctx_in: Some(vec![0; len]), ..Input::default() }
}

/// 1, 2, 3 … as words of `size` bytes.
fn numbers(name: &str, count: u64, size: usize) -> Input {
    let word = |number: u64| match size {
        4 => (number as u32).to_ne_bytes().to_vec(),
        _ => number.to_ne_bytes().to_vec(),
    };
    Input { name: name.into(), ctx_in: Some((1..=count).flat_map(word).collect()), ..Input::default() }
}

fn nothing() -> Input {
    Input { name: "nothing".into(), ..Input::default() }
}
