//! What the kernel's selftests say about their programs: tags on functions in an object's BTF, as `progs/bpf_misc.h` writes them.

use mimic::abi::btf::{Btf, KindCode};

/// The tags of one program that running it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// What it returns for 64 zero bytes, or for nothing if it takes no packet.
    pub(crate) retval: Option<u32>,
    /// Flags that it is loaded with.
    pub(crate) prog_flags: u32,
}

/// Flags of BPF_PROG_LOAD by name; other values come as numbers.
const FLAGS: &[(&str, u32)] = &[
    ("BPF_F_STRICT_ALIGNMENT", 1 << 0),
    ("BPF_F_ANY_ALIGNMENT", 1 << 1),
    ("BPF_F_TEST_RND_HI32", 1 << 2),
    ("BPF_F_TEST_STATE_FREQ", 1 << 3),
    ("BPF_F_SLEEPABLE", 1 << 4),
    ("BPF_F_XDP_HAS_FRAGS", 1 << 5),
    ("BPF_F_TEST_REG_INVARIANTS", 1 << 7),
];

impl Annotations {
    /// Those of the function of this name.
    pub(crate) fn of(btf: &Btf, name: &str) -> Annotations {
        let mut found = Annotations::default();
        if let Some(function) = btf.find(name, KindCode::Func) {
            btf.decl_tags(function.id).for_each(|(tag, _)| found.add(tag));
        }
        found
    }

    fn add(&mut self, tag: &str) {
        let tag = tag.strip_prefix("comment:").unwrap_or(tag);
        if let Some(value) = tag.strip_prefix("test_retval=") {
            self.retval = number(value).map(|value| value as u32);
        } else if let Some(flag) = tag.strip_prefix("test_prog_flags=") {
            // A leading ! takes a flag back that a loader adds; nobody adds any here.
            let named = FLAGS.iter().find(|(name, _)| *name == flag).map(|(_, bits)| *bits);
            self.prog_flags |= named.or(number(flag).map(|bits| bits as u32)).unwrap_or(0);
        }
    }
}

/// A number as C has them, or a name that the selftests' loader knows; other words are none.
fn number(text: &str) -> Option<i64> {
    match text {
        "INT_MIN" => return Some(i32::MIN.into()),
        "TEST_DATA_LEN" => return Some(64),
        _ => {}
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let number = match digits.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    number.ok().map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read() {
        let mut found = Annotations::default();
        for tag in ["comment:test_retval=-1", "comment:test_prog_flags=BPF_F_ANY_ALIGNMENT", "comment:else"] {
            found.add(tag);
        }
        found.add("comment:test_prog_flags=0x8");
        assert_eq!(found, Annotations { retval: Some(u32::MAX), prog_flags: 10 });
    }
}
