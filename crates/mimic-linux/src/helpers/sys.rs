//! System calls by syscall programs, and kernel symbols.

use super::row::READ;
use crate::Linux;
use mimic_abi::btf::KindCode;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(153, "per_cpu_ptr")
            .args(&[arg("percpu_ptr", ArgType::PercpuBtfId), arg("cpu", ArgType::Anything)])
            .returns(RetType::MemOrBtfIdOrNull)
            .since(5, 10)
            .support(NOTE),
        per_cpu_ptr,
    ),
    Helper::new(
        HelperSpec::new(154, "this_cpu_ptr")
            .args(&[arg("percpu_ptr", ArgType::PercpuBtfId)])
            .returns(RetType::MemOrBtfId)
            .since(5, 10)
            .support(NOTE),
        this_cpu_ptr,
    ),
    Helper::listed(
        HelperSpec::new(166, "sys_bpf")
            .args(&[arg("cmd", ArgType::Anything), arg("attr", READ), arg("attr_size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(Support::Refused("needs the emulated bpf(2) system call, which is not there yet")),
    ),
    Helper::new(
        HelperSpec::new(167, "btf_find_by_name_kind")
            .args(&[
                arg("name", READ),
                arg("name_sz", ArgType::Size),
                arg("kind", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(SUPPORT),
        btf_find_by_name_kind,
    ),
    Helper::listed(
        HelperSpec::new(168, "sys_close")
            .args(&[arg("fd", ArgType::Anything)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(Support::Refused(
                "needs the file descriptors of the emulated bpf(2) system call, which is not there yet",
            )),
    ),
    Helper::new(
        HelperSpec::new(179, "kallsyms_lookup_name")
            .args(&[
                arg("name", READ),
                arg("name_sz", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 16)
            .support(Support::Partial("the symbols that the world states")),
        kallsyms_lookup_name,
    ),
];

const NOTE: Support = Support::Partial(
    "of per-CPU objects that the program allocated, and of per-CPU variables that the world states",
);

const SUPPORT: Support = Support::Partial(
    "needs Linux::offer_btf, whose types are all in one BTF: modules have none of their own",
);

/// The id of the kernel's type of this name and kind. `ENOENT` if there is none.
fn btf_find_by_name_kind(
    call: &mut Call<'_>,
    name: u64,
    len: u64,
    kind: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    let name = call.read_vec(name, u64::from(len as u32))?;
    let Some((0, name)) = name.split_last().filter(|(_, name)| flags == 0 && !name.is_empty()) else {
        return Err(Errno::EINVAL.into());
    };
    let Some(btf) = Linux::of(call).btf() else {
        return Err(call.unsupported("needs the types of a kernel: give them with Linux::offer_btf"));
    };
    let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
    let kind = KindCode::from_raw(kind as u32).ok_or(Errno::ENOENT)?;
    let found = core::str::from_utf8(name).ok().and_then(|name| btf.find(name, kind));
    Ok(u64::from(found.ok_or(Errno::ENOENT)?.id.0))
}

/// NULL beyond the last CPU.
fn per_cpu_ptr(call: &mut Call<'_>, ptr: u64, cpu: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let cpu = cpu as u32;
    if cpu >= call.vm().cpus() { Ok(0) } else { part(call, ptr, cpu) }
}

fn this_cpu_ptr(call: &mut Call<'_>, ptr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    part(call, ptr, call.cpu())
}

fn part(call: &Call<'_>, ptr: u64, cpu: u32) -> HelperResult {
    let linux = Linux::of(call);
    let part = linux.percpu_part(ptr, cpu).or_else(|| linux.heap().part(ptr, cpu));
    part.ok_or_else(|| call.unsupported(format!("{ptr:#x} is no per-CPU object; {}", NOTE.note())))
}

/// Writes the address of a symbol, 0 and `ENOENT` if there is none.
fn kallsyms_lookup_name(
    call: &mut Call<'_>,
    name: u64,
    len: u64,
    flags: u64,
    res: u64,
    _: u64,
) -> HelperResult {
    call.store(res, Size::Dw, 0)?;
    let len = u64::from(len as u32);
    if flags as u32 != 0 || len <= 1 || len > i32::MAX as u64 {
        return Err(Errno::EINVAL.into());
    }
    let name = call.read_vec(name, len)?;
    if name.last() != Some(&0) {
        return Err(Errno::EINVAL.into());
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or(&name);
    let addr = core::str::from_utf8(name).ok().and_then(|name| Linux::of(call).symbols().addr(name));
    let addr = addr.filter(|addr| *addr != 0).ok_or(Errno::ENOENT)?;
    call.store(res, Size::Dw, addr)?;
    Ok(0)
}
