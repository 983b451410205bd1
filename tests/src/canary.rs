//! Canaries: host memory around a VM's guest memory, and on the host's heap, that nothing in a guest may change.
#![allow(unsafe_code, reason = "maps memory at addresses of its own choice")]

use std::ops::Range;

use mimic_vm::Memory;

/// Bytes of a canary: more than an instruction's offset reaches.
const LEN: usize = 1 << 16;

/// The canaries of one VM.
#[derive(Debug)]
pub struct Canaries {
    neighbours: Vec<Neighbour>,
    heap: Vec<Box<[u64]>>,
}

impl Canaries {
    /// Puts canaries right before and right after guest memory, where nobody else is, and on the heap.
    pub fn around(memory: &Memory) -> Canaries {
        let Range { start, end } = memory.host_range();
        let places = [start.checked_sub(LEN), Some(end)];
        let neighbours = places.into_iter().flatten().filter_map(Neighbour::at).collect();
        let heap = (0..2).map(|seed| (0..LEN / 8).map(|at| song(seed, at)).collect()).collect();
        Canaries { neighbours, heap }
    }

    /// How many stand right beside guest memory: two, if nobody was there.
    pub fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    /// Whether all are as they were. The error is the first place that is not.
    pub fn check(&self) -> Result<(), String> {
        let neighbours = self.neighbours.iter().map(|neighbour| (neighbour.seed(), neighbour.words()));
        let heap = (0..).zip(self.heap.iter().map(|words| &**words));
        for (seed, words) in neighbours.chain(heap) {
            // Nothing may be taken for granted of what it holds.
            let changed = (0..).zip(std::hint::black_box(words)).find(|(at, word)| **word != song(seed, *at));
            if let Some((at, word)) = changed {
                let place = words.as_ptr().wrapping_add(at).addr();
                return Err(format!("host memory at {place:#x} was changed to {word:#x}"));
            }
        }
        Ok(())
    }
}

/// A mapping of the host's, filled.
#[derive(Debug)]
struct Neighbour(*mut u64);

// SAFETY: it owns its mapping, which is only read after it was filled.
unsafe impl Send for Neighbour {}
// SAFETY: as above.
unsafe impl Sync for Neighbour {}

impl Neighbour {
    /// At this address, a multiple of the host's pages; none if somebody is there already.
    fn at(addr: usize) -> Option<Neighbour> {
        let wanted = std::ptr::without_provenance_mut(addr);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the address is a wish: no mapping that exists is replaced.
        let got =
            unsafe { libc::mmap(wanted, LEN, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        if got == libc::MAP_FAILED {
            return None;
        }
        let neighbour = Neighbour(got.cast());
        if got.addr() != addr {
            return None;
        }
        for at in 0..LEN / 8 {
            // SAFETY: within the mapping, which is ours alone.
            unsafe { neighbour.0.add(at).write(song(neighbour.seed(), at)) };
        }
        Some(neighbour)
    }

    fn seed(&self) -> usize {
        self.0.addr()
    }

    fn words(&self) -> &[u64] {
        // SAFETY: mapped and filled for as long as `self` lives, and written by nobody, which is what is looked at.
        unsafe { std::slice::from_raw_parts(self.0, LEN / 8) }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length.
        unsafe { libc::munmap(self.0.cast(), LEN) };
    }
}

/// What a canary holds at a place: no two places the same.
fn song(seed: usize, at: usize) -> u64 {
    ((seed ^ at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mimic_vm::MemoryOptions;

    #[test]
    fn a_stray_write_is_seen() {
        let memory = Memory::new(MemoryOptions::default()).unwrap();
        let canaries = Canaries::around(&memory);
        canaries.check().unwrap();
        for neighbour in &canaries.neighbours {
            // SAFETY: within the mapping.
            unsafe { neighbour.0.add(LEN / 8 - 1).write(0) };
            assert!(canaries.check().is_err());
            // SAFETY: within the mapping.
            unsafe { neighbour.0.add(LEN / 8 - 1).write(song(neighbour.seed(), LEN / 8 - 1)) };
            canaries.check().unwrap();
        }
    }
}
