//! Sysctl names and values.

use super::row::{READ, WRITE};
use crate::progs::SysctlContext;
use mimic_abi::{ArgType, Errno, HelperSpec, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(101, "sysctl_get_name")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("buf", WRITE),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 2),
        sysctl_get_name,
    ),
    Helper::new(
        HelperSpec::new(102, "sysctl_get_current_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_len", ArgType::Size)])
            .since(5, 2),
        sysctl_get_current_value,
    ),
    Helper::new(
        HelperSpec::new(103, "sysctl_get_new_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_len", ArgType::Size)])
            .since(5, 2),
        sysctl_get_new_value,
    ),
    Helper::new(
        HelperSpec::new(104, "sysctl_set_new_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", READ), arg("buf_len", ArgType::Size)])
            .since(5, 2),
        sysctl_set_new_value,
    ),
];

/// The last part of the name only.
const BPF_F_SYSCTL_BASE_NAME: u64 = 1;

/// The context, which the argument has to be.
fn context<'c>(call: &'c mut Call<'_>, ctx: u64) -> Result<&'c mut SysctlContext, Trap> {
    let found = call.context::<SysctlContext>().as_deref().and_then(SysctlContext::addr);
    match found {
        Some(addr) if addr == ctx => {}
        Some(_) => return Err(call.bad_argument(format!("{ctx:#x} is not the context"))),
        None => return Err(call.unsupported("the program runs on a context that is no sysctl")),
    }
    Ok(call.context::<SysctlContext>().expect("it was found"))
}

fn sysctl_get_name(call: &mut Call<'_>, ctx: u64, buf: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    let name = context(call, ctx)?.name.clone();
    let base = flags & BPF_F_SYSCTL_BASE_NAME != 0;
    let name = if base { name.rsplit('/').next().unwrap_or_default() } else { &name };
    let len = len as u32 as usize;
    let fits = name.len() < len;
    let mut bytes = name.as_bytes()[..name.len().min(len.saturating_sub(1))].to_vec();
    bytes.push(0);
    call.check(buf, len as u64, true)?;
    call.write(buf, &bytes)?;
    if fits { Ok(name.len() as u64) } else { Err(Errno::E2BIG.into()) }
}

fn sysctl_get_current_value(
    call: &mut Call<'_>,
    ctx: u64,
    buf: u64,
    len: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    let value = context(call, ctx)?.value().to_vec();
    copy_value(call, &value, buf, len)
}

fn sysctl_get_new_value(call: &mut Call<'_>, ctx: u64, buf: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let value = context(call, ctx)?.new.clone().unwrap_or_default();
    copy_value(call, &value, buf, len)
}

/// The bytes, and zeros behind them: their number if a zero was left, or else E2BIG with the last one zeroed. No bytes are EINVAL.
fn copy_value(call: &mut Call<'_>, value: &[u8], buf: u64, len: u64) -> HelperResult {
    let mut bytes = value.to_vec();
    bytes.resize(len as u32 as usize, 0);
    let fits = value.len() < bytes.len();
    if let Some(last) = bytes.last_mut().filter(|_| !fits) {
        *last = 0;
    }
    call.write(buf, &bytes)?;
    match value.len() {
        0 => Err(Errno::EINVAL.into()),
        len if fits => Ok(len as u64),
        _ => Err(Errno::E2BIG.into()),
    }
}

fn sysctl_set_new_value(call: &mut Call<'_>, ctx: u64, buf: u64, len: u64, _: u64, _: u64) -> HelperResult {
    context(call, ctx)?;
    let value = call.read_vec(buf, u64::from(len as u32))?;
    context(call, ctx)?.replace(value)?;
    Ok(0)
}
