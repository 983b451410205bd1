//! Guest memory: a cage of host address space, and the table of the objects in it.
//!
//! **Guest bytes are touched only in this folder, only through atomics and volatile accesses; there is never a reference to
//! shared guest bytes.** Programs may race on guest memory as they may in the kernel; the host has no undefined behaviour from it.
#![allow(unsafe_code, reason = "the one place that touches guest bytes")]

mod cage;
mod pages;
mod region;
mod view;
mod zeroed;

pub use cage::PAGE_LEN;
pub(crate) use region::RegionInfo;
pub use region::{Bounds, Layout, Part, Region};
pub use view::{AccessError, Place, View};
pub(crate) use view::{Recent, Window, size_index};
pub use zeroed::{zeroed32, zeroed64};

use cage::Cage;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mimic_abi::{ByteOrder, Size};
use pages::Pages;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Fills memory that was given out anew, with [`Hygiene::Poison`].
pub const POISON: u8 = 0xa5;

/// From this length on, memory that is no longer used goes back to the host instead of being filled with zeros for the next, in bytes.
const RENEW_LEN: u32 = 256 << 10;

/// What a program may do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// What happens to memory that is used again: stack frames, deleted map elements, buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Hygiene {
    /// Nothing, as in the kernel.
    #[default]
    Off,
    /// It is zeroed: nothing of one program's data is seen by the next.
    Zero,
    /// It is filled with a pattern, and the first read of a byte that was not written since is a fault. Slower; interpreter only.
    Poison,
}

/// Settings of a memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// The byte order that programs see.
    pub order: ByteOrder,
    /// See [`Hygiene`].
    pub hygiene: Hygiene,
    /// The most bytes that all regions together may take.
    pub bytes_max: u64,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions { order: ByteOrder::Little, hygiene: Hygiene::Off, bytes_max: 3 << 30 }
    }
}

