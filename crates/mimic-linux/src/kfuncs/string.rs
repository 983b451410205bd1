//! Strings: `bpf_strlen` and its relatives, which answer an index or an errno. Like those of string(3), but for the limit and for memory
//! that is not there. Documentation/bpf/kfuncs.rst.

use mimic_abi::{Arg, ArgType, Errno, HelperSpec, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

/// The longest string, in bytes (`XATTR_SIZE_MAX`).
const LEN_MAX: u32 = 1 << 16;
/// Where the kernel's half of the address space begins on x86-64: lower addresses answer `ERANGE`.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

const UNASKED: Support =
    Support::Partial("written to the kernel's description; not compared with a kernel yet");

const ONE: &[Arg] = &[arg("s", ArgType::Anything)];
const WITH_CHAR: &[Arg] = &[arg("s", ArgType::Anything), arg("c", ArgType::Anything)];
const TWO: &[Arg] = &[arg("s1", ArgType::Anything), arg("s2", ArgType::Anything)];

const fn row(name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(0, name).args(args).since(6, 17).support(UNASKED)
}

pub(super) const ROWS: &[Helper] = &[
    Helper::new(row("bpf_strcmp", TWO), strcmp),
    Helper::new(row("bpf_strcasecmp", TWO).since(6, 18), strcasecmp),
    Helper::new(row("bpf_strchr", WITH_CHAR), strchr),
    Helper::new(row("bpf_strchrnul", WITH_CHAR), strchrnul),
    Helper::new(
        row(
            "bpf_strnchr",
            &[arg("s", ArgType::Anything), arg("count", ArgType::Anything), arg("c", ArgType::Anything)],
        ),
        strnchr,
    ),
    Helper::new(row("bpf_strrchr", WITH_CHAR), strrchr),
    Helper::new(row("bpf_strlen", ONE), strlen),
    Helper::new(row("bpf_strnlen", &[arg("s", ArgType::Anything), arg("count", ArgType::Anything)]), strnlen),
    Helper::new(row("bpf_strspn", TWO), strspn),
    Helper::new(row("bpf_strcspn", TWO), strcspn),
    Helper::new(row("bpf_strstr", TWO), strstr),
    Helper::new(
        row(
            "bpf_strnstr",
            &[arg("s1", ArgType::Anything), arg("s2", ArgType::Anything), arg("len", ArgType::Anything)],
        ),
        strnstr,
    ),
];

/// A string as far as it can be read.
struct Text {
    bytes: Vec<u8>,
    end: End,
}

/// Why a string ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Nul,
    /// Nothing can be read behind it.
    Fault,
    /// As many bytes as were asked for.
    Count,
    /// As many as there may be.
    Limit,
}

impl Text {
    /// At most `count` bytes at `addr`.
    fn read(call: &Call<'_>, addr: u64, count: u64) -> Result<Text, Errno> {
        let view = call.view();
        if addr < KERNEL_HALF && view.load(addr, Size::B).is_err() {
            return Err(Errno::ERANGE);
        }
        let mut bytes = Vec::new();
        let end = loop {
            let at = bytes.len() as u64;
            if at == u64::from(LEN_MAX) {
                break End::Limit;
            }
            if at >= count {
                break End::Count;
            }
            match view.load(addr.wrapping_add(at), Size::B) {
                Ok(0) => break End::Nul,
                Ok(byte) => bytes.push(byte as u8),
                Err(_) => break End::Fault,
            }
        };
        Ok(Text { bytes, end })
    }

    fn whole(call: &Call<'_>, addr: u64) -> Result<Text, Errno> {
        Text::read(call, addr, u64::MAX)
    }

    /// What is answered when the end is reached: `nul` if it is a NUL or all that was asked for.
    fn at_end(&self, nul: Result<usize, Errno>) -> Result<usize, Errno> {
        match self.end {
            End::Nul | End::Count => nul,
            End::Fault => Err(Errno::EFAULT),
            End::Limit => Err(Errno::E2BIG),
        }
    }

    /// The index of a byte; the NUL at the end is one too.
    fn find(&self, byte: u8) -> Result<usize, Errno> {
        match self.bytes.iter().position(|known| *known == byte) {
            Some(at) => Ok(at),
            None if byte == 0 && self.end == End::Nul => Ok(self.bytes.len()),
            None => self.at_end(Err(Errno::ENOENT)),
        }
    }
}

/// What a kfunc that returns an `int` leaves in r0.
fn int(answer: Result<i32, Errno>) -> HelperResult {
    Ok(u64::from(answer.unwrap_or_else(|errno| -errno.0) as u32))
}

