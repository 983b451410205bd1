//! Kfuncs on dynptrs: over packets, slices, sizes, copies.

use crate::helpers::dynptr::{Dynptr, Kind, XDP_BUFF_LEN, by_number};
use mimic_abi::{
    Arg, ArgType, DynptrKind, Errno, HelperSpec, MemAccess, MemLen, ProgType, RetType, arg, arg_or_null,
};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const PTR: ArgType = ArgType::Dynptr(DynptrKind::Any);
const SLICE_ARGS: &[Arg] = &[
    arg("p", PTR),
    arg("offset", ArgType::Anything),
    arg_or_null("buffer", ArgType::Mem(MemAccess::Write, MemLen::NextArg)),
    arg("buffer_len", ArgType::SizeOrZero),
];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_from_skb")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("flags", ArgType::Anything),
                arg("ptr", ArgType::UninitDynptr(DynptrKind::Skb)),
            ])
            .since(6, 4),
        from_skb,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_from_xdp")
            .args(&[
                arg("xdp", ArgType::Ctx),
                arg("flags", ArgType::Anything),
                arg("ptr", ArgType::UninitDynptr(DynptrKind::Xdp)),
            ])
            .since(6, 4),
        from_xdp,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_slice").args(SLICE_ARGS).returns(RetType::DynptrMemOrNull).since(6, 4),
        slice,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_slice_rdwr")
            .args(SLICE_ARGS)
            .returns(RetType::DynptrMemOrNull)
            .since(6, 4),
        slice_rdwr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_adjust")
            .args(&[arg("p", PTR), arg("start", ArgType::Anything), arg("end", ArgType::Anything)])
            .since(6, 5),
        adjust,
    ),
    Helper::new(HelperSpec::new(0, "bpf_dynptr_is_null").args(&[arg("p", PTR)]).since(6, 5), is_null),
    Helper::new(HelperSpec::new(0, "bpf_dynptr_is_rdonly").args(&[arg("p", PTR)]).since(6, 5), is_rdonly),
    Helper::new(HelperSpec::new(0, "bpf_dynptr_size").args(&[arg("p", PTR)]).since(6, 5), size),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_clone")
            .args(&[arg("p", PTR), arg("clone", ArgType::UninitDynptr(DynptrKind::Any))])
            .since(6, 5),
        clone,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_copy")
            .args(&[
                arg("dst", PTR),
                arg("dst_off", ArgType::Anything),
                arg("src", PTR),
                arg("src_off", ArgType::Anything),
                arg("size", ArgType::Anything),
            ])
            .since(6, 16),
        copy,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_dynptr_memset")
            .args(&[
                arg("p", PTR),
                arg("offset", ArgType::Anything),
                arg("size", ArgType::Anything),
                arg("val", ArgType::Anything),
            ])
            .since(6, 17),
        memset,
    ),
];

/// What a kfunc that returns an `int` leaves in r0: only its low half is meant.
fn int(errno: Errno) -> HelperResult {
    Ok(u64::from(-errno.0 as u32))
}

fn from_skb(call: &mut Call<'_>, skb: u64, flags: u64, ptr: u64, _: u64, _: u64) -> HelperResult {
    if flags != 0 {
        Dynptr::store_null(call, ptr)?;
        return int(Errno::EINVAL);
    }
    let len = crate::helpers::skb(call, skb)?.len;
    let read_only = !writes_packets(call.program().linked().prog_type);
    Dynptr { read_only, ..Dynptr::new(Kind::Skb, skb, len) }.store(call, ptr)?;
    Ok(0)
}

/// Whether programs of this type may write to their socket buffer.
fn writes_packets(prog_type: Option<ProgType>) -> bool {
    use ProgType::{LwtXmit, SchedAct, SchedCls, SkSkb};
    matches!(prog_type, None | Some(SchedCls | SchedAct | LwtXmit | SkSkb))
}

fn from_xdp(call: &mut Call<'_>, xdp: u64, flags: u64, ptr: u64, _: u64, _: u64) -> HelperResult {
    if flags != 0 {
        Dynptr::store_null(call, ptr)?;
        return int(Errno::EINVAL);
    }
    let len = by_number(call, XDP_BUFF_LEN, [xdp, 0, 0, 0, 0])? as u32;
    Dynptr::new(Kind::Xdp, xdp, len).store(call, ptr)?;
    Ok(0)
}

