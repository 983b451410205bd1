//! Hashes of keys: a fast one of ours, and Jenkins' as the kernel uses it where its results can be seen.
//!
//! A hash map made with `BPF_F_ZERO_SEED` has the same bucket order in every kernel, which walks show; a Bloom filter's
//! false positives depend on its hash. These use Jenkins' lookup3 (public domain, <https://burtleburtle.net/bob/c/lookup3.c>).

/// How keys of a map are hashed.
#[derive(Clone, Copy)]
pub(super) enum Hasher {
    /// By multiplication, with secrets drawn from a seed.
    Fast([u64; 2]),
    /// As the kernel does, with its seed.
    Jenkins(u32),
}

impl Hasher {
    /// The fast one. Who does not know the seed cannot choose keys that collide more often than others.
    pub(super) fn fast(seed: u64) -> Hasher {
        // Odd, so that no bit of a key is lost in the low half of a product.
        Hasher::Fast([scrambled(seed), scrambled(seed.wrapping_add(1)) | 1])
    }

    #[inline(always)]
    pub(super) fn hash(self, key: &[u8]) -> u32 {
        match self {
            Hasher::Fast(secrets) => fast(key, secrets),
            Hasher::Jenkins(seed) => jenkins(key, seed),
        }
    }
}

/// An odd number without a pattern: the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Each word is multiplied into the state; both halves of the product count.
#[inline(always)]
fn fast(key: &[u8], [first, factor]: [u64; 2]) -> u32 {
    let (chunks, rest) = key.as_chunks::<8>();
    let mut state = first;
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), factor);
    }
    // All keys of a map have the same length, so that what is read twice, or not at all, does not make keys alike.
    let rest = match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
        }
        _ if rest.is_empty() => return finish(state),
        _ => rest.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    };
    finish(fold(state ^ rest, factor))
}

#[inline]
fn finish(state: u64) -> u32 {
    // What one product leaves of a key's regularity, such as that of numbers in a row.
    (state.wrapping_mul(MIX) >> 32) as u32
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A number whose bits depend on all bits of `word`, one to one (splitmix64).
fn scrambled(word: u64) -> u64 {
    let mut word = word.wrapping_add(MIX);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Jenkins' `hashlittle`, and `hashword` for lengths in whole words, from the start values that the kernel uses. Words are little-endian
/// here: Linux on big-endian machines hashes whole words otherwise.
#[inline(never)]
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
            for hasher in [Hasher::fast(1), Hasher::Jenkins(0)] {
                for bit in 0..len * 8 {
                    let mut other = key.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    assert_ne!(hasher.hash(&key), hasher.hash(&other), "{len} bytes, bit {bit}");
                }
            }
        }
    }

    type Pattern = fn(u64) -> Vec<u8>;

    /// The most keys that share one of 2^16 buckets, for keys that differ as those of real maps do. Chance alone gives 8 or 9; what this hash
    /// makes of regular keys may be a little more, as Jenkins' may.
    #[test]
    fn regular_keys_spread() {
        const KEYS: u64 = 1 << 16;
        let patterns: [(&str, Pattern); 8] = [
            ("numbers", |at| (at as u32).to_le_bytes().into()),
            ("big-endian numbers", |at| (at as u32).to_be_bytes().into()),
            ("pages", |at| (at << 12).to_le_bytes().into()),
            ("high halves", |at| (at << 48 | 7).to_le_bytes().into()),
            ("two bytes of eight", |at| ((at & 0xff) << 56 | at >> 8).to_le_bytes().into()),
            ("flows", |at| flow(at, at ^ 0x5a5a)),
            ("flows of one peer", |at| flow(at, 443)),
            ("long", |at| [vec![b'x'; 33], at.to_be_bytes().to_vec()].concat()),
        ];
        for (name, key) in patterns {
            for seed in 0..4 {
                for hasher in [Hasher::fast(seed), Hasher::Jenkins(seed as u32)] {
                    let mut buckets = vec![0u8; KEYS as usize];
                    (0..KEYS).for_each(|at| buckets[hasher.hash(&key(at)) as usize % KEYS as usize] += 1);
                    let most = buckets.iter().max().copied().unwrap_or(0);
                    assert!(most <= 14, "{name}, seed {seed}: {most} keys share a bucket");
                }
            }
        }
    }

    /// Two addresses, two ports, a protocol: 16 bytes.
    fn flow(source: u64, dest: u64) -> Vec<u8> {
        let mut key = vec![10, 0, (source >> 8) as u8, source as u8, 192, 168, 0, 1];
        key.extend((source as u16).to_be_bytes());
        key.extend((dest as u16).to_be_bytes());
        key.extend([6, 0, 0, 0]);
        key
    }
}
