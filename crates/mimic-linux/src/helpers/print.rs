//! Formatted output: trace lines and strings.

use super::btf_show::{self, Shown};
use super::format::{self, LINE_MAX};
use super::probe::Space;
use super::row::{READ, WRITE};
use crate::Linux;
use mimic_abi::btf::TypeId;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Size, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(6, "trace_printk")
            .args(&[arg("fmt", READ), arg("fmt_size", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 1)
            .support(ANY_MEMORY),
        trace_printk,
    ),
    Helper::new(
        HelperSpec::new(149, "snprintf_btf")
            .args(&[
                arg("str", WRITE),
                arg("str_size", ArgType::Size),
                arg("ptr", READ),
                arg("btf_ptr_size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(ANY_ADDRESS),
        snprintf_btf,
    ),
    Helper::new(
        HelperSpec::new(165, "snprintf")
            .args(&[
                arg_or_null("str", WRITE),
                arg("str_size", ArgType::SizeOrZero),
                arg("fmt", ArgType::ConstStr),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 13)
            .support(ANY_MEMORY),
        snprintf,
    ),
    Helper::new(
        HelperSpec::new(177, "trace_vprintk")
            .args(&[
                arg("fmt", READ),
                arg("fmt_size", ArgType::Size),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 16)
            .support(ANY_MEMORY),
        trace_vprintk,
    ),
];

const ANY_MEMORY: Support = Support::Partial(
    "%pus reads any guest memory, %p hashes with the seed, %ps and %pS know the world's symbols",
);

const ANY_ADDRESS: Support = Support::Partial("addresses are hashed with the seed");

fn trace_printk(call: &mut Call<'_>, fmt: u64, len: u64, r3: u64, r4: u64, r5: u64) -> HelperResult {
    let fmt = format::read_format(call, fmt, u64::from(len as u32))?;
    trace(call, &fmt, &[r3, r4, r5])
}

fn trace_vprintk(call: &mut Call<'_>, fmt: u64, len: u64, data: u64, data_len: u64, _: u64) -> HelperResult {
    let args = format::read_args(call, data, u64::from(data_len as u32))?;
    let fmt = format::read_format(call, fmt, u64::from(len as u32))?;
    trace(call, &fmt, &args)
}

/// The most bytes of it (`MAX_BPRINTF_BUF`).
const STREAM_MAX: usize = 1024;

/// What a program writes to a stream.
pub(crate) fn stream_text(call: &mut Call<'_>, fmt: u64, data: u64, len: u64) -> Result<Vec<u8>, Trap> {
    let args = format::read_args(call, data, u64::from(len as u32))?;
    let fmt = format::read_const_str(call, fmt, "the format")?;
    Ok(format::format(call, &fmt, &args, STREAM_MAX)?.bytes)
}

fn trace(call: &Call<'_>, fmt: &[u8], args: &[u64]) -> HelperResult {
    let text = format::format(call, fmt, args, LINE_MAX)?;
    Linux::of(call).print_trace(call.cpu(), &text.bytes);
    Ok(text.len as u64)
}

fn snprintf(call: &mut Call<'_>, to: u64, room: u64, fmt: u64, data: u64, data_len: u64) -> HelperResult {
    let room = u64::from(room as u32);
    let args = format::read_args(call, data, u64::from(data_len as u32))?;
    if room != 0 {
        call.check(to, room, true)?;
    }
    let fmt = format::read_const_str(call, fmt, "the format")?;
    let mut text = format::format(call, &fmt, &args, room as usize)?;
    if room != 0 {
        text.bytes.push(0);
        call.write(to, &text.bytes)?;
    }
    Ok(text.len.wrapping_add(1) as u64)
}

/// Bytes of a `struct btf_ptr`: an address, a type's id, flags that nobody looks at.
const BTF_PTR_LEN: u64 = 16;

fn snprintf_btf(call: &mut Call<'_>, to: u64, room: u64, ptr: u64, ptr_len: u64, flags: u64) -> HelperResult {
    let room = u64::from(room as u32);
    call.check(to, room, true)?;
    let shown = show_btf(call, ptr, ptr_len, flags, (room as usize).saturating_sub(1))?;
    if room > 0 {
        let mut text = shown.bytes;
        text.push(0);
        call.write(to, &text)?;
    }
    shown.status?;
    Ok(shown.len)
}

/// The text of what a `struct btf_ptr` at `ptr` names.
pub(super) fn show_btf(
    call: &Call<'_>,
    ptr: u64,
    ptr_len: u64,
    flags: u64,
    room: usize,
) -> Result<Shown, Trap> {
    if flags & !btf_show::BTF_F_ALL != 0 || u64::from(ptr_len as u32) != BTF_PTR_LEN {
        return Err(Errno::EINVAL.into());
    }
    let Some(btf) = Linux::of(call).btf() else {
        return Err(call.unsupported("needs the types of a kernel: load for a target with BTF"));
    };
    let (addr, id) = (call.load(ptr, Size::Dw)?, call.load(ptr.wrapping_add(8), Size::W)?);
    if id == 0 {
        return Err(Errno::EINVAL.into());
    }
    let id = TypeId(id as u32);
    btf.ty(id).ok_or(Errno::ENOENT)?;
    Ok(btf_show::show(btf, id, addr, flags, call, room))
}

impl btf_show::Source for Call<'_> {
    fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.view().read(addr, to).map_err(|_| Space::Kernel.errno(addr))
    }

    fn hashed(&self, addr: u64) -> u64 {
        format::hashed(Linux::of(self), addr)
    }
}