/// Bytes in place where they lie in one piece, or else copied to the buffer, if there is one.
fn slice(call: &mut Call<'_>, ptr: u64, off: u64, buffer: u64, len: u64, _: u64) -> HelperResult {
    let (off, len) = (off as u32, len as u32);
    let Some(dynptr) = Dynptr::load(call, ptr)?.filter(|dynptr| dynptr.check(off, len).is_ok()) else {
        return Ok(0);
    };
    if let Some(addr) = dynptr.in_place(call, off, len) {
        return Ok(addr);
    }
    if buffer == 0 {
        return Ok(0);
    }
    match dynptr.copy_to(call, off, buffer, len) {
        Ok(0) => Ok(buffer),
        Ok(_) | Err(Trap::Errno(_)) => Ok(0),
        Err(trap) => Err(trap),
    }
}

fn slice_rdwr(call: &mut Call<'_>, ptr: u64, off: u64, buffer: u64, len: u64, r5: u64) -> HelperResult {
    match Dynptr::load(call, ptr)? {
        Some(dynptr) if !dynptr.read_only => slice(call, ptr, off, buffer, len, r5),
        Some(_) | None => Ok(0),
    }
}

/// Makes it shorter at both ends.
fn adjust(call: &mut Call<'_>, ptr: u64, start: u64, end: u64, _: u64, _: u64) -> HelperResult {
    let (start, end) = (start as u32, end as u32);
    let Some(mut dynptr) = Dynptr::load(call, ptr)?.filter(|_| start <= end) else {
        return int(Errno::EINVAL);
    };
    if end > dynptr.len {
        return int(Errno::ERANGE);
    }
    dynptr.off = dynptr.off.wrapping_add(start);
    dynptr.len = end - start;
    dynptr.store(call, ptr)?;
    Ok(0)
}

fn is_null(call: &mut Call<'_>, ptr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(u64::from(Dynptr::load(call, ptr)?.is_none()))
}

fn is_rdonly(call: &mut Call<'_>, ptr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(u64::from(Dynptr::load(call, ptr)?.is_some_and(|dynptr| dynptr.read_only)))
}

fn size(call: &mut Call<'_>, ptr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match Dynptr::load(call, ptr)? {
        Some(dynptr) => Ok(u64::from(dynptr.len)),
        None => int(Errno::EINVAL),
    }
}

fn clone(call: &mut Call<'_>, ptr: u64, clone: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match Dynptr::load(call, ptr)? {
        Some(dynptr) => dynptr.store(call, clone).map(|()| 0),
        None => {
            Dynptr::store_null(call, clone)?;
            int(Errno::EINVAL)
        }
    }
}

/// Bytes that a packet's are passed through, so that nothing has to be allocated for them.
const CHUNK_LEN: u32 = 256;

fn copy(call: &mut Call<'_>, dst: u64, dst_off: u64, src: u64, src_off: u64, len: u64) -> HelperResult {
    let (dst_off, src_off, len) = (dst_off as u32, src_off as u32, len as u32);
    let (to, from) = (Dynptr::load(call, dst)?, Dynptr::load(call, src)?);
    let (Some(to), Some(from)) = (to, from) else {
        // Which of the two the kernel comes to first decides; a null one has no byte, not even none.
        return int(if to.is_none() && from.is_none() { Errno::E2BIG } else { Errno::EINVAL });
    };
    if to.check(dst_off, len).is_err() || from.check(src_off, len).is_err() {
        return int(Errno::E2BIG);
    }
    if to.read_only {
        return int(Errno::EINVAL);
    }
    if let (Some(to), Some(from)) = (to.in_place(call, dst_off, len), from.in_place(call, src_off, len)) {
        let bytes = call.read_vec(from, len.into())?;
        call.write(to, &bytes)?;
        return Ok(0);
    }
    let buffer = call.scratch("dynptr chunk", CHUNK_LEN)?.base();
    for at in (0..len).step_by(CHUNK_LEN as usize) {
        let part = CHUNK_LEN.min(len - at);
        from.copy_to(call, src_off + at, buffer, part)?;
        to.copy_from(call, dst_off + at, buffer, part, 0)?;
    }
    Ok(0)
}

fn memset(call: &mut Call<'_>, ptr: u64, off: u64, len: u64, byte: u64, _: u64) -> HelperResult {
    let (off, len) = (off as u32, len as u32);
    let Some(dynptr) = Dynptr::load(call, ptr)? else { return int(Errno::E2BIG) };
    if dynptr.read_only {
        return int(Errno::EINVAL);
    }
    if dynptr.check(off, len).is_err() {
        return int(Errno::E2BIG);
    }
    if let Some(addr) = dynptr.in_place(call, off, len) {
        call.write(addr, &vec![byte as u8; len as usize])?;
        return Ok(0);
    }
    let region = call.scratch("dynptr chunk", CHUNK_LEN)?;
    region.fill(0, CHUNK_LEN, byte as u8);
    for at in (0..len).step_by(CHUNK_LEN as usize) {
        dynptr.copy_from(call, off + at, region.base(), CHUNK_LEN.min(len - at), 0)?;
    }
    Ok(0)
}
