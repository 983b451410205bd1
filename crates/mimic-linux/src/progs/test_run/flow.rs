//! Test-run of flow dissectors and of socket lookups.

use super::{
    TestRun, TestRunError, TestRunOut, ctx_init, finish_ctx, finish_data, is_zero, number, refuse, repeat,
};
use crate::net::{self, eth};
use crate::progs::flow_keys::FLOW_KEYS_LEN;
use crate::progs::layout;
use mimic_abi::{ByteOrder, Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Process, Setup};

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
    let mut context = LookupContext::new(&ctx, family == AF_INET, order);
    let mut out = repeat(process, &mut context, run, |_| ())?;
    // No socket can be selected: whatever is not SK_DROP passes.
    out.retval = if out.retval == SK_DROP { SK_DROP } else { SK_PASS };
    ctx[..8].fill(0);
    finish_ctx(&mut out, run, Some(ctx));
    Ok(out)
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

/// What a socket lookup gets: `struct bpf_sk_lookup`.
struct LookupContext {
    fields: Vec<u8>,
}

impl LookupContext {
    /// The program sees the addresses of its family, and 16 bits of the fields that the kernel keeps in 16.
    fn new(ctx: &[u8], is_v4: bool, order: ByteOrder) -> LookupContext {
        let mut fields = ctx.to_vec();
        for off in [8, 12] {
            let value = number(ctx, off, 4, order) & 0xffff;
            super::set_number(&mut fields, off, 4, value, order);
        }
        fields[38..40].fill(0);
        let hidden: &[(usize, usize)] = if is_v4 { &[(20, 36), (44, 60)] } else { &[(16, 20), (40, 44)] };
        for (from, to) in hidden {
            fields[*from..*to].fill(0);
        }
        LookupContext { fields }
    }
}

impl Context for LookupContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let md = setup.region("context", layout::SK_LOOKUP_LEN, Layout::Fields(layout::SK_LOOKUP))?;
        md.write(0, &self.fields);
        Ok([md.base(), 0, 0, 0, 0])
    }
}