fn index(answer: Result<usize, Errno>) -> HelperResult {
    int(answer.map(|at| at as i32))
}

fn compare(call: &Call<'_>, a: u64, b: u64, fold: fn(&u8) -> u8) -> Result<i32, Errno> {
    let (a, b) = (Text::whole(call, a)?, Text::whole(call, b)?);
    let pairs = a.bytes.iter().map(fold).zip(b.bytes.iter().map(fold));
    if let Some((a, b)) = pairs.into_iter().find(|(a, b)| a != b) {
        return Ok(if a < b { -1 } else { 1 });
    }
    // One is the other's beginning: the first to end decides.
    let (shorter, longer, sign) = if a.bytes.len() <= b.bytes.len() { (&a, &b, -1) } else { (&b, &a, 1) };
    shorter.at_end(Ok(0))?;
    if longer.bytes.len() > shorter.bytes.len() {
        return Ok(sign);
    }
    longer.at_end(Ok(0)).map(|_| 0)
}

fn strcmp(call: &mut Call<'_>, a: u64, b: u64, _: u64, _: u64, _: u64) -> HelperResult {
    int(compare(call, a, b, |byte| *byte))
}

fn strcasecmp(call: &mut Call<'_>, a: u64, b: u64, _: u64, _: u64, _: u64) -> HelperResult {
    int(compare(call, a, b, lower))
}

/// As the kernel's Latin-1 tables have it.
fn lower(byte: &u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 32,
        byte => *byte,
    }
}

fn strchr(call: &mut Call<'_>, s: u64, c: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(Text::whole(call, s).and_then(|text| text.find(c as u8)))
}

fn strnchr(call: &mut Call<'_>, s: u64, count: u64, c: u64, _: u64, _: u64) -> HelperResult {
    index(Text::read(call, s, count).and_then(|text| text.find(c as u8)))
}

fn strchrnul(call: &mut Call<'_>, s: u64, c: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(Text::whole(call, s).and_then(|text| {
        let found = text.bytes.iter().position(|byte| *byte == c as u8);
        found.map_or_else(|| text.at_end(Ok(text.bytes.len())), Ok)
    }))
}

fn strrchr(call: &mut Call<'_>, s: u64, c: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(Text::whole(call, s).and_then(|text| {
        let last = match c as u8 {
            0 => Some(text.bytes.len()),
            c => text.bytes.iter().rposition(|byte| *byte == c),
        };
        text.at_end(last.ok_or(Errno::ENOENT))
    }))
}

fn strlen(call: &mut Call<'_>, s: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(Text::whole(call, s).and_then(|text| text.at_end(Ok(text.bytes.len()))))
}

fn strnlen(call: &mut Call<'_>, s: u64, count: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(Text::read(call, s, count).and_then(|text| text.at_end(Ok(text.bytes.len()))))
}

/// How many bytes at the start are in the set, or not in it.
fn span(call: &Call<'_>, s: u64, set: u64, inside: bool) -> Result<usize, Errno> {
    let (text, set) = (Text::whole(call, s)?, Text::whole(call, set)?);
    for (at, byte) in text.bytes.iter().enumerate() {
        let found = set.bytes.contains(byte);
        if !found {
            set.at_end(Ok(0))?;
        }
        if found != inside {
            return Ok(at);
        }
    }
    text.at_end(Ok(text.bytes.len()))
}

fn strspn(call: &mut Call<'_>, s: u64, accept: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(span(call, s, accept, true))
}

fn strcspn(call: &mut Call<'_>, s: u64, reject: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(span(call, s, reject, false))
}

fn strstr(call: &mut Call<'_>, s1: u64, s2: u64, _: u64, _: u64, _: u64) -> HelperResult {
    index(search(call, s1, s2, u64::from(LEN_MAX)))
}

fn strnstr(call: &mut Call<'_>, s1: u64, s2: u64, len: u64, _: u64, _: u64) -> HelperResult {
    index(search(call, s1, s2, len))
}

/// The index of `s2` in the first `len` bytes of `s1`.
fn search(call: &Call<'_>, s1: u64, s2: u64, len: u64) -> Result<usize, Errno> {
    let (text, part) = (Text::read(call, s1, len)?, Text::whole(call, s2)?);
    part.at_end(Ok(0))?;
    // As characters, so that the library's search can be used: it takes time proportional to the length, whatever the strings.
    let chars = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
    let haystack = chars(&text.bytes);
    match haystack.find(&chars(&part.bytes)) {
        Some(at) => Ok(haystack[..at].chars().count()),
        None => text.at_end(Err(Errno::ENOENT)),
    }
}
