//! `Cage`: one range of host address space that holds all guest memory, and the only raw accesses to it.
//!
//! A guest address is an offset into the range. Pages are given out once and stay accessible until the cage goes: an address
//! that was accessible once can be read for as long as the cage lives, so a stale bounds check can give wrong bytes but never
//! touch host memory or kill the process. Bounds of objects are not known here; see `region`.
//!
//! On 64-bit Unix the range is a 4 GiB reservation with guards around it, elsewhere a plain allocation of
//! `Cage::FALLBACK_LEN` bytes.

#[cfg(mimic_tsan)]
use core::sync::atomic::Ordering;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// The granularity of access rights and of allocation, in bytes. The host's may be larger; the cage asks for multiples of both.
pub const PAGE_LEN: u32 = 4096;

/// The range. See the module.
pub(crate) struct Cage {
    base: *mut u8,
    len: u64,
    backing: os::Backing,
}

// SAFETY: `base` is only used for accesses that are atomic or volatile (see `load`, `store`, `copy_in`, `copy_out`), on memory that
// lives as long as the cage.
unsafe impl Send for Cage {}
// SAFETY: as above.
unsafe impl Sync for Cage {}

impl Cage {
    /// Bytes of guest memory where no large reservation can be had.
    #[cfg(not(all(unix, target_pointer_width = "64")))]
    pub(crate) const FALLBACK_LEN: u64 = if cfg!(target_pointer_width = "32") { 64 << 20 } else { 256 << 20 };

    /// Reserves the range. Nothing in it is accessible yet.
    pub(crate) fn reserve() -> Result<Cage, String> {
        let (base, len, backing) = os::reserve()?;
        Ok(Cage { base, len, backing })
    }

    /// Where the range is.
    #[inline]
    pub(crate) fn host_addr(&self) -> usize {
        self.base.expose_provenance()
    }

    /// What of the host's address space is the cage's, with its guards.
    pub(crate) fn host_range(&self) -> core::ops::Range<usize> {
        let start = self.host_addr() - os::GUARD_LEN;
        start..self.host_addr() + self.len as usize + os::GUARD_LEN
    }

    /// Bytes in the range; all guest addresses are below.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Makes `[off, off + len)` accessible, for good. Both are multiples of the page length; fresh pages are zero.
    pub(crate) fn commit(&self, off: u32, len: u32) -> Result<(), String> {
        assert!(u64::from(off) + u64::from(len) <= self.len, "commit beyond the cage");
        self.backing.commit(self.base, off, len)
    }

    /// Puts fresh zero pages in place of `[off, off + len)`, which was committed: what was there goes back to the host. Both are multiples of
    /// the page length.
    pub(crate) fn renew(&self, off: u32, len: u32) -> Result<(), String> {
        assert!(u64::from(off) + u64::from(len) <= self.len, "renewal beyond the cage");
        let whole = self.backing.renew(self.base, off, len)?;
        // SAFETY: committed, the caller says; what lies outside whole host pages still is what it was.
        unsafe {
            self.fill(off, whole.start - off, 0);
            self.fill(whole.end, off + len - whole.end, 0);
        }
        Ok(())
    }

    /// Maps `len` bytes of a file at `file_off` over `[off, off + len)`, shared. Only where [`os`] has a way to.
    #[cfg(all(unix, target_pointer_width = "64"))]
    pub(crate) fn map_file(
        &self,
        off: u32,
        len: u32,
        file: std::os::fd::BorrowedFd<'_>,
        file_off: u64,
    ) -> Result<(), String> {
        assert!(u64::from(off) + u64::from(len) <= self.len, "mapping beyond the cage");
        self.backing.map_file(self.base, off, len, file, file_off)
    }

    fn ptr(&self, addr: u32, len: u32) -> *mut u8 {
        debug_assert!(u64::from(addr) + u64::from(len) <= self.len);
        self.base.wrapping_add(addr as usize)
    }

