//! Numbers from strings, and comparison of strings.

use super::format;
use super::row::READ;
use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, Size, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(105, "strtol")
            .args(&[
                arg("buf", READ),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 2),
        strtol,
    ),
    Helper::new(
        HelperSpec::new(106, "strtoul")
            .args(&[
                arg("buf", READ),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 2),
        strtoul,
    ),
    Helper::new(
        HelperSpec::new(182, "strncmp")
            .args(&[arg("s1", READ), arg("s1_sz", ArgType::Size), arg("s2", ArgType::ConstStr)])
            .since(5, 17),
        strncmp,
    ),
];

/// Digits of a number that are looked at; what follows is not (the kernel copies them to a buffer of 64 bytes with a NUL).
const DIGITS_MAX: usize = 63;

/// A number at the start of a string.
struct Parsed {
    negative: bool,
    value: u64,
    /// Bytes that it takes, with what is before it.
    len: u64,
}

fn strtol(call: &mut Call<'_>, buf: u64, len: u64, flags: u64, res: u64, _: u64) -> HelperResult {
    convert(call, [buf, len, flags, res], |parsed| {
        let value = if parsed.negative { parsed.value.wrapping_neg() } else { parsed.value };
        // The sign must be the one that was read; 0 has none.
        let fits = if parsed.negative { value as i64 <= 0 } else { value as i64 >= 0 };
        if fits { Ok(value) } else { Err(Errno::ERANGE) }
    })
}

fn strtoul(call: &mut Call<'_>, buf: u64, len: u64, flags: u64, res: u64, _: u64) -> HelperResult {
    convert(
        call,
        [buf, len, flags, res],
        |parsed| {
            if parsed.negative { Err(Errno::EINVAL) } else { Ok(parsed.value) }
        },
    )
}

/// Parses `len` bytes at `buf` and stores at `res` what `finish` makes of them, or 0 on error. Answers the bytes read.
fn convert(
    call: &Call<'_>,
    [buf, len, flags, res]: [u64; 4],
    finish: fn(&Parsed) -> Result<u64, Errno>,
) -> HelperResult {
    let text = call.read_vec(buf, len)?;
    let parsed = parse(&text, flags).and_then(|parsed| Ok((finish(&parsed)?, parsed.len)));
    let (value, len) = match parsed {
        Ok((value, len)) => (value, Ok(len)),
        Err(errno) => (0, Err(errno.into())),
    };
    call.store(res, Size::Dw, value)?;
    len
}

fn parse(text: &[u8], flags: u64) -> Result<Parsed, Errno> {
    const BASE_MASK: u64 = 0x1f;
    if flags & !BASE_MASK != 0 || !matches!(flags, 0 | 8 | 10 | 16) {
        return Err(Errno::EINVAL);
    }
    let spaces = text.iter().take_while(|byte| format::is_space(**byte)).count();
    let negative = text.get(spaces) == Some(&b'-');
    let start = spaces + usize::from(negative);
    let digits = &text[start..];
    if digits.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (base, prefix) = base(&digits[..digits.len().min(DIGITS_MAX)], flags as u32);
    let digits = &digits[prefix..digits.len().min(DIGITS_MAX).max(prefix)];
    let mut value = 0u64;
    let mut len = 0;
    let mut overflow = false;
    for digit in digits.iter().map_while(|byte| char::from(*byte).to_digit(base)) {
        let next = value.checked_mul(base.into()).and_then(|value| value.checked_add(digit.into()));
        overflow |= next.is_none();
        value = next.unwrap_or(value);
        len += 1;
    }
    match (overflow, len) {
        (true, _) => Err(Errno::ERANGE),
        (false, 0) => Err(Errno::EINVAL),
        (false, _) => Ok(Parsed { negative, value, len: (start + prefix + len) as u64 }),
    }
}

/// The base of a number, and how long the prefix is that says so.
fn base(digits: &[u8], asked: u32) -> (u32, usize) {
    let hex = matches!(digits, [b'0', b'x' | b'X', ..]);
    match asked {
        0 if hex && digits.get(2).is_some_and(u8::is_ascii_hexdigit) => (16, 2),
        0 if digits.first() == Some(&b'0') => (8, 0),
        0 => (10, 0),
        16 if hex => (16, 2),
        base => (base, 0),
    }
}

fn strncmp(call: &mut Call<'_>, s1: u64, len: u64, s2: u64, _: u64, _: u64) -> HelperResult {
    let a = call.read_vec(s1, u64::from(len as u32))?;
    let mut b = format::read_const_str(call, s2, "the second string")?;
    b.push(0);
    for (a, b) in a.iter().zip(&b) {
        match a.cmp(b) {
            core::cmp::Ordering::Less => return Ok(-1i64 as u64),
            core::cmp::Ordering::Greater => return Ok(1),
            core::cmp::Ordering::Equal if *a == 0 => break,
            core::cmp::Ordering::Equal => {}
        }
    }
    Ok(0)
}
