//! The format strings of bpf_trace_printk, bpf_trace_vprintk, bpf_snprintf and bpf_seq_printf.
//!
//! As in the kernel this is two steps, and what can be seen of that (what is refused when, how much the arguments of one call
//! may take) is the same: first the format is checked and the arguments are packed, strings and addresses read; then the
//! packed arguments are printed. See bpf-helpers(7), `bpf_trace_printk` and `bpf_snprintf`, and
//! Documentation/core-api/printk-formats.rst.

use crate::Linux;
use mimic_abi::{Errno, Size};
use mimic_vm::{Call, Trap};

/// Bytes that the packed arguments of one call can take (`MAX_BPRINTF_BIN_ARGS`).
const PACKED_MAX: usize = 512;
/// The most arguments that an array of them can hold (`MAX_BPRINTF_VARARGS`).
pub(super) const VARARGS_MAX: u64 = 12;
/// Bytes of a line of trace output with its NUL (`MAX_BPRINTF_BUF`).
pub(super) const LINE_MAX: usize = 1024;
/// The longest format string that is looked at, in bytes.
const FORMAT_MAX: u32 = 1 << 16;

/// Formatted text.
pub(super) struct Text {
    /// As much as there was room for, without a NUL.
    pub(super) bytes: Vec<u8>,
    /// How long all of it would be, in bytes.
    pub(super) len: i32,
}

/// Formats `args` into at most `room` bytes, one of which is for a NUL.
pub(super) fn format(call: &Call<'_>, fmt: &[u8], args: &[u64], room: usize) -> Result<Text, Trap> {
    let packed = Packer { call, fmt, args, used: 0, bytes: [0; PACKED_MAX], end: 0 }.pack()?;
    Ok(Printer { call, fmt, packed, at: 0, text: Vec::new(), room, len: 0 }.print())
}

/// Reads a format of at most `len` bytes. `EINVAL` if there is no NUL among them.
pub(super) fn read_format(call: &Call<'_>, addr: u64, len: u64) -> Result<Vec<u8>, Trap> {
    let mut fmt = call.read_vec(addr, len)?;
    let end = fmt.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
    fmt.truncate(end);
    Ok(fmt)
}

/// Reads a constant string.
pub(super) fn read_const_str(call: &Call<'_>, addr: u64, what: &str) -> Result<Vec<u8>, Trap> {
    match call.view().read_cstr(addr, FORMAT_MAX) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(call.bad_argument(format!(
            "{what} does not end with a NUL before its object ends or {FORMAT_MAX} bytes are over"
        ))),
        Err(_) => Err(call.read(addr, &mut [0]).err().unwrap_or(Errno::EFAULT.into())),
    }
}

/// Reads an array of `len` bytes of arguments. `EINVAL` unless it is of whole arguments, and not too many.
pub(super) fn read_args(call: &Call<'_>, addr: u64, len: u64) -> Result<Vec<u64>, Trap> {
    if !len.is_multiple_of(8) || len > VARARGS_MAX * 8 || (len != 0 && addr == 0) {
        return Err(Errno::EINVAL.into());
    }
    (0..len / 8).map(|index| call.load(addr.wrapping_add(index * 8), Size::Dw)).collect()
}

/// A pointer conversion, by the letters after `%p`.
enum Pointer {
    /// Printed as it is, or hashed.
    Plain,
    /// An address that is looked up and printed when arguments are packed.
    Backtrace,
    /// A string.
    Str,
    /// `[iI][46]`.
    Ip {
        /// `I` rather than `i`.
        upper: bool,
        six: bool,
    },
}

/// The first step.
struct Packer<'a, 'c> {
    call: &'a Call<'c>,
    fmt: &'a [u8],
    args: &'a [u64],
    /// Arguments taken.
    used: usize,
    bytes: [u8; PACKED_MAX],
    end: usize,
}

impl Packer<'_, '_> {
    fn pack(mut self) -> Result<[u8; PACKED_MAX], Errno> {
        let mut i = 0;
        while i < self.fmt.len() {
            let byte = self.at(i);
            if byte.is_ascii() && !is_print(byte) && !is_space(byte) {
                return Err(Errno::EINVAL);
            }
            if byte != b'%' {
                i += 1;
            } else if self.at(i + 1) == b'%' {
                i += 2;
            } else {
                i = self.conversion(i + 1)? + 1;
            }
        }
        Ok(self.bytes)
    }