/// Why a region could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The regions together would exceed the memory's limit, or the guest's address space.
    Full {
        /// What was to be allocated.
        name: String,
        /// Bytes asked for.
        len: u64,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The host refused.
    Host(String),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::Full { name, len, bytes_max } => write!(
                f,
                "no room for {name} ({len} bytes): guest memory is limited to {bytes_max} bytes (MemoryOptions::bytes_max) and 4 GiB of addresses"
            ),
            MemoryError::Host(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for MemoryError {}

/// All memory of a VM. Shared; see [`View`] for a process's way to it.
pub struct Memory {
    cage: Cage,
    options: MemoryOptions,
    table: RwLock<Arc<RegionTable>>,
    /// Goes up whenever `table` changes, so that a view knows that it is stale.
    version: AtomicU64,
    pages: Mutex<Pages>,
}

impl Memory {
    /// Reserves the address space. Costs no memory until regions are allocated.
    pub fn new(options: MemoryOptions) -> Result<Arc<Memory>, MemoryError> {
        let cage = Cage::reserve().map_err(MemoryError::Host)?;
        let pages = Pages::new(cage.len());
        Ok(Arc::new(Memory {
            cage,
            options,
            table: RwLock::new(Arc::new(RegionTable { regions: Vec::new() })),
            version: AtomicU64::new(0),
            pages: Mutex::new(pages),
        }))
    }

    /// What of the host's address space is the guest's, guards included: for those who want to see that nothing outside changes.
    pub fn host_range(&self) -> core::ops::Range<usize> {
        self.cage.host_range()
    }

    /// The host's address of guest address 0.
    #[inline]
    pub(crate) fn host_addr(&self) -> usize {
        self.cage.host_addr()
    }

    /// The byte order that programs see.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        self.options.order
    }

    /// What happens to memory that is used again.
    #[inline]
    pub fn hygiene(&self) -> Hygiene {
        self.options.hygiene
    }

    /// Makes a region of `len` zero bytes. It begins on a page, and inaccessible addresses follow it.
    pub fn allocate(self: &Arc<Memory>, name: &str, len: u32, layout: Layout) -> Result<Region, MemoryError> {
        let (base, capacity) = self.take_pages(name, len)?;
        Ok(self.insert(name, base, capacity, len, layout, false))
    }

    /// Makes a region whose bytes are a file's (a memfd shared with another process), from `file_off` on.
    #[cfg(all(unix, target_pointer_width = "64"))]
    pub fn map_shared(
        self: &Arc<Memory>,
        name: &str,
        len: u32,
        layout: Layout,
        file: std::os::fd::BorrowedFd<'_>,
        file_off: u64,
    ) -> Result<Region, MemoryError> {
        let (base, capacity) = self.take_pages(name, len)?;
        if let Err(error) = self.cage.map_file(base, capacity, file, file_off) {
            self.lock_pages().give_back(base, capacity);
            return Err(MemoryError::Host(error));
        }
        Ok(self.insert(name, base, capacity, len, layout, true))
    }

    /// The regions as they are now.
    pub(crate) fn snapshot(&self) -> (u64, Arc<RegionTable>) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        (self.version.load(Ordering::Acquire), table.clone())
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn take_pages(&self, name: &str, len: u32) -> Result<(u32, u32), MemoryError> {
        let full = || MemoryError::Full {
            name: name.into(),
            len: u64::from(len),
            bytes_max: self.options.bytes_max,
        };
        let capacity = u64::from(len.max(1)).next_multiple_of(u64::from(PAGE_LEN));
        let mut pages = self.lock_pages();
        if pages.used() + capacity > self.options.bytes_max {
            return Err(full());
        }
        let (base, reused) = pages.take(capacity).ok_or_else(full)?;
        let capacity = capacity as u32;
        self.cage.commit(base, capacity).map_err(MemoryError::Host)?;
        if reused && !(capacity >= RENEW_LEN && self.cage.renew(base, capacity).is_ok()) {
            self.fill(base, capacity, 0);
        }
        Ok((base, capacity))
    }

    fn insert(
        self: &Arc<Memory>,
        name: &str,
        base: u32,
        capacity: u32,
        len: u32,
        layout: Layout,
        shared: bool,
    ) -> Region {
        let shadow = self.options.hygiene == Hygiene::Poison;
        let mut info = RegionInfo::new(name.into(), base, capacity, len, layout, shadow);
        info.shared = shared;
        let info = Arc::new(info);
        self.change(|regions| {
            let at = regions.partition_point(|other| other.base < base);
            regions.insert(at, info.clone());
        });
        Region::new(self.clone(), info)
    }

    pub(crate) fn release(&self, info: &Arc<RegionInfo>) {
        self.change(|regions| regions.retain(|other| !Arc::ptr_eq(other, info)));
        if info.shared || info.capacity >= RENEW_LEN {
            let renewed = self.cage.renew(info.base, info.capacity).is_ok();
            if info.shared && !renewed {
                // The addresses still lead to the file: nobody may get them.
                return;
            }
        }
        self.lock_pages().give_back(info.base, info.capacity);
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<RegionInfo>>)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut regions = table.regions.clone();
        edit(&mut regions);
        *table = Arc::new(RegionTable { regions });
        self.version.fetch_add(1, Ordering::Release);
    }

    fn lock_pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Raw accesses. **The caller has checked that the bytes belong to a region**, now or earlier: pages once committed stay so.
impl Memory {
    #[inline(always)]
    pub(crate) fn load_at(&self, addr: u32, size: Size) -> u64 {
        // SAFETY: only called for bytes of a region, and regions are committed.
        let raw = unsafe {
            match size {
                Size::B => return self.cage.load::<1>(addr),
                Size::H => self.cage.load::<2>(addr),
                Size::W => self.cage.load::<4>(addr),
                Size::Dw => self.cage.load::<8>(addr),
            }
        };
        self.swap(raw, size)
    }

    #[inline(always)]
    pub(crate) fn store_at(&self, addr: u32, size: Size, value: u64) {
        let raw = self.swap(value, size);
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe {
            match size {
                Size::B => self.cage.store::<1>(addr, value),
                Size::H => self.cage.store::<2>(addr, raw),
                Size::W => self.cage.store::<4>(addr, raw),
                Size::Dw => self.cage.store::<8>(addr, raw),
            }
        }
    }

    /// `load_at` for a caller that knows whether the guest's byte order differs.
    #[inline(always)]
    pub(crate) fn load_raw<const SWAP: bool>(&self, addr: u32, size: Size) -> u64 {
        if SWAP {
            return self.load_at(addr, size);
        }
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe {
            match size {
                Size::B => self.cage.load::<1>(addr),
                Size::H => self.cage.load::<2>(addr),
                Size::W => self.cage.load::<4>(addr),
                Size::Dw => self.cage.load::<8>(addr),
            }
        }
    }

    /// `store_at` for a caller that knows whether the guest's byte order differs.
    #[inline(always)]
    pub(crate) fn store_raw<const SWAP: bool>(&self, addr: u32, size: Size, value: u64) {
        if SWAP {
            return self.store_at(addr, size, value);
        }
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe {
            match size {
                Size::B => self.cage.store::<1>(addr, value),
                Size::H => self.cage.store::<2>(addr, value),
                Size::W => self.cage.store::<4>(addr, value),
                Size::Dw => self.cage.store::<8>(addr, value),
            }
        }
    }

    /// Replaces the aligned word at `addr` by what `change` makes of it, in one step; answers the old value. `None` leaves it.
    pub(crate) fn atomic_update(&self, addr: u32, size: Size, change: impl Fn(u64) -> Option<u64>) -> u64 {
        if size == Size::W {
            let swap = |word: u32| self.swap(u64::from(word), size) as u32;
            let next = |old: u32| change(u64::from(swap(old))).map(|new| swap(new as u32));
            let old = self.atomic32(addr).fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
            u64::from(swap(old.unwrap_or_else(|old| old)))
        } else {
            let next = |old: u64| change(self.swap(old, size)).map(|new| self.swap(new, size));
            let old = self.atomic64(addr).fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
            self.swap(old.unwrap_or_else(|old| old), size)
        }
    }

    /// An aligned load with acquire ordering.
    pub(crate) fn load_acquire(&self, addr: u32, size: Size) -> u64 {
        let value = self.load_at(addr, size);
        core::sync::atomic::fence(Ordering::Acquire);
        value
    }

    /// An aligned store with release ordering.
    pub(crate) fn store_release(&self, addr: u32, size: Size, value: u64) {
        core::sync::atomic::fence(Ordering::Release);
        self.store_at(addr, size, value);
    }

    /// A number of `size` between guest and host byte order.
    #[inline(always)]
    pub(crate) fn swap(&self, value: u64, size: Size) -> u64 {
        if self.options.order == ByteOrder::NATIVE {
            return value;
        }
        match size {
            Size::B => value,
            Size::H => u64::from((value as u16).swap_bytes()),
            Size::W => u64::from((value as u32).swap_bytes()),
            Size::Dw => value.swap_bytes(),
        }
    }

    /// `N` bytes: a multiple of 8, and at most 4 more.
    #[inline(always)]
    pub(crate) fn array_at<const N: usize>(&self, addr: u32) -> [u8; N] {
        let mut bytes = [0; N];
        let mut at = addr;
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            // SAFETY: only called for bytes of a region, and regions are committed.
            *word = unsafe { self.cage.load::<8>(at) }.to_ne_bytes();
            at += 8;
        }
        match rest.first_chunk_mut::<4>() {
            // SAFETY: as above.
            Some(word) if N % 8 == 4 => *word = unsafe { self.cage.load::<4>(at) as u32 }.to_ne_bytes(),
            _ => self.copy_out(at, rest),
        }
        bytes
    }

    #[inline]
    pub(crate) fn copy_out(&self, addr: u32, to: &mut [u8]) {
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe { self.cage.copy_out(addr, to) }
    }

    #[inline]
    pub(crate) fn copy_in(&self, addr: u32, from: &[u8]) {
        // Most keys and values of maps.
        if let Ok(word) = <[u8; 8]>::try_from(from)
            && addr.is_multiple_of(8)
        {
            // SAFETY: only called for bytes of a region, and regions are committed.
            return unsafe { self.cage.store::<8>(addr, u64::from_ne_bytes(word)) };
        }
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe { self.cage.copy_in(addr, from) }
    }

    pub(crate) fn fill(&self, addr: u32, len: u32, byte: u8) {
        // SAFETY: only called for bytes of a region, and regions are committed.
        unsafe { self.cage.fill(addr, len, byte) }
    }

    #[inline]
    pub(crate) fn equals(&self, addr: u32, other: &[u8]) -> bool {
        let (words, tail) = other.as_chunks::<8>();
        let mut at = addr;
        for word in words {
            // SAFETY: only called for bytes of a region, and regions are committed.
            if unsafe { self.cage.load::<8>(at) } != u64::from_ne_bytes(*word) {
                return false;
            }
            at += 8;
        }
        tail.iter().zip(at..).all(|(byte, at)| {
            // SAFETY: as above.
            unsafe { self.cage.load::<1>(at) as u8 == *byte }
        })
    }

    #[inline(always)]
    pub(crate) fn equals_array<const N: usize>(&self, addr: u32, other: &[u8; N]) -> bool {
        let (words, rest) = other.as_chunks::<8>();
        let same = |(word, at): (&[u8; 8], u32)| {
            // SAFETY: only called for bytes of a region, and regions are committed.
            unsafe { self.cage.load::<8>(at) == u64::from_ne_bytes(*word) }
        };
        let whole = words.iter().zip((addr..).step_by(8)).all(same);
        let at = addr + words.len() as u32 * 8;
        whole
            && match rest.first_chunk::<4>() {
                // SAFETY: as above.
                Some(word) if rest.len() == 4 => unsafe {
                    self.cage.load::<4>(at) as u32 == u32::from_ne_bytes(*word)
                },
                _ => rest.is_empty() || self.equals(at, rest),
            }
    }

    #[inline]
    pub(crate) fn atomic32(&self, addr: u32) -> &AtomicU32 {
        assert!(addr.is_multiple_of(4), "a 32-bit atomic at {addr:#x}");
        // SAFETY: aligned, and only called for bytes of a region, which are committed.
        unsafe { self.cage.atomic32(addr) }
    }

    #[inline]
    pub(crate) fn atomic64(&self, addr: u32) -> &AtomicU64 {
        assert!(addr.is_multiple_of(8), "a 64-bit atomic at {addr:#x}");
        // SAFETY: aligned, and only called for bytes of a region, which are committed.
        unsafe { self.cage.atomic64(addr) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.snapshot().1.regions.iter().map(|region| (&region.name, region.base)))
            .finish()
    }
}

/// All regions at one moment, by rising address.
pub(crate) struct RegionTable {
    pub(crate) regions: Vec<Arc<RegionInfo>>,
}

impl RegionTable {
    /// The region that begins at or before `addr`.
    #[inline]
    pub(crate) fn at_or_before(&self, addr: u64) -> Option<&Arc<RegionInfo>> {
        self.around(addr).0
    }

    /// The regions that begin at or before `addr`, and after it.
    #[inline]
    pub(crate) fn around(&self, addr: u64) -> (Option<&Arc<RegionInfo>>, Option<&Arc<RegionInfo>>) {
        let at = self.regions.partition_point(|region| u64::from(region.base) <= addr);
        (at.checked_sub(1).and_then(|before| self.regions.get(before)), self.regions.get(at))
    }
}
