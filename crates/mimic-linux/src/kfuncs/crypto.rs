//! Ciphers: contexts with a key, which syscall programs make, and programs on packets use. Documentation/bpf/kfuncs.rst; the parameters are
//! `struct bpf_crypto_params`.

use super::int_of;
use crate::Linux;
use crate::cipher::{Cipher, Mode};
use crate::helpers::dynptr::Dynptr;
use crate::objects::{self, ObjectKey, View, crypto_at};
use mimic_abi::{
    Arg, ArgType, DynptrKind, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Size, Support, arg,
    arg_or_null,
};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const CTX: ArgType = ArgType::BtfId("bpf_crypto_ctx");
const DYNPTR: ArgType = ArgType::Dynptr(DynptrKind::Any);
const CRYPT: &[Arg] =
    &[arg("ctx", CTX), arg("src", DYNPTR), arg("dst", DYNPTR), arg_or_null("siv__nullable", DYNPTR)];
const ALGORITHMS: Support = Support::Partial("ecb(aes) and cbc(aes); other algorithms are EOPNOTSUPP");

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_crypto_ctx_create")
            .args(&[
                arg("params", ArgType::Mem(MemAccess::Read, MemLen::NextArg)),
                arg("params__sz", ArgType::SizeOrZero),
                arg("err", ArgType::Mem(MemAccess::Write, MemLen::Fixed(4))),
            ])
            .returns(RetType::BtfIdOrNull("bpf_crypto_ctx"))
            .flags(HelperFlags::ACQUIRES)
            .since(6, 10)
            .support(ALGORITHMS),
        ctx_create,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_crypto_ctx_acquire")
            .args(&[arg("ctx", CTX)])
            .returns(RetType::BtfIdOrNull("bpf_crypto_ctx"))
            .flags(HelperFlags::ACQUIRES)
            .since(6, 10),
        ctx_acquire,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_crypto_ctx_release")
            .args(&[arg("ctx", CTX)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(6, 10),
        ctx_release,
    ),
    Helper::new(HelperSpec::new(0, "bpf_crypto_encrypt").args(CRYPT).since(6, 10), encrypt),
    Helper::new(HelperSpec::new(0, "bpf_crypto_decrypt").args(CRYPT).since(6, 10), decrypt),
];

/// Bytes of `struct bpf_crypto_params`: type, 2 reserved, algorithm, key, the key's length, and that of what authenticates.
const PARAMS_LEN: u64 = 408;
const TYPE_LEN: usize = 14;
const ALGORITHM_OFF: usize = 16;
const KEY_OFF: usize = 144;
const KEY_MAX: u32 = 256;
/// The most contexts that are kept.
const CONTEXTS_MAX: usize = 4096;

fn ctx_create(call: &mut Call<'_>, params: u64, len: u64, err: u64, _: u64, _: u64) -> HelperResult {
    call.check(err, 4, true)?;
    match make(call, params, u64::from(len as u32)) {
        Ok(id) => objects::give_acquired(call, ObjectKey::Crypto(id), View::Kernel),
        Err(Trap::Errno(errno)) => {
            call.store(err, Size::W, u64::from(-errno.0 as u32))?;
            Ok(0)
        }
        Err(trap) => Err(trap),
    }
}

/// Makes a context; answers its number.
fn make(call: &mut Call<'_>, params: u64, len: u64) -> Result<u64, Trap> {
    if params == 0 || len != PARAMS_LEN {
        return Err(Errno::EINVAL.into());
    }
    let bytes = call.read_vec(params, len)?;
    if bytes[TYPE_LEN..ALGORITHM_OFF] != [0, 0] {
        return Err(Errno::EINVAL.into());
    }
    let text = |from: usize, to: usize| bytes[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
    if text(0, TYPE_LEN) != b"skcipher" {
        return Err(Errno::ENOENT.into());
    }
    let mode = Mode::named(text(ALGORITHM_OFF, KEY_OFF)).ok_or(Errno::EOPNOTSUPP)?;
    let word = |off: u64| call.load(params + off, Size::W).map(|word| word as u32);
    let (key_len, auth_len) = (word(400)?, word(404)?);
    if auth_len != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if key_len == 0 || key_len > KEY_MAX {
        return Err(Errno::EINVAL.into());
    }
    let cipher = Cipher::new(mode, &bytes[KEY_OFF..KEY_OFF + key_len as usize])?;
    let ciphers = &Linux::of(call).tables.ciphers;
    let id = ciphers.all().len() as u64 + 1;
    if id > CONTEXTS_MAX as u64 {
        return Err(Errno::ENOMEM.into());
    }
    ciphers.set(id, cipher.into());
    Ok(id)
}

fn ctx_acquire(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let (id, _) = crypto_at(call, ctx)?;
    objects::give_acquired(call, ObjectKey::Crypto(id), View::Kernel)
}

fn ctx_release(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, ctx)?;
    Ok(0)
}

fn encrypt(call: &mut Call<'_>, ctx: u64, src: u64, dst: u64, siv: u64, _: u64) -> HelperResult {
    int_of(crypt(call, ctx, (src, dst, siv), false))
}

fn decrypt(call: &mut Call<'_>, ctx: u64, src: u64, dst: u64, siv: u64, _: u64) -> HelperResult {
    int_of(crypt(call, ctx, (src, dst, siv), true))
}

fn crypt(call: &mut Call<'_>, ctx: u64, (src, dst, siv): (u64, u64, u64), decrypt: bool) -> HelperResult {
    let (_, cipher) = crypto_at(call, ctx)?;
    let mut place = |dynptr: u64, write: bool| -> Result<(u64, u64), Trap> {
        let dynptr = Dynptr::load(call, dynptr)?.filter(|dynptr| !(write && dynptr.read_only));
        let dynptr = dynptr.ok_or(Errno::EINVAL)?;
        let at = dynptr.in_place(call, 0, dynptr.len).ok_or(Errno::EINVAL)?;
        Ok((at, dynptr.len.into()))
    };
    let (to, to_len) = place(dst, true)?;
    let (from, from_len) = place(src, false)?;
    let (iv_at, iv_len) = if siv == 0 { (0, 0) } else { place(siv, true)? };
    if from_len == 0 || to_len == 0 || from_len > to_len || iv_len != cipher.iv_len() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let (mut bytes, mut iv) = (call.read_vec(from, from_len)?, call.read_vec(iv_at, iv_len)?);
    cipher.apply(&mut bytes, &mut iv, decrypt)?;
    call.write(to, &bytes)?;
    call.write(iv_at, &iv)?;
    Ok(0)
}
