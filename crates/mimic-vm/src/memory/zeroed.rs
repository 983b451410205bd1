//! Large arrays of atomics in host memory that cost nothing until they are touched.

use core::sync::atomic::{AtomicU32, AtomicU64};

macro_rules! zeroed {
    ($(#[$doc:meta])* $name:ident, $atomic:ty, $word:ty) => {
        $(#[$doc])*
        pub fn $name(len: usize) -> Box<[$atomic]> {
            if align_of::<$atomic>() != align_of::<$word>() {
                return (0..len).map(|_| <$atomic>::new(0)).collect();
            }
            // Zeroed by the allocator: large ones are fresh pages.
            let words = Box::into_raw(vec![0 as $word; len].into_boxed_slice());
            // SAFETY: the box was just given up; an atomic has the size and bit validity of its integer, and here its alignment too, so that
            // the allocation is one of such a slice.
            unsafe { Box::from_raw(words as *mut [$atomic]) }
        }
    };
}

zeroed! {
    /// `len` words of 32 bits, all 0.
    zeroed32, AtomicU32, u32
}

zeroed! {
    /// `len` words of 64 bits, all 0.
    zeroed64, AtomicU64, u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn words_are_zero_and_writable() {
        let (words, longs) = (zeroed32(1000), zeroed64(1000));
        assert!(words.iter().all(|word| word.fetch_add(1, Ordering::Relaxed) == 0));
        assert!(longs.iter().all(|word| word.fetch_add(1, Ordering::Relaxed) == 0));
        assert_eq!((words.len(), zeroed64(0).len()), (1000, 0));
    }
}
