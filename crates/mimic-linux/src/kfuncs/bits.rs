//! `bpf_iter_bits_*`: the set bits of memory, one after the other. Documentation/bpf/kfuncs.rst, "open-coded iterators".
//!
//! A `struct bpf_iter_bits` on the guest's stack holds what the kernel's does: one word, or a pointer to a copy of several; their number of
//! bits; the bit that was answered last.

use crate::Linux;
use crate::heap::{self, ObjectType};
use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

/// Bytes of a `struct bpf_iter_bits`.
const ITER_LEN: u32 = 16;
/// The most words (`BITS_ITER_NR_WORDS_MAX`).
const WORDS_MAX: u32 = 511;
/// Offset of the number of bits, and of the last bit.
const COUNT: u64 = 8;
const BIT: u64 = 12;

const ITER: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(ITER_LEN));
const UNINIT_ITER: ArgType = ArgType::Mem(MemAccess::Write, MemLen::Fixed(ITER_LEN));

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_iter_bits_new")
            .args(&[
                arg("it", UNINIT_ITER),
                arg("unsafe_ptr__ign", ArgType::Anything),
                arg("nr_words", ArgType::Anything),
            ])
            .since(6, 11),
        new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_bits_next")
            .args(&[arg("it", ITER)])
            .returns(RetType::DynptrMemOrNull)
            .since(6, 11),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_bits_destroy")
            .args(&[arg("it", ITER)])
            .returns(RetType::Void)
            .since(6, 11),
        destroy,
    ),
];

fn int(errno: Errno) -> HelperResult {
    Ok(u64::from(-errno.0 as u32))
}

fn set(call: &Call<'_>, it: u64, words: u64, count: u32, bit: u32) -> Result<(), Trap> {
    call.store(it, Size::Dw, words)?;
    call.store(it.wrapping_add(COUNT), Size::W, count.into())?;
    call.store(it.wrapping_add(BIT), Size::W, bit.into())
}

fn new(call: &mut Call<'_>, it: u64, from: u64, words: u64, _: u64, _: u64) -> HelperResult {
    let words = words as u32;
    set(call, it, 0, 0, u32::MAX)?;
    if from == 0 || words == 0 {
        return int(Errno::EINVAL);
    }
    if words > WORDS_MAX {
        return int(Errno::E2BIG);
    }
    // The memory may be anywhere: what cannot be read is an answer, no fault.
    let Ok(bytes) = call.view().read_vec(from, u64::from(words) * 8) else {
        // The kernel refuses the user half of addresses before it looks, and tells so if there are several words.
        let user = words > 1 && from >> 63 == 0;
        return int(if user { Errno::ERANGE } else { Errno::EFAULT });
    };
    if words == 1 {
        let word = call.load(from, Size::Dw)?;
        set(call, it, word, 64, u32::MAX)?;
        return Ok(0);
    }
    let ty = Arc::new(ObjectType {
        name: "bpf_iter_bits copy".into(),
        len: words * 8,
        fields: [].into(),
        refcounted: false,
        zeroed: true,
    });
    let copy = super::object::allocate(call, &ty, None);
    if copy == 0 {
        return int(Errno::ENOMEM);
    }
    call.memory_changed();
    call.write(copy, &bytes)?;
    set(call, it, copy, words * 64, u32::MAX)?;
    Ok(0)
}

/// The address of the next bit's number, or NULL.
fn next(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let count = call.load(it.wrapping_add(COUNT), Size::W)? as u32;
    let at = it.wrapping_add(BIT);
    let last = call.load(at, Size::W)? as u32;
    if count == 0 || (last as i32) >= count as i32 {
        return Ok(0);
    }
    let words = if count == 64 { it } else { call.load(it, Size::Dw)? };
    let mut bit = last.wrapping_add(1);
    while bit < count {
        let word = call.load(words.wrapping_add(u64::from(bit / 64) * 8), Size::Dw)? >> (bit % 64);
        if word != 0 {
            bit += word.trailing_zeros();
            break;
        }
        bit = (bit / 64 + 1) * 64;
    }
    call.store(at, Size::W, bit.min(count).into())?;
    Ok(if bit < count { at } else { 0 })
}

fn destroy(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if call.load(it.wrapping_add(COUNT), Size::W)? > 64 {
        let copy = call.load(it, Size::Dw)?;
        heap::release(call, copy)?;
        Linux::of(call).heap().put(copy);
        set(call, it, 0, 0, u32::MAX)?;
    }
    Ok(0)
}