    /// The byte at an index of the format; NUL behind its end.
    fn at(&self, i: usize) -> u8 {
        self.fmt.get(i).copied().unwrap_or(0)
    }

    /// Packs the argument of the conversion whose `%` is before `i`. Answers the index of its last byte.
    fn conversion(&mut self, mut i: usize) -> Result<usize, Errno> {
        let arg = *self.args.get(self.used).ok_or(Errno::EINVAL)?;
        self.used += 1;
        if !self.at(i).is_ascii() {
            return Err(Errno::EINVAL);
        }
        while matches!(self.at(i), b'0' | b'+' | b'-' | b' ') {
            i += 1;
        }
        if matches!(self.at(i), b'1'..=b'9') {
            while self.at(i).is_ascii_digit() {
                i += 1;
            }
        }
        match self.at(i) {
            b'p' => self.pointer(i, arg),
            b's' => self.string(i, arg),
            b'c' => self.push(&[arg as u8]).map(|()| i),
            _ => self.number(i, arg),
        }
    }

    fn number(&mut self, mut i: usize, arg: u64) -> Result<usize, Errno> {
        let start = i;
        while self.at(i) == b'l' && i < start + 2 {
            i += 1;
        }
        if !matches!(self.at(i), b'i' | b'd' | b'u' | b'x' | b'X') {
            return Err(Errno::EINVAL);
        }
        if i > start {
            self.push_aligned(&arg.to_ne_bytes())
        } else {
            self.push_aligned(&(arg as u32).to_ne_bytes())
        }?;
        Ok(i)
    }

    fn pointer(&mut self, i: usize, arg: u64) -> Result<usize, Errno> {
        let (kind, last) = self.pointer_kind(i)?;
        match kind {
            Pointer::Plain => self.push_aligned(&arg.to_ne_bytes())?,
            Pointer::Backtrace => self.push_text(symbol(Linux::of(self.call), b'B', arg).as_bytes())?,
            Pointer::Str => return self.string(last, arg),
            Pointer::Ip { upper, six } => {
                let mut addr = [0; 16];
                let addr = &mut addr[..if six { 16 } else { 4 }];
                if PACKED_MAX - self.end < addr.len() {
                    return Err(Errno::ENOSPC);
                }
                if self.call.view().read(arg, addr).is_err() {
                    addr.fill(0);
                }
                self.push_text(ip_text(addr, upper).as_bytes())?;
            }
        }
        Ok(last)
    }

