//! Test-run of flow dissectors and of socket lookups.

use super::{
    TestRun, TestRunError, TestRunOut, ctx_init, finish_ctx, finish_data, is_zero, number, refuse, repeat,
};
use crate::Linux;
use crate::net::{self, eth};
use crate::progs::flow_keys::FLOW_KEYS_LEN;
use crate::progs::{SkLookup, SkLookupContext, layout};
use mimic_abi::{ByteOrder, Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Process, Setup};
use std::net::{IpAddr, SocketAddr};

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

pub(super) fn flow_dissector(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    if run.flags != 0 || run.cpu != 0 || run.batch_size != 0 {
        return refuse(Errno::EINVAL, "flags, cpu and batch_size are not for flow dissectors");
    }
    if run.data_in.len() < eth::ETH_HLEN as usize || run.data_in.len() > net::PAGE_LEN as usize {
        return refuse(Errno::EINVAL, &format!("a packet has {} to {} bytes", eth::ETH_HLEN, net::PAGE_LEN));
    }
    let ctx = ctx_init(run, FLOW_KEYS_LEN)?;
    let order = process.vm().memory().order();
    let flags = ctx.as_ref().map_or(0, |ctx| number(ctx, 48, 4, order) as u32);
    if ctx.as_ref().is_some_and(|ctx| !is_zero(ctx, 0, 48) || !is_zero(ctx, 52, FLOW_KEYS_LEN as usize)) {
        return refuse(Errno::EINVAL, "only the flags of bpf_flow_keys can be set");
    }
    let mut context =
        FlowContext { packet: run.data_in.to_vec(), flags, keys: vec![0; FLOW_KEYS_LEN as usize] };
    let mut out = repeat(process, &mut context, run, |_| ())?;
    finish_data(&mut out, run, &context.keys, &[]);
    finish_ctx(&mut out, run, ctx);
    Ok(out)
}

pub(super) fn sk_lookup(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    let others = !run.data_in.is_empty() || run.data_out || run.data_size_out != 0;
    if run.flags != 0 || run.cpu != 0 || run.batch_size != 0 || others {
        return refuse(Errno::EINVAL, "socket lookups take a context only");
    }
    let Some(mut ctx) = ctx_init(run, layout::SK_LOOKUP_LEN)? else {
        return refuse(Errno::EINVAL, "socket lookups want a context");
    };
    let order = process.vm().memory().order();
    if !is_zero(&ctx, 0, 8) || !is_zero(&ctx, 64, ctx.len()) {
        return refuse(Errno::EINVAL, "sk and what follows local_port cannot be set");
    }
    if number(&ctx, 60, 4, order) > u64::from(u16::MAX) {
        return refuse(Errno::ERANGE, "local_port is a 16-bit number");
    }
    let family = number(&ctx, 8, 4, order) & 0xffff;
    if family != AF_INET && family != AF_INET6 {
        return refuse(Errno::EAFNOSUPPORT, "family is AF_INET (2) or AF_INET6 (10)");
    }
    let mut context = lookup_context(&ctx, family == AF_INET, order);
    let mut out = repeat(process, &mut context, run, |_| ())?;
    // Whatever is not SK_DROP passes.
    out.retval = if context.result() == SkLookup::Drop { SK_DROP } else { SK_PASS };
    ctx[..8].fill(0);
    if let SkLookup::Selected { cookie, no_reuseport } = context.result() {
        let linux = process.vm().emulator_as::<Linux>();
        let socket = linux.and_then(|linux| linux.sockets().get(cookie));
        if socket.is_some_and(|socket| socket.reuse.port && !no_reuseport) {
            return refuse(Errno::EOPNOTSUPP, "the selected socket is one of a group that shares its port");
        }
        super::set_number(&mut ctx, 0, 8, cookie, order);
    }
    finish_ctx(&mut out, run, Some(ctx));
    Ok(out)
}

/// The lookup that `struct bpf_sk_lookup` describes. What the kernel keeps in 16 bits is cut to them.
fn lookup_context(ctx: &[u8], is_v4: bool, order: ByteOrder) -> SkLookupContext {
    let addr4 = |off: usize| IpAddr::from(<[u8; 4]>::try_from(&ctx[off..off + 4]).unwrap_or_default());
    let addr6 = |off: usize| IpAddr::from(<[u8; 16]>::try_from(&ctx[off..off + 16]).unwrap_or_default());
    let (remote, local) = if is_v4 { (addr4(16), addr4(40)) } else { (addr6(20), addr6(44)) };
    let remote = SocketAddr::new(remote, u16::from_be_bytes([ctx[36], ctx[37]]));
    let local = SocketAddr::new(local, number(ctx, 60, 4, order) as u16);
    let protocol = number(ctx, 12, 4, order) as u32 & 0xffff;
    let mut context = SkLookupContext::new(protocol, remote, local);
    context.ingress_ifindex = 0;
    context
}

/// What a flow dissector gets: a packet, and keys to fill.
struct FlowContext {
    packet: Vec<u8>,
    flags: u32,
    keys: Vec<u8>,
}

impl Context for FlowContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let len = self.packet.len() as u32;
        let packet = setup.region("packet", len, Layout::Bytes(Access::Read))?;
        packet.set_bounds(0, len);
        packet.write(0, &self.packet);
        let keys = setup.region("flow_keys", FLOW_KEYS_LEN, Layout::Bytes(Access::ReadWrite))?;
        keys.fill(0, FLOW_KEYS_LEN, 0);
        keys.store(0, Size::H, eth::ETH_HLEN.into());
        keys.store(2, Size::H, eth::ETH_HLEN.into());
        keys.write(10, self.packet.get(12..14).unwrap_or_default());
        keys.store(48, Size::W, self.flags.into());
        let md = setup.region("context", layout::SK_BUFF_LEN, Layout::Fields(layout::SK_BUFF_FLOW))?;
        md.store(76, Size::W, packet.base());
        md.store(80, Size::W, packet.base() + u64::from(len));
        md.store(layout::SK_BUFF_FLOW_KEYS, Size::Dw, keys.base());
        Ok([md.base(), 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, _r0: Option<u64>) {
        let Some(keys) = setup.existing("flow_keys") else { return };
        // The offsets are kept inside the packet.
        let (first, last) = (u64::from(eth::ETH_HLEN), self.packet.len() as u64);
        let network = keys.load(0, Size::H).clamp(first, last);
        keys.store(0, Size::H, network);
        keys.store(2, Size::H, keys.load(2, Size::H).clamp(network, last));
        keys.read(0, &mut self.keys);
    }
}
