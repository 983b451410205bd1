//! Hashes of keys: a fast one of ours, and Jenkins' as the kernel uses it where its results can be seen.
//!
//! A hash map made with `BPF_F_ZERO_SEED` has the same bucket order in every kernel, which walks show; a Bloom filter's
//! false positives depend on its hash. These use Jenkins' lookup3 (public domain, <https://burtleburtle.net/bob/c/lookup3.c>).

/// How keys of a map are hashed.
#[derive(Clone, Copy)]
pub(super) enum Hasher {
    /// By multiplication, with a seed.
    Fast(u64),
    /// As the kernel does, with its seed.
    Jenkins(u32),
}

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;

impl Hasher {
    #[inline]
    pub(super) fn hash(self, key: &[u8]) -> u32 {
        match self {
            Hasher::Fast(seed) => fast(key, seed),
            Hasher::Jenkins(seed) => jenkins(key, seed),
        }
    }
}

#[inline]
fn fast(key: &[u8], seed: u64) -> u32 {
    let (chunks, rest) = key.as_chunks::<8>();
    let mut state = seed ^ (key.len() as u64).wrapping_mul(K1);
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), K0);
    }
    if let Some(word) = rest.first_chunk::<4>() {
        state ^= u64::from(u32::from_le_bytes(*word));
        state ^= rest[4..].iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)) << 32;
    } else {
        state ^= rest.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte));
    }
    (fold(state ^ K1, K0) >> 16) as u32
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Jenkins' `hashlittle`, and `hashword` for lengths in whole words, from the start values that the kernel uses. Words are little-endian
/// here: Linux on big-endian machines hashes whole words otherwise.
pub(super) fn jenkins(key: &[u8], seed: u32) -> u32 {
    if let (words, []) = key.as_chunks::<4>() { jenkins_words(words, seed) } else { jenkins_bytes(key, seed) }
}

const START: u32 = 0xdead_beef;

fn jenkins_words(words: &[[u8; 4]], seed: u32) -> u32 {
    let start = START.wrapping_add((words.len() as u32) << 2).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = words;
    while let [a, b, c, after @ ..] = rest
        && !after.is_empty()
    {
        add(&mut state, [*a, *b, *c]);
        mix(&mut state);
        rest = after;
    }
    if rest.is_empty() {
        return state[2];
    }
    for (part, word) in state.iter_mut().zip(rest) {
        *part = part.wrapping_add(u32::from_le_bytes(*word));
    }
    last(&mut state)
}

fn jenkins_bytes(key: &[u8], seed: u32) -> u32 {
    let start = START.wrapping_add(key.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = key;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        add(&mut state, core::array::from_fn(|at| core::array::from_fn(|byte| block[4 * at + byte])));
        mix(&mut state);
        rest = after;
    }
    if rest.is_empty() {
        return state[2];
    }
    let mut block = [0; 12];
    block[..rest.len()].copy_from_slice(rest);
    add(&mut state, core::array::from_fn(|at| core::array::from_fn(|byte| block[4 * at + byte])));
    last(&mut state)
}

fn add(state: &mut [u32; 3], words: [[u8; 4]; 3]) {
    for (part, word) in state.iter_mut().zip(words) {
        *part = part.wrapping_add(u32::from_le_bytes(word));
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: &mut u32, turn: u32| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(turn);
        *z = z.wrapping_add(*y);
    };
    step(a, b, c, 4);
    step(b, c, a, 6);
    step(c, a, b, 8);
    step(a, b, c, 16);
    step(b, c, a, 19);
    step(c, a, b, 4);
}

fn last([a, b, c]: &mut [u32; 3]) -> u32 {
    let step = |x: &mut u32, y: u32, turn: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
    *c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From lookup3.c's own driver: the text's hash with both seeds.
    #[test]
    fn jenkins_as_published() {
        let text = b"Four score and seven years ago";
        assert_eq!(jenkins_bytes(text, 0), 0x1777_0551);
        assert_eq!(jenkins_bytes(text, 1), 0xcd62_8161);
        assert_eq!(jenkins_bytes(b"", 0), START);
    }

    #[test]
    fn every_bit_of_a_key_counts() {
        for len in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 31] {
            let key = vec![0; len];
            for hasher in [Hasher::Fast(1), Hasher::Jenkins(0)] {
                for bit in 0..len * 8 {
                    let mut other = key.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    assert_ne!(hasher.hash(&key), hasher.hash(&other), "{len} bytes, bit {bit}");
                }
            }
        }
    }
}
