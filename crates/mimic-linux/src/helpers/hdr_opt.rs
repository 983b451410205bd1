//! What programs of sock_ops do to a connection: which events they are told of, and TCP header options. bpf-helpers(7).

use super::row::{READ, READ_WRITE};
use crate::Linux;
use crate::net::{sockopt::CB_FLAGS_ALL, wrong_context};
use crate::progs::{OP_HDR_OPT_LEN, OP_WRITE_HDR_OPT, SockOpsContext, TCP_LEN};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(59, "sock_ops_cb_flags_set")
            .args(&[arg("bpf_sock", ArgType::Ctx), arg("argval", ArgType::Anything)])
            .since(4, 16),
        sock_ops_cb_flags_set,
    ),
    Helper::new(
        HelperSpec::new(142, "load_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("searchby_res", READ_WRITE),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10),
        load_hdr_opt,
    ),
    Helper::new(
        HelperSpec::new(143, "store_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("from", READ),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(5, 10),
        store_hdr_opt,
    ),
    Helper::new(
        HelperSpec::new(144, "reserve_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("len", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10),
        reserve_hdr_opt,
    ),
];

/// Look into the SYN packet that began the connection: `BPF_LOAD_HDR_OPT_TCP_SYN`.
const TCP_SYN: u64 = 1;

/// Kinds of options: the end, nothing, and those for experiments (RFC 6994), which begin with a magic number.
const EOL: u8 = 0;
const NOP: u8 = 1;
const EXPERIMENTS: [u8; 2] = [253, 254];

fn sock_ops<'c>(call: &'c mut Call<'_>, ctx: u64) -> Result<&'c mut SockOpsContext, Trap> {
    match call.context::<SockOpsContext>().map(|context| context.at()) {
        Some(Some((at, _))) if at == ctx => {}
        Some(_) => return Err(call.bad_argument(format!("{ctx:#x} is not the context"))),
        None => return Err(wrong_context(call, "event of a connection")),
    }
    call.context::<SockOpsContext>().ok_or(Trap::Errno(Errno::EINVAL))
}

fn sock_ops_cb_flags_set(call: &mut Call<'_>, ctx: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let flags = flags as u32;
    let context = sock_ops(call, ctx)?;
    if !context.sock.is_full() {
        return Err(Errno::EINVAL.into());
    }
    context.show_cb_flags(flags & CB_FLAGS_ALL);
    let cookie = context.sock.cookie;
    Linux::of(call).set_cb_flags(cookie, flags & CB_FLAGS_ALL);
    Ok(u64::from(flags & !CB_FLAGS_ALL))
}

fn load_hdr_opt(call: &mut Call<'_>, ctx: u64, search: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    let len = len as u32;
    call.check(search, len.into(), true)?;
    let context = sock_ops(call, ctx)?;
    if len < 2 || flags & !TCP_SYN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let header = match flags {
        TCP_SYN if context.syn.is_empty() => Err(Errno::ENOENT),
        TCP_SYN => Ok(context.syn.clone()),
        _ if context.op == OP_HDR_OPT_LEN => Err(Errno::EPERM),
        _ => context.header_now().ok_or(Errno::EPERM),
    };
    let [kind, search_len] = call.read_array::<2>(search)?;
    if u32::from(search_len) > len || matches!(kind, NOP | EOL) {
        return Err(Errno::EINVAL.into());
    }
    let magic_len = match (EXPERIMENTS.contains(&kind), search_len) {
        (true, 4 | 6) => search_len - 2,
        (false, 0) => 0,
        _ => return Err(Errno::EINVAL.into()),
    };
    let magic = call.read_vec(search + 2, magic_len.into())?;
    let header = header?;
    let option = find(&header, kind, &magic).map_err(|miss| miss.errno)?;
    let copied = option.len().min(len as usize);
    call.write(search, &option[..copied])?;
    if copied < option.len() { Err(Errno::ENOSPC.into()) } else { Ok(option.len() as u64) }
}

fn store_hdr_opt(call: &mut Call<'_>, ctx: u64, from: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    let len = len as u32;
    call.check(from, len.into(), false)?;
    let context = sock_ops(call, ctx)?;
    if context.op != OP_WRITE_HDR_OPT {
        return Err(Errno::EPERM.into());
    }
    let (remaining, header) = (context.remaining(), context.header_now().unwrap_or_default());
    if len < 2 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let [kind, option_len] = call.read_array::<2>(from)?;
    if u32::from(option_len) > len || matches!(kind, NOP | EOL) {
        return Err(Errno::EINVAL.into());
    }
    if u32::from(option_len) > remaining {
        return Err(Errno::ENOSPC.into());
    }
    let is_experiment = EXPERIMENTS.contains(&kind);
    if is_experiment && option_len < 4 {
        return Err(Errno::EINVAL.into());
    }
    let option = call.read_vec(from, option_len.into())?;
    let magic = if is_experiment { option.get(2..4).unwrap_or_default() } else { &[] };
    match find(&header, kind, magic) {
        Ok(_) => return Err(Errno::EEXIST.into()),
        // What was ended takes no more.
        Err(Miss { ended: true, .. }) => return Err(Errno::ENOSPC.into()),
        Err(Miss { errno: Errno::ENOMSG, .. }) => {}
        Err(Miss { errno, .. }) => return Err(errno.into()),
    }
    sock_ops(call, ctx)?.append(&option);
    call.memory_changed();
    Ok(0)
}

fn reserve_hdr_opt(call: &mut Call<'_>, ctx: u64, len: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let len = len as u32;
    let context = sock_ops(call, ctx)?;
    if context.op != OP_HDR_OPT_LEN {
        return Err(Errno::EPERM.into());
    }
    if flags != 0 || len < 2 {
        return Err(Errno::EINVAL.into());
    }
    if len > context.remaining() {
        return Err(Errno::ENOSPC.into());
    }
    context.reserve(len);
    Ok(0)
}

/// Why an option was not found.
struct Miss {
    errno: Errno,
    /// The options end before the header does.
    ended: bool,
}

/// An option of a TCP header, whole: of a kind, and beginning with a magic number.
fn find<'h>(header: &'h [u8], kind: u8, magic: &[u8]) -> Result<&'h [u8], Miss> {
    let miss = |errno, ended| Err(Miss { errno, ended });
    let mut options = header.get(TCP_LEN as usize..).unwrap_or_default();
    loop {
        options = match options {
            [] => return miss(Errno::ENOMSG, false),
            [EOL, ..] => return miss(Errno::ENOMSG, true),
            [NOP, rest @ ..] => rest,
            [known, len, ..] if *len >= 2 && usize::from(*len) <= options.len() => {
                let (option, rest) = options.split_at(usize::from(*len));
                if *known == kind && option.len() - 2 < magic.len() {
                    return miss(Errno::ENOMSG, false);
                }
                if *known == kind && option[2..].starts_with(magic) {
                    return Ok(option);
                }
                rest
            }
            // The header is broken.
            _ => return miss(Errno::EFAULT, false),
        };
    }
}
