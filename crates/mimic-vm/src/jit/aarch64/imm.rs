//! Which constants instructions can hold.

/// Whether an instruction of arithmetic can hold it: 12 bits, or 12 bits moved up by 12.
pub(super) fn is_arith(imm: u64) -> bool {
    imm < 1 << 12 || imm < 1 << 24 && imm & 0xfff == 0
}

/// A constant of instructions of logic: a run of ones in an element of 2 to 64 bits, rotated, and repeated in all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bitmask(u32);

impl Bitmask {
    /// The encoding of a value, if it has one. Of a value of 32 bits, the upper half is nobody's business.
    pub(super) fn new(wide: bool, value: u64) -> Option<Bitmask> {
        let value = if wide { value } else { value << 32 | value & 0xffff_ffff };
        let len = element_len(value);
        let element = value & (u64::MAX >> (64 - len));
        let ones = element.count_ones();
        if ones == 0 || ones == len {
            return None;
        }
        // How far the run is from the element's low end: it may go around.
        let start = match element & 1 {
            0 => element.trailing_zeros(),
            _ => (64 - (!element & (u64::MAX >> (64 - len))).leading_zeros()) % len,
        };
        let run = rotate_right(element, len, start);
        if run != u64::MAX >> (64 - ones) {
            return None;
        }
        let immr = (len - start) % len;
        let imms = !(2 * len - 1) & 0x3f | (ones - 1);
        Some(Bitmask(u32::from(len == 64) << 12 | immr << 6 | imms))
    }

    /// `N`, `immr` and `imms`, 13 bits.
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// The smallest length of which a value is a repetition.
fn element_len(value: u64) -> u32 {
    let mut len = 64;
    while len > 2 {
        let half = len / 2;
        if rotate_right(value & (u64::MAX >> (64 - len)), len, half) != value & (u64::MAX >> (64 - len)) {
            break;
        }
        len = half;
    }
    len
}

/// Rotates the low `len` bits; there are no others.
fn rotate_right(value: u64, len: u32, by: u32) -> u64 {
    if by == 0 {
        return value;
    }
    (value >> by | value << (len - by)) & (u64::MAX >> (64 - len))
}

#[cfg(test)]
mod tests {
    use super::{Bitmask, rotate_right};

    /// What the manual's `DecodeBitMasks` makes of an encoding.
    fn decode(bits: u32) -> u64 {
        let (n, immr, imms) = (bits >> 12, bits >> 6 & 0x3f, bits & 0x3f);
        let len = 31 - (n << 6 | !imms & 0x3f).leading_zeros();
        let (element, levels) = (1u32 << len, (1 << len) - 1);
        let ones = (imms & levels) + 1;
        let one = rotate_right(u64::MAX >> (64 - ones), element, immr & levels);
        (0..64 / element).fold(0, |all, at| all | one << (at * element))
    }

    #[test]
    fn every_pattern_has_its_encoding() {
        let mut count = 0;
        for len in [2u32, 4, 8, 16, 32, 64] {
            for (ones, by) in (1..len).flat_map(|ones| (0..len).map(move |by| (ones, by))) {
                let element = rotate_right(u64::MAX >> (64 - ones), len, by);
                let value = (0..64 / len).fold(0, |all, at| all | element << (at * len));
                let mask = Bitmask::new(true, value).unwrap_or_else(|| panic!("{value:#x}"));
                assert_eq!(decode(mask.bits()), value, "{value:#x}");
                count += 1;
                if len <= 32 {
                    assert_eq!(Bitmask::new(false, value & 0xffff_ffff), Some(mask), "{value:#x}");
                }
            }
        }
        // Some are repetitions of shorter ones' elements only if the run is: so all are different.
        assert_eq!(count, 5334);
    }

    #[test]
    fn others_have_none() {
        for value in [0, u64::MAX, 5, 0x1234, 0xff00_ff01, 0x8000_0000_0000_0005, 0xffff_0000_ffff_0001] {
            assert_eq!(Bitmask::new(true, value), None, "{value:#x}");
        }
        assert_eq!(Bitmask::new(false, 0xffff_ffff), None);
        assert_eq!(Bitmask::new(false, 0), None);
    }
}