    /// Reads a number of `LEN` bytes in the host's byte order.
    ///
    /// # Safety
    /// `[addr, addr + LEN)` has been committed.
    #[inline(always)]
    pub(crate) unsafe fn load<const LEN: u32>(&self, addr: u32) -> u64 {
        let ptr = self.ptr(addr, LEN);
        // SAFETY: the caller says that the bytes are committed, so they are mapped until `self` is dropped. See `Unaligned`.
        unsafe {
            match LEN {
                1 => u64::from(ptr.read_volatile()),
                2 => u64::from(Unaligned::<u16>::load(ptr)),
                4 => u64::from(Unaligned::<u32>::load(ptr)),
                8 => Unaligned::<u64>::load(ptr),
                _ => unreachable!("access sizes are 1, 2, 4 and 8"),
            }
        }
    }

    /// Writes the low `LEN` bytes of a number in the host's byte order.
    ///
    /// # Safety
    /// `[addr, addr + LEN)` has been committed.
    #[inline(always)]
    pub(crate) unsafe fn store<const LEN: u32>(&self, addr: u32, value: u64) {
        let ptr = self.ptr(addr, LEN);
        // SAFETY: as for `load`.
        unsafe {
            match LEN {
                1 => ptr.write_volatile(value as u8),
                2 => Unaligned(value as u16).store(ptr),
                4 => Unaligned(value as u32).store(ptr),
                8 => Unaligned(value).store(ptr),
                _ => unreachable!("access sizes are 1, 2, 4 and 8"),
            }
        }
    }

    /// The four bytes at `addr` as an atomic.
    ///
    /// # Safety
    /// `[addr, addr + 4)` has been committed and `addr` is a multiple of 4.
    #[inline(always)]
    pub(crate) unsafe fn atomic32(&self, addr: u32) -> &AtomicU32 {
        // SAFETY: committed and aligned, the caller says; mapped until `self` is dropped.
        unsafe { &*self.ptr(addr, 4).cast::<AtomicU32>() }
    }

    /// The eight bytes at `addr` as an atomic.
    ///
    /// # Safety
    /// `[addr, addr + 8)` has been committed and `addr` is a multiple of 8.
    #[inline(always)]
    pub(crate) unsafe fn atomic64(&self, addr: u32) -> &AtomicU64 {
        // SAFETY: as for `atomic32`.
        unsafe { &*self.ptr(addr, 8).cast::<AtomicU64>() }
    }

    /// Copies guest bytes out.
    ///
    /// # Safety
    /// `[addr, addr + to.len())` has been committed.
    pub(crate) unsafe fn copy_out(&self, addr: u32, to: &mut [u8]) {
        let mut at = addr;
        let (head, rest) = to.split_at_mut(to.len().min(at.wrapping_neg() as usize & 7));
        let (words, tail) = rest.as_chunks_mut::<8>();
        // SAFETY: every access lies in the committed range the caller names.
        unsafe {
            for byte in head {
                *byte = self.load::<1>(at) as u8;
                at += 1;
            }
            for word in words {
                *word = self.load::<8>(at).to_ne_bytes();
                at += 8;
            }
            for byte in tail {
                *byte = self.load::<1>(at) as u8;
                at = at.wrapping_add(1);
            }
        }
    }

    /// Copies bytes into guest memory.
    ///
    /// # Safety
    /// `[addr, addr + from.len())` has been committed.
    pub(crate) unsafe fn copy_in(&self, addr: u32, from: &[u8]) {
        let mut at = addr;
        let (head, rest) = from.split_at(from.len().min(at.wrapping_neg() as usize & 7));
        let (words, tail) = rest.as_chunks::<8>();
        // SAFETY: every access lies in the committed range the caller names.
        unsafe {
            for byte in head {
                self.store::<1>(at, u64::from(*byte));
                at += 1;
            }
            for word in words {
                self.store::<8>(at, u64::from_ne_bytes(*word));
                at += 8;
            }
            for byte in tail {
                self.store::<1>(at, u64::from(*byte));
                at = at.wrapping_add(1);
            }
        }
    }

