//! ARENA: pages that programs and users share, with pointers in them. Documentation/bpf/map_arena… is in the kernel's commit messages; this
//! follows what 6.18 does.
//!
//! A pointer in an arena is a *user address*. `addr_space_cast` turns it into a guest address and back (`mimic_vm::ArenaSpace`). Pages are had
//! by `bpf_arena_alloc_pages`, or by users who touch them; what is not had reads as zero to programs, and writes to it are lost.

use super::Maker;
use super::page_ranges::PageRanges;
use core::sync::atomic::{AtomicBool, Ordering};
use mimic_abi::Errno;
use mimic_object::MapSpec;
use mimic_vm::memory::{Access, Bounds, Layout, PAGE_LEN, Part};
use mimic_vm::{ARENA_GUARD_LEN, ArenaSpace, Hygiene, Map, MapError, Region};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most pages that an arena really has; larger ones, which Linux allows, answer as if the rest were used up.
pub const ARENA_PAGES_MAX: u32 = 1 << 18;
/// The same where every byte is watched ([`Hygiene::Poison`]).
const WATCHED_PAGES_MAX: u32 = 1 << 12;
/// The fewest pages that are asked for if there is no room for all.
const PAGES_MIN: u32 = 16;
/// Where users see arenas that nobody has chosen a place for: the upper half of the address.
const USER_HIGH: u64 = 0x7f00 << 32;
/// Bytes of the largest arena.
const LEN_MAX: u64 = 1 << 32;

/// `BPF_MAP_TYPE_ARENA`.
pub struct Arena {
    spec: MapSpec,
    region: Region,
    space: ArenaSpace,
    pages: Arc<Pages>,
    frozen: AtomicBool,
}

/// Which pages are had.
struct Pages {
    inner: Mutex<Inner>,
}

struct Inner {
    free: PageRanges,
    /// A bit for each page that is there.
    present: Vec<u64>,
}

impl Arena {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        check(spec)?;
        let watched = maker.env.memory.hygiene() == Hygiene::Poison;
        let mut count = spec.max_entries.min(if watched { WATCHED_PAGES_MAX } else { ARENA_PAGES_MAX });
        loop {
            let pages = Arc::new(Pages::new(count));
            let len = u64::from(count) * u64::from(PAGE_LEN);
            let guards = 2 * u64::from(ARENA_GUARD_LEN);
            match maker.region("page", len + guards, Layout::Custom(pages.clone())) {
                Ok(region) => {
                    let base = region.base() + u64::from(ARENA_GUARD_LEN);
                    let start = if spec.map_extra == 0 { USER_HIGH | base } else { spec.map_extra };
                    let space = ArenaSpace { base, len, user_start: start };
                    let (spec, frozen) = (spec.clone(), AtomicBool::new(false));
                    return Ok(Arc::new(Arena { spec, region, space, pages, frozen }));
                }
                Err(_) if count > PAGES_MIN => count = (count / 2).max(PAGES_MIN),
                Err(error) => return Err(error),
            }
        }
    }

    /// `count` pages of zeros, at the user address `at` or, if that is 0, where there is room; their user address. None if they cannot be had.
    pub fn allocate(&self, at: u64, count: u32) -> Option<u64> {
        let mut inner = self.pages.lock();
        let page = if at == 0 {
            inner.free.find(count)?
        } else {
            let page = self.page(at).filter(|_| at.is_multiple_of(u64::from(PAGE_LEN)))?;
            inner.free.has(page, count).then_some(page)?
        };
        inner.free.take(page, count);
        inner.mark(page, count, true);
        Some(self.space.user_start.wrapping_add(u64::from(page) * u64::from(PAGE_LEN)))
    }

    /// Gives pages back, as far as they are in the arena.
    pub fn free(&self, at: u64, count: u32) {
        let Some(page) = self.page(at) else { return };
        let mut inner = self.pages.lock();
        let count = count.min(self.count() - page);
        if count == 0 {
            return;
        }
        for page in page..page + count {
            if inner.is_present(page) {
                self.region.fill(ARENA_GUARD_LEN + page * PAGE_LEN, PAGE_LEN, 0);
            }
        }
        inner.mark(page, count, false);
        inner.free.give_back(page, count);
    }

    /// Keeps pages from being had. `EINVAL` beyond the arena, `EBUSY` if one of them is had or kept already.
    pub fn reserve(&self, at: u64, count: u32) -> Result<(), Errno> {
        let inside = |page: &u32| page.checked_add(count).is_some_and(|end| end <= self.count());
        let page = self.page(at).filter(inside).ok_or(Errno::EINVAL)?;
        let mut inner = self.pages.lock();
        if !inner.free.has(page, count) {
            return Err(Errno::EBUSY);
        }
        inner.free.take(page, count);
        Ok(())
    }

    /// Users: reads `to.len()` bytes at a user address. Like the kernel's fault handler it makes the pages that are touched; `EFAULT` beyond
    /// the arena, or on a page that is kept from being had.
    pub fn read_user(&self, at: u64, to: &mut [u8]) -> Result<(), Errno> {
        let off = self.touch(at, to.len())?;
        self.region.read(ARENA_GUARD_LEN + off, to);
        Ok(())
    }

    /// Users: writes bytes at a user address; see [`Arena::read_user`].
    pub fn write_user(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        let off = self.touch(at, from.len())?;
        self.region.write(ARENA_GUARD_LEN + off, from);
        Ok(())
    }

    /// Where users see it, in bytes.
    pub fn user_range(&self) -> core::ops::Range<u64> {
        let len = u64::from(self.spec.max_entries) * u64::from(PAGE_LEN);
        self.space.user_start..self.space.user_start + len
    }

    fn touch(&self, at: u64, len: usize) -> Result<u32, Errno> {
        let off = at.checked_sub(self.space.user_start).ok_or(Errno::EFAULT)?;
        let end = off.checked_add(len as u64).filter(|end| *end <= self.space.len).ok_or(Errno::EFAULT)?;
        let mut inner = self.pages.lock();
        let pages = (off / u64::from(PAGE_LEN)) as u32..end.div_ceil(u64::from(PAGE_LEN)) as u32;
        for page in pages {
            if inner.is_present(page) {
                continue;
            }
            if !inner.free.has(page, 1) {
                return Err(Errno::EFAULT);
            }
            inner.free.take(page, 1);
            inner.mark(page, 1, true);
        }
        Ok(off as u32)
    }

    fn count(&self) -> u32 {
        (self.space.len / u64::from(PAGE_LEN)) as u32
    }

    /// The page of an address, of which the lower half counts. None beyond the arena.
    fn page(&self, at: u64) -> Option<u32> {
        let page = (at as u32).wrapping_sub(self.space.user_start as u32) / PAGE_LEN;
        (page < self.count()).then_some(page)
    }
}

