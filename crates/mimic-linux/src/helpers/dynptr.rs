//! Dynptrs: pointers with a length and an offset that are checked when used.
//!
//! A `struct bpf_dynptr` on the guest's stack holds what the kernel's does: an address (of the memory, or of the packet's context),
//! the length with kind and rights in its upper bits, and an offset. Packets are reached through the helpers that load and store
//! their bytes. Documentation/bpf/kfuncs.rst and the comments on `struct bpf_dynptr` in linux/bpf.h.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, DynptrKind, Errno, HelperFlags, HelperSpec, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(197, "dynptr_from_mem")
            .args(&[
                arg("data", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
                arg("ptr", ArgType::UninitDynptr(DynptrKind::Local)),
            ])
            .since(5, 19),
        dynptr_from_mem,
    ),
    Helper::new(
        HelperSpec::new(198, "ringbuf_reserve_dynptr")
            .args(&[
                arg("ringbuf", ArgType::ConstMapPtr),
                arg("size", ArgType::Anything),
                arg("flags", ArgType::Anything),
                arg("ptr", ArgType::UninitDynptr(DynptrKind::Ringbuf)),
            ])
            .flags(HelperFlags::ACQUIRES)
            .since(5, 19),
        ringbuf_reserve_dynptr,
    ),
    Helper::new(
        HelperSpec::new(199, "ringbuf_submit_dynptr")
            .args(&[arg("ptr", ArgType::Dynptr(DynptrKind::Ringbuf)), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 19),
        ringbuf_submit_dynptr,
    ),
    Helper::new(
        HelperSpec::new(200, "ringbuf_discard_dynptr")
            .args(&[arg("ptr", ArgType::Dynptr(DynptrKind::Ringbuf)), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 19),
        ringbuf_discard_dynptr,
    ),
    Helper::new(
        HelperSpec::new(201, "dynptr_read")
            .args(&[
                arg("dst", WRITE),
                arg("len", ArgType::SizeOrZero),
                arg("src", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 19),
        dynptr_read,
    ),
    Helper::new(
        HelperSpec::new(202, "dynptr_write")
            .args(&[
                arg("dst", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("src", READ),
                arg("len", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 19),
        dynptr_write,
    ),
    Helper::new(
        HelperSpec::new(203, "dynptr_data")
            .args(&[
                arg("ptr", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("len", ArgType::AllocSize),
            ])
            .returns(RetType::DynptrMemOrNull)
            .since(5, 19),
        dynptr_data,
    ),
];

/// The longest that a dynptr can be, in bytes (`DYNPTR_MAX_SIZE`).
const LEN_MAX: u32 = (1 << 24) - 1;
/// Bytes of a `struct bpf_dynptr`.
const DYNPTR_LEN: u64 = 16;

// The word with the length.
const LEN_MASK: u32 = (1 << 28) - 1;
const KIND_SHIFT: u32 = 28;
const KIND_MASK: u32 = 7;
const READ_ONLY: u32 = 1 << 31;

/// What memory a dynptr leads to. The numbers are the kernel's `enum bpf_dynptr_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A map value or the like.
    Local = 1,
    /// A ring buffer record that is not submitted yet.
    Ringbuf,
    /// A socket buffer, by its context.
    Skb,
    /// An XDP packet, by its context.
    Xdp,
}

/// A dynptr that leads somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dynptr {
    /// The address of the memory, or of the context.
    pub(crate) data: u64,
    pub(crate) kind: Kind,
    pub(crate) read_only: bool,
    /// Bytes into the memory.
    pub(crate) off: u32,
    /// Bytes from there on.
    pub(crate) len: u32,
}

impl Dynptr {
    /// Over `len` bytes from the start.
    pub(crate) fn new(kind: Kind, data: u64, len: u32) -> Dynptr {
        Dynptr { data, kind, read_only: false, off: 0, len }
    }

    /// The dynptr at `addr`; none if it is null.
    pub(crate) fn load(call: &Call<'_>, addr: u64) -> Result<Option<Dynptr>, Trap> {
        let data = call.load(addr, Size::Dw)?;
        let word = call.load(addr.wrapping_add(8), Size::W)? as u32;
        let off = call.load(addr.wrapping_add(12), Size::W)? as u32;
        if data == 0 {
            return Ok(None);
        }
        let kind = match word >> KIND_SHIFT & KIND_MASK {
            1 => Kind::Local,
            2 => Kind::Ringbuf,
            3 => Kind::Skb,
            4 => Kind::Xdp,
            _ => return Err(call.bad_argument(format!("{addr:#x} is not an initialised dynptr"))),
        };
        Ok(Some(Dynptr { data, kind, read_only: word & READ_ONLY != 0, off, len: word & LEN_MASK }))
    }

    /// Puts a dynptr at `addr`.
    pub(crate) fn store(&self, call: &Call<'_>, addr: u64) -> Result<(), Trap> {
        call.check(addr, DYNPTR_LEN, true)?;
        let word = self.len & LEN_MASK
            | (self.kind as u32) << KIND_SHIFT
            | if self.read_only { READ_ONLY } else { 0 };
        call.store(addr, Size::Dw, self.data)?;
        call.store(addr.wrapping_add(8), Size::W, word.into())?;
        call.store(addr.wrapping_add(12), Size::W, self.off.into())
    }

    /// Puts a null dynptr at `addr`.
    pub(crate) fn store_null(call: &Call<'_>, addr: u64) -> Result<(), Trap> {
        call.write(addr, &[0; DYNPTR_LEN as usize])
    }

    /// `E2BIG` unless `len` bytes from `off` on are inside.
    pub(crate) fn check(&self, off: u32, len: u32) -> Result<(), Errno> {
        if len > self.len || off > self.len - len { Err(Errno::E2BIG) } else { Ok(()) }
    }

    /// The address of `len` bytes from `off` on, where they lie in one piece. They must be inside.
    pub(crate) fn in_place(&self, call: &mut Call<'_>, off: u32, len: u32) -> Option<u64> {
        let at = u64::from(self.off) + u64::from(off);
        let (start, end) = match self.kind {
            Kind::Local | Kind::Ringbuf => return Some(self.data + at),
            // Not all programs see the context's fields, which say the same.
            Kind::Skb => super::skb(call, self.data).ok()?.linear(),
            Kind::Xdp => {
                // Offsets of `data` and `data_end` in `struct xdp_md`.
                let view = call.view();
                (view.load(self.data, Size::W).ok()?, view.load(self.data + 4, Size::W).ok()?)
            }
        };
        (start + at + u64::from(len) <= end).then_some(start + at)
    }

    /// Copies `len` bytes from `off` on, which must be inside, to `to`.
    pub(crate) fn copy_to(&self, call: &mut Call<'_>, off: u32, to: u64, len: u32) -> HelperResult {
        let at = u64::from(self.off.wrapping_add(off));
        match self.kind {
            Kind::Local | Kind::Ringbuf => {
                let bytes = call.read_vec(self.data + at, len.into())?;
                call.write(to, &bytes).map(|()| 0)
            }
            Kind::Skb => by_number(call, SKB_LOAD_BYTES, [self.data, at, to, len.into(), 0]),
            Kind::Xdp => by_number(call, XDP_LOAD_BYTES, [self.data, at, to, len.into(), 0]),
        }
    }

    /// Copies `len` bytes at `from` to `off`, where they must fit.
    pub(crate) fn copy_from(
        &self,
        call: &mut Call<'_>,
        off: u32,
        from: u64,
        len: u32,
        flags: u64,
    ) -> HelperResult {
        if flags != 0 && self.kind != Kind::Skb {
            return Err(Errno::EINVAL.into());
        }
        let at = u64::from(self.off.wrapping_add(off));
        match self.kind {
            Kind::Local | Kind::Ringbuf => {
                let bytes = call.read_vec(from, len.into())?;
                call.write(self.data + at, &bytes).map(|()| 0)
            }
            Kind::Skb => by_number(call, SKB_STORE_BYTES, [self.data, at, from, len.into(), flags]),
            Kind::Xdp => by_number(call, XDP_STORE_BYTES, [self.data, at, from, len.into(), 0]),
        }
    }
}

const SKB_STORE_BYTES: u32 = 9;
const SKB_LOAD_BYTES: u32 = 26;
const RINGBUF_RESERVE: u32 = 131;
const RINGBUF_SUBMIT: u32 = 132;
const RINGBUF_DISCARD: u32 = 133;
/// `bpf_xdp_get_buff_len`.
pub(crate) const XDP_BUFF_LEN: u32 = 188;
const XDP_LOAD_BYTES: u32 = 189;
const XDP_STORE_BYTES: u32 = 190;

/// Does what the helper of this number does.
pub(crate) fn by_number(call: &mut Call<'_>, id: u32, [r1, r2, r3, r4, r5]: [u64; 5]) -> HelperResult {
    let Some(helper) = super::by_id(id) else {
        return Err(call.unsupported(format!("helper {id} is not there")));
    };
    match helper.run {
        Some(run) => run(call, r1, r2, r3, r4, r5),
        None => {
            Err(call.unsupported(format!("bpf_{}, which this needs, is not there yet", helper.spec.name)))
        }
    }
}

fn dynptr_from_mem(call: &mut Call<'_>, data: u64, len: u64, flags: u64, ptr: u64, _: u64) -> HelperResult {
    let len = len as u32;
    let errno = match (len > LEN_MAX, flags) {
        (true, _) => Errno::E2BIG,
        (false, 0) => {
            call.check(data, len.into(), true)?;
            return Dynptr::new(Kind::Local, data, len).store(call, ptr).map(|()| 0);
        }
        (false, _) => Errno::EINVAL,
    };
    Dynptr::store_null(call, ptr)?;
    Err(errno.into())
}

fn ringbuf_reserve_dynptr(
    call: &mut Call<'_>,
    map: u64,
    len: u64,
    flags: u64,
    ptr: u64,
    _: u64,
) -> HelperResult {
    let len = len as u32;
    Dynptr::store_null(call, ptr)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len > LEN_MAX {
        return Err(Errno::E2BIG.into());
    }
    let data = by_number(call, RINGBUF_RESERVE, [map, len.into(), 0, 0, 0])?;
    if data == 0 {
        return Err(Errno::EINVAL.into());
    }
    Dynptr::new(Kind::Ringbuf, data, len).store(call, ptr).map(|()| 0)
}

fn ringbuf_submit_dynptr(call: &mut Call<'_>, ptr: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    finish(call, ptr, flags, RINGBUF_SUBMIT)
}

fn ringbuf_discard_dynptr(call: &mut Call<'_>, ptr: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    finish(call, ptr, flags, RINGBUF_DISCARD)
}

/// Submits or discards the record behind a dynptr, if there is one.
fn finish(call: &mut Call<'_>, ptr: u64, flags: u64, id: u32) -> HelperResult {
    if let Some(dynptr) = Dynptr::load(call, ptr)? {
        by_number(call, id, [dynptr.data, flags, 0, 0, 0])?;
        Dynptr::store_null(call, ptr)?;
    }
    Ok(0)
}

fn dynptr_read(call: &mut Call<'_>, to: u64, len: u64, ptr: u64, off: u64, flags: u64) -> HelperResult {
    let (len, off) = (len as u32, off as u32);
    let dynptr = Dynptr::load(call, ptr)?.filter(|_| flags == 0).ok_or(Errno::EINVAL)?;
    dynptr.check(off, len)?;
    dynptr.copy_to(call, off, to, len)
}

fn dynptr_write(call: &mut Call<'_>, ptr: u64, off: u64, from: u64, len: u64, flags: u64) -> HelperResult {
    let (len, off) = (len as u32, off as u32);
    let dynptr = Dynptr::load(call, ptr)?.filter(|dynptr| !dynptr.read_only).ok_or(Errno::EINVAL)?;
    dynptr.check(off, len)?;
    dynptr.copy_from(call, off, from, len, flags)
}

/// The address of bytes, to be used in place; NULL for packets.
fn dynptr_data(call: &mut Call<'_>, ptr: u64, off: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let (len, off) = (len as u32, off as u32);
    let Some(dynptr) = Dynptr::load(call, ptr)? else { return Ok(0) };
    if dynptr.check(off, len).is_err() || dynptr.read_only || matches!(dynptr.kind, Kind::Skb | Kind::Xdp) {
        return Ok(0);
    }
    Ok(dynptr.in_place(call, off, len).unwrap_or(0))
}