    /// Sets guest bytes to `byte`.
    ///
    /// # Safety
    /// `[addr, addr + len)` has been committed.
    pub(crate) unsafe fn fill(&self, addr: u32, len: u32, byte: u8) {
        let word = u64::from_ne_bytes([byte; 8]);
        let (mut at, end) = (u64::from(addr), u64::from(addr) + u64::from(len));
        // SAFETY: every access lies in the committed range the caller names.
        unsafe {
            while at < end {
                if at.is_multiple_of(8) && at + 8 <= end {
                    self.store::<8>(at as u32, word);
                    at += 8;
                } else {
                    self.store::<1>(at as u32, u64::from(byte));
                    at += 1;
                }
            }
        }
    }
}

/// A number at any address, accessed in one volatile access.
///
/// Guests race on such numbers as they may in the kernel. The memory is no Rust allocation but a mapping of the operating system, for which
/// a volatile access is an access of the machine, outside Rust's memory model (`std::ptr::read_volatile`); a torn value is as good as any. The
/// fallback is a Rust allocation, and its platforms run one thread. ThreadSanitizer does not know that and is told by atomic bytes.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

impl<T: Copy> Unaligned<T> {
    /// # Safety
    /// The bytes are mapped.
    #[cfg(not(mimic_tsan))]
    #[inline(always)]
    unsafe fn load(ptr: *mut u8) -> T {
        // SAFETY: mapped, the caller says; any alignment suits a packed type, and all bytes are numbers.
        unsafe { ptr.cast::<Unaligned<T>>().read_volatile().0 }
    }

    /// # Safety
    /// The bytes are mapped.
    #[cfg(not(mimic_tsan))]
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u8) {
        // SAFETY: as for `load`.
        unsafe { ptr.cast::<Unaligned<T>>().write_volatile(self) }
    }

    /// # Safety
    /// The bytes are mapped.
    #[cfg(mimic_tsan)]
    unsafe fn load(ptr: *mut u8) -> T {
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        for at in 0..size_of::<T>() {
            // SAFETY: mapped, the caller says; `at` stays within both.
            unsafe {
                let byte = (*ptr.add(at).cast::<core::sync::atomic::AtomicU8>()).load(Ordering::Relaxed);
                value.as_mut_ptr().cast::<u8>().add(at).write(byte);
            }
        }
        // SAFETY: all bytes were written, and all bytes are numbers.
        unsafe { value.assume_init() }
    }

    /// # Safety
    /// The bytes are mapped.
    #[cfg(mimic_tsan)]
    unsafe fn store(self, ptr: *mut u8) {
        let value = self.0;
        for at in 0..size_of::<T>() {
            // SAFETY: mapped, the caller says; `at` stays within both.
            unsafe {
                let byte = (&raw const value).cast::<u8>().add(at).read();
                (*ptr.add(at).cast::<core::sync::atomic::AtomicU8>()).store(byte, Ordering::Relaxed);
            }
        }
    }
}

/// Where there is mmap and room: a reservation without access, opened page by page.
#[cfg(all(unix, target_pointer_width = "64"))]
mod os {
    use core::ptr;

    const LEN: u64 = 1 << 32;
    /// On both sides: more than any instruction's offset (16 bits, signed) plus the widest access.
    pub(super) const GUARD_LEN: usize = 1 << 20;

    pub(super) struct Backing {
        reservation: *mut libc::c_void,
    }