/// What the kernel checks beside the row.
fn check(spec: &MapSpec) -> Result<(), MapError> {
    let page = u64::from(PAGE_LEN);
    let len = u64::from(spec.max_entries) * page;
    if !spec.map_extra.is_multiple_of(page) {
        return Err(MapError::new(Errno::EINVAL, "map_extra, the address for users, is not that of a page"));
    }
    if len > LEN_MAX {
        return Err(MapError::new(Errno::E2BIG, "an arena has 4 GiB of pages at most"));
    }
    if spec.map_extra >> 32 != spec.map_extra.wrapping_add(len - 1) >> 32 {
        return Err(MapError::new(Errno::ERANGE, "the addresses for users go over a multiple of 4 GiB"));
    }
    Ok(())
}

impl Pages {
    fn new(count: u32) -> Pages {
        let present = vec![0; count.div_ceil(64) as usize];
        Pages { inner: Mutex::new(Inner { free: PageRanges::new(count), present }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_present(&self, page: u32) -> bool {
        self.present.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    fn mark(&mut self, page: u32, count: u32, present: bool) {
        for page in page..page + count {
            let bit = 1 << (page % 64);
            let word = &mut self.present[page as usize / 64];
            *word = if present { *word | bit } else { *word & !bit };
        }
    }
}

impl Bounds for Pages {
    /// The pages around this byte that are there one after the other.
    fn object_at(&self, off: u32) -> Option<Part> {
        /// How far they are looked for on each side.
        const NEAR: u32 = 1 << 10;
        let inner = self.lock();
        let page = off.checked_sub(ARENA_GUARD_LEN)? / PAGE_LEN;
        if !inner.is_present(page) {
            return None;
        }
        let first = (page.saturating_sub(NEAR)..page).rev().take_while(|page| inner.is_present(*page)).last();
        let last = (page..page + NEAR).take_while(|page| inner.is_present(*page)).last();
        let (first, last) = (first.unwrap_or(page), last.unwrap_or(page));
        let len = (last - first + 1) * PAGE_LEN;
        Some(Part { off: ARENA_GUARD_LEN + first * PAGE_LEN, len, access: Access::ReadWrite })
    }
}

impl Map for Arena {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn lookup_copy(&self, _key: &[u8], _flags: u64) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    fn update_copy(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete_key(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn freeze(&self) -> Result<(), Errno> {
        if self.frozen.swap(true, Ordering::AcqRel) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// The variables of its address space, from its start on, as a loader who has mapped it puts them there.
    fn set_data(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.write_user(self.space.user_start, bytes)
    }

    /// A user address.
    fn direct_value(&self, off: u32) -> Result<u64, Errno> {
        if u64::from(off) > u64::from(self.spec.max_entries) * u64::from(PAGE_LEN) {
            return Err(Errno::ERANGE);
        }
        Ok(self.space.user_start.wrapping_add(off.into()))
    }

    fn arena(&self) -> Option<ArenaSpace> {
        Some(self.space)
    }
}