    /// Which pointer conversion has its `p` at `i`, and the index of its last letter that counts.
    fn pointer_kind(&self, i: usize) -> Result<(Pointer, usize), Errno> {
        Ok(match (self.at(i + 1), self.at(i + 2)) {
            (after, _) if after == 0 || is_space(after) || is_punct(after) => (Pointer::Plain, i),
            (b'k' | b'u', b's') => (Pointer::Str, i + 2),
            (b'K' | b'x' | b's' | b'S', _) => (Pointer::Plain, i + 1),
            (b'B', _) => (Pointer::Backtrace, i + 1),
            (letter @ (b'i' | b'I'), digit @ (b'4' | b'6')) => {
                (Pointer::Ip { upper: letter == b'I', six: digit == b'6' }, i + 2)
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Packs the string at `addr`, with its NUL; the conversion's last letter is at `i`. What cannot be read is empty.
    fn string(&mut self, i: usize, addr: u64) -> Result<usize, Errno> {
        let after = self.at(i + 1);
        if after != 0 && !is_space(after) && !is_punct(after) {
            return Err(Errno::EINVAL);
        }
        let room = PACKED_MAX - self.end;
        if room == 0 {
            return Err(Errno::ENOSPC);
        }
        let view = self.call.view();
        let bytes = (0..room as u64 - 1).map_while(|at| {
            view.load(addr.wrapping_add(at), Size::B).ok().map(|byte| byte as u8).filter(|byte| *byte != 0)
        });
        for byte in bytes {
            self.bytes[self.end] = byte;
            self.end += 1;
        }
        self.push(&[0])?;
        Ok(i)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let to = self.bytes.get_mut(self.end..self.end + bytes.len()).ok_or(Errno::ENOSPC)?;
        to.copy_from_slice(bytes);
        self.end += bytes.len();
        Ok(())
    }

    fn push_aligned(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.end = self.end.next_multiple_of(4);
        self.push(bytes)
    }

    fn push_text(&mut self, text: &[u8]) -> Result<(), Errno> {
        self.push(text)?;
        self.push(&[0])
    }
}

/// Flags and width of a conversion.
#[derive(Clone, Copy, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: Option<i32>,
}

/// The second step.
struct Printer<'a, 'c> {
    call: &'a Call<'c>,
    fmt: &'a [u8],
    packed: [u8; PACKED_MAX],
    /// Where the next packed argument is.
    at: usize,
    text: Vec<u8>,
    room: usize,
    len: i64,
}

impl Printer<'_, '_> {
    fn print(mut self) -> Text {
        let mut i = 0;
        while let Some(byte) = self.fmt.get(i).copied() {
            i += 1;
            if byte != b'%' {
                self.put(byte);
                continue;
            }
            let mut spec = Spec::default();
            while let Some(flag) = self.fmt.get(i) {
                match flag {
                    b'-' => spec.left = true,
                    b'+' => spec.plus = true,
                    b' ' => spec.space = true,
                    b'0' => spec.zero = true,
                    _ => break,
                }
                i += 1;
            }
            while let Some(digit) = self.fmt.get(i).filter(|byte| byte.is_ascii_digit()) {
                let width = spec.width.unwrap_or(0).wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
                spec.width = Some(width);
                i += 1;
            }
            i = self.conversion(i, spec);
        }
        Text { bytes: self.text, len: self.len as i32 }
    }

    /// Prints the conversion whose letter, or `l`, is at `i`. Answers where the format goes on.
    fn conversion(&mut self, mut i: usize, spec: Spec) -> usize {
        let start = i;
        while self.fmt.get(i) == Some(&b'l') {
            i += 1;
        }
        let long = i > start;
        match self.fmt.get(i).copied().unwrap_or(0) {
            b'%' => self.put(b'%'),
            b'c' => {
                let byte = self.take::<1>()[0];
                self.padded(&[byte], spec);
            }
            b's' => {
                let text = self.take_text();
                self.padded(&text, spec);
            }
            b'p' => return self.pointer(i + 1, spec),
            letter @ (b'd' | b'i') => {
                let value = if long { self.take64() as i64 } else { i64::from(self.take32() as i32) };
                self.number(value < 0, value.unsigned_abs(), letter, spec);
            }
            letter => {
                let value = if long { self.take64() } else { u64::from(self.take32()) };
                self.number(false, value, letter, spec);
            }
        }
        i + 1
    }

    /// Prints a pointer, whose letters begin at `i`; all letters and digits there belong to it.
    fn pointer(&mut self, i: usize, spec: Spec) -> usize {
        let letter = self.fmt.get(i).copied().unwrap_or(0);
        match letter {
            b's' | b'S' => {
                let addr = self.take64();
                self.padded(symbol(Linux::of(self.call), letter, addr).as_bytes(), spec);
            }
            b'x' => {
                let addr = self.take64();
                self.address(addr, spec);
            }
            letter if letter == b'K' || !is_alnum(letter) => {
                let addr = self.take64();
                self.address(self.hashed(addr), spec);
            }
            // It was printed when it was packed. Where there is no room left it is not even looked at.
            _ if self.len < self.room as i64 => {
                let text = self.take_text();
                text.iter().for_each(|byte| self.put(*byte));
            }
            _ => {}
        }
        i + self.fmt[i..].iter().take_while(|byte| is_alnum(**byte)).count()
    }

    fn hashed(&self, addr: u64) -> u64 {
        hashed(Linux::of(self.call), addr)
    }

    fn address(&mut self, addr: u64, spec: Spec) {
        let full = Spec { width: Some(16), zero: true, ..spec };
        self.number(false, addr, b'x', if spec.width.is_none() { full } else { spec });
    }

    fn number(&mut self, negative: bool, value: u64, letter: u8, spec: Spec) {
        let digits = match letter {
            b'x' | b'p' => format!("{value:x}"),
            b'X' => format!("{value:X}"),
            _ => value.to_string(),
        };
        let sign = match letter {
            _ if negative => Some(b'-'),
            b'd' | b'i' if spec.plus => Some(b'+'),
            b'd' | b'i' if spec.space => Some(b' '),
            _ => None,
        };
        let pad = i64::from(spec.width.unwrap_or(-1)) - digits.len() as i64 - i64::from(sign.is_some());
        let (before, zeros, after) = match (spec.left, spec.zero) {
            (true, _) => (0, 0, pad),
            (false, true) => (0, pad, 0),
            (false, false) => (pad, 0, 0),
        };
        self.pad(b' ', before);
        sign.into_iter().for_each(|sign| self.put(sign));
        self.pad(b'0', zeros);
        digits.bytes().for_each(|digit| self.put(digit));
        self.pad(b' ', after);
    }

    fn padded(&mut self, text: &[u8], spec: Spec) {
        let pad = i64::from(spec.width.unwrap_or(-1)) - text.len() as i64;
        if !spec.left {
            self.pad(b' ', pad);
        }
        text.iter().for_each(|byte| self.put(*byte));
        if spec.left {
            self.pad(b' ', pad);
        }
    }

    fn pad(&mut self, byte: u8, count: i64) {
        let count = count.max(0);
        let room = (self.room as i64 - 1 - self.text.len() as i64).max(0);
        self.text.resize(self.text.len() + count.min(room) as usize, byte);
        self.len += count;
    }

    fn put(&mut self, byte: u8) {
        self.pad(byte, 1);
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.packed.get(self.at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N]);
        self.at += N;
        bytes
    }

    fn take32(&mut self) -> u32 {
        self.at = self.at.next_multiple_of(4);
        u32::from_ne_bytes(self.take())
    }

    fn take64(&mut self) -> u64 {
        self.at = self.at.next_multiple_of(4);
        u64::from_ne_bytes(self.take())
    }

    fn take_text(&mut self) -> Vec<u8> {
        let rest = self.packed.get(self.at..).unwrap_or(&[]);
        let len = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let text = rest[..len].to_vec();
        self.at += len + 1;
        text
    }
}

/// What is printed in place of an address, so that addresses stay secret: 32 bits that stand for it. NULL and error numbers are no
/// secrets.
pub(super) fn hashed(linux: &Linux, addr: u64) -> u64 {
    const ERRNO_MAX: u64 = 4095;
    if addr == 0 || addr >= ERRNO_MAX.wrapping_neg() {
        return addr;
    }
    linux.secret_hash(addr) & u64::from(u32::MAX)
}

/// An address as a symbol, as `%ps` (the name only), `%pS` and `%pB` (of a return address, which may lie behind its function) print it;
/// its number if the world has none there.
fn symbol(linux: &Linux, letter: u8, addr: u64) -> String {
    let back = u64::from(letter == b'B');
    match linux.symbols().at(addr.wrapping_sub(back)) {
        None => format!("{addr:#x}"),
        Some(symbol) if letter == b's' => symbol.name.into(),
        Some(symbol) => format!("{}+{:#x}/{:#x}", symbol.name, symbol.off + back, symbol.len),
    }
}

/// `%pI4`, `%pi4` (with leading zeros), `%pI6` or `%pi6` (without colons).
fn ip_text(addr: &[u8], upper: bool) -> String {
    let parts: Vec<String> = match (addr.len(), upper) {
        (4, true) => addr.iter().map(u8::to_string).collect(),
        (4, false) => addr.iter().map(|byte| format!("{byte:03}")).collect(),
        _ => addr.chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect()).collect(),
    };
    let between = match (addr.len(), upper) {
        (4, _) => ".",
        (_, true) => ":",
        (_, false) => "",
    };
    parts.join(between)
}

// The kernel's character classes are Latin-1's.

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | b' ' | 0xa0)
}

fn is_print(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | 0xa0..)
}

fn is_punct(byte: u8) -> bool {
    byte.is_ascii_punctuation() || matches!(byte, 0xa1..=0xbf | 0xd7 | 0xf7)
}

fn is_alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || (byte >= 0xc0 && !is_punct(byte))
}
