//! A small seeded generator of random numbers, the same on every host.

/// SplitMix64 (Steele, Lea, Flood 2014): every seed is as good as another, so that seeds may be counted up.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One of the numbers that programs treat specially (ends of ranges, single bits, masks), or any.
    pub fn value(&mut self) -> u64 {
        let bit = 1u64 << self.below(64);
        match self.below(10) {
            0 => 0,
            1 => self.below(16) as u64,
            2 => (self.below(16) as u64).wrapping_neg(),
            3 => bit,
            4 => bit.wrapping_sub(1),
            5 => bit.wrapping_neg(),
            6 => {
                self.pick(&[0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])
            }
            7 => self.pick(&[i64::MIN as u64, i64::MAX as u64, u64::MAX, i32::MIN as u64]),
            8 => u64::from(self.bits() as u32),
            _ => self.bits(),
        }
    }

    /// As `value`, for an immediate.
    pub fn imm(&mut self) -> i32 {
        self.value() as i32
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits() as u8).collect()
    }
}