    pub(super) fn reserve() -> Result<(*mut u8, u64, Backing), String> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let reservation = unsafe {
            libc::mmap(
                ptr::null_mut(),
                LEN as usize + 2 * GUARD_LEN,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if reservation == libc::MAP_FAILED {
            return Err(format!("reserving 4 GiB of address space: {}", std::io::Error::last_os_error()));
        }
        let base = reservation.cast::<u8>().wrapping_add(GUARD_LEN);
        Ok((base, LEN, Backing { reservation }))
    }

    impl Backing {
        pub(super) fn commit(&self, base: *mut u8, off: u32, len: u32) -> Result<(), String> {
            let (start, end) = host_pages(off, len);
            // SAFETY: the caller checked that the range lies in the reservation; only its access rights change. A host with pages
            // larger than the guest's opens some neighbours too, which is harmless: regions give the exact bounds.
            let done = unsafe {
                libc::mprotect(
                    base.wrapping_add(start).cast(),
                    end - start,
                    libc::PROT_READ | libc::PROT_WRITE,
                )
            };
            if done != 0 {
                return Err(format!(
                    "committing {len} bytes of guest memory: {}",
                    std::io::Error::last_os_error()
                ));
            }
            Ok(())
        }

        /// The part of `[off, off + len)` that is new now: whole host pages.
        pub(super) fn renew(
            &self,
            base: *mut u8,
            off: u32,
            len: u32,
        ) -> Result<core::ops::Range<u32>, String> {
            let page = host_page();
            let start = (off as usize).next_multiple_of(page);
            let end = (off as usize + len as usize) / page * page;
            if start >= end {
                return Ok(off..off);
            }
            // SAFETY: MAP_FIXED replaces pages inside the reservation, which the caller checked, and nothing but guest bytes lives there.
            let at = unsafe {
                libc::mmap(
                    base.wrapping_add(start).cast(),
                    end - start,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                    -1,
                    0,
                )
            };
            if at == libc::MAP_FAILED {
                return Err(format!(
                    "giving {len} bytes of guest memory back: {}",
                    std::io::Error::last_os_error()
                ));
            }
            Ok(start as u32..end as u32)
        }

        pub(super) fn map_file(
            &self,
            base: *mut u8,
            off: u32,
            len: u32,
            file: std::os::fd::BorrowedFd<'_>,
            file_off: u64,
        ) -> Result<(), String> {
            use std::os::fd::AsRawFd;
            // SAFETY: MAP_FIXED replaces pages inside the reservation, which the caller checked, and nothing but guest bytes lives there.
            let at = unsafe {
                libc::mmap(
                    base.wrapping_add(off as usize).cast(),
                    len as usize,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    file.as_raw_fd(),
                    file_off as libc::off_t,
                )
            };
            if at == libc::MAP_FAILED {
                return Err(format!(
                    "mapping {len} shared bytes into guest memory: {}",
                    std::io::Error::last_os_error()
                ));
            }
            Ok(())
        }
    }

    fn host_page() -> usize {
        // SAFETY: sysconf has no preconditions.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize
    }

    fn host_pages(off: u32, len: u32) -> (usize, usize) {
        let page = host_page();
        let start = off as usize / page * page;
        (start, (off as usize + len as usize).next_multiple_of(page))
    }

    impl Drop for Backing {
        fn drop(&mut self) {
            // SAFETY: the reservation is ours, and the cage that handed out addresses in it is going.
            unsafe { libc::munmap(self.reservation, LEN as usize + 2 * GUARD_LEN) };
        }
    }
}

/// Everywhere else: one zeroed allocation, all of it accessible.
#[cfg(not(all(unix, target_pointer_width = "64")))]
mod os {
    use super::{Cage, PAGE_LEN};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    /// An allocation has none.
    pub(super) const GUARD_LEN: usize = 0;

    pub(super) struct Backing {
        base: *mut u8,
        layout: Layout,
    }

    pub(super) fn reserve() -> Result<(*mut u8, u64, Backing), String> {
        let layout = Layout::from_size_align(Cage::FALLBACK_LEN as usize, PAGE_LEN as usize)
            .map_err(|error| error.to_string())?;
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            return Err(format!("allocating {} bytes of guest memory", Cage::FALLBACK_LEN));
        }
        Ok((base, Cage::FALLBACK_LEN, Backing { base, layout }))
    }

    impl Backing {
        pub(super) fn commit(&self, _base: *mut u8, _off: u32, _len: u32) -> Result<(), String> {
            Ok(())
        }

        /// Nothing can be given back: all of it is to be filled with zeros.
        pub(super) fn renew(
            &self,
            _base: *mut u8,
            off: u32,
            _len: u32,
        ) -> Result<core::ops::Range<u32>, String> {
            Ok(off..off)
        }
    }

    impl Drop for Backing {
        fn drop(&mut self) {
            // SAFETY: allocated above with this layout, and the cage that handed out addresses in it is going.
            unsafe { dealloc(self.base, self.layout) };
        }
    }
}
