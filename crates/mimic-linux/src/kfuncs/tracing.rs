//! What programs ask of the place that they are attached to, and do to tasks: sessions of probes, signals, and contexts as the kernel's own
//! structures. Documentation/bpf/kfuncs.rst.

use super::int_of;
use crate::Linux;
use crate::helpers::task::signal_to;
use crate::objects::task_at;
use crate::progs::{KprobeContext, SESSION_COOKIE, SockAddr, SockAddrContext};
use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, RetType, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const ANY: ArgType = ArgType::Anything;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(0, "bpf_session_is_return").since(6, 10), session_is_return),
    Helper::new(
        HelperSpec::new(0, "bpf_session_cookie").returns(RetType::MemOrBtfId).since(6, 10),
        session_cookie,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_send_signal_task")
            .args(&[arg("task", ArgType::BtfId("task_struct")), arg("sig", ANY), arg("type", ANY), arg("value", ANY)])
            .since(6, 13),
        send_signal_task,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cast_to_kern_ctx")
            .args(&[arg("obj", ArgType::Ctx)])
            .returns(RetType::MemOrBtfId)
            .since(6, 2)
            .support(Support::Partial(
                "of packets, XDP frames, and cgroups' addresses and socket options; with what the UAPI context shows",
            )),
        cast_to_kern_ctx,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_sock_addr_set_sun_path")
            .args(&[
                arg("sa_kern", ArgType::BtfId("bpf_sock_addr_kern")),
                arg("sun_path", ArgType::Mem(MemAccess::Read, MemLen::NextArg)),
                arg("sun_path__sz", ArgType::SizeOrZero),
            ])
            .since(6, 7),
        sock_addr_set_sun_path,
    ),
];

/// Whether the probed function has returned.
fn is_return(call: &mut Call<'_>) -> Result<bool, Trap> {
    match call.context::<KprobeContext>().and_then(|context| context.session) {
        Some(session) => Ok(session),
        None => Err(call.unsupported("needs a session: a kprobe context whose `session` is set")),
    }
}

fn session_is_return(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    is_return(call).map(u64::from)
}

/// The address of 8 bytes that the entry run shares with the return run of the same process.
fn session_cookie(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    is_return(call)?;
    Ok(call.scratch(SESSION_COOKIE, 8)?.base())
}

fn send_signal_task(call: &mut Call<'_>, task: u64, signal: u64, kind: u64, _: u64, _: u64) -> HelperResult {
    const PIDTYPE_PID: u32 = 0;
    const PIDTYPE_TGID: u32 = 1;
    int_of((|| {
        let task = task_at(call, task)?;
        let thread = match kind as u32 {
            PIDTYPE_PID => true,
            PIDTYPE_TGID => false,
            _ => return Err(Errno::EINVAL.into()),
        };
        signal_to(call, &task, signal as u32, thread)
    })())
}

/// The path of the address that the program sees, if it has one.
fn path(call: &mut Call<'_>) -> Vec<u8> {
    match call.context::<SockAddrContext>().map(|context| &context.addr) {
        Some(SockAddr::Unix(path)) => path.clone(),
        Some(SockAddr::Inet(_)) | None => Vec::new(),
    }
}

fn cast_to_kern_ctx(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let path = path(call);
    let prog_type = call.program().linked().prog_type;
    let prog_type = prog_type.ok_or_else(|| call.unsupported("the program has no type"))?;
    let cast = Linux::of(call).kern_ctx(call.view(), prog_type, ctx, &path);
    let addr = cast.map_err(|error| call.unsupported(error))?;
    call.memory_changed();
    Ok(addr)
}

/// The structure that the address was cast to follows.
fn sock_addr_set_sun_path(
    call: &mut Call<'_>,
    kern: u64,
    path: u64,
    len: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    int_of((|| {
        let ctx = Linux::of(call).ctx_of_kern(kern);
        let ctx = ctx.ok_or_else(|| call.bad_argument(format!("{kern:#x} is no context that was cast")))?;
        let path = call.read_vec(path, u64::from(len as u32))?;
        let context = call.context::<SockAddrContext>().filter(|context| context.at() == Some(ctx));
        context.ok_or(Errno::EINVAL)?.set_sun_path(&path)?;
        cast_to_kern_ctx(call, ctx, 0, 0, 0, 0)?;
        Ok(0)
    })())
}
