//! `Lru`: which elements of a full LRU map make room. The lists and steps of the kernel's LRU (Documentation/bpf/map_hash.rst,
//! "LRU internals"), so that the same operations on the same CPUs drop the same elements.
//!
//! The common form has one pair of lists, active and inactive (`Core`), and for each CPU a stock of free slots with the elements made from it
//! since (`Stock`); the other form (`BPF_F_NO_COMMON_LRU`) has a core for each CPU. Each core and each stock has a lock. They are taken in this
//! order: a stock's, the common core's, that of a bucket of the table (by `Evict`). Most of the time a CPU needs its own stock alone.

use super::lists::{GROUP, List, Lists};
use super::sync::{AtomicU32, Mutex, MutexGuard, Ordering, zeroed32};
use std::sync::PoisonError;

/// The order of use, and the free slots.
pub(super) struct Lru {
    lists: Lists,
    /// By slot: used since it was last looked at. Set by lookups, without a lock.
    used: Box<[AtomicU32]>,
    /// By slot: the hash of its element, and its `Kind` with the CPU that took it. Changed under the lock of the list that it is in.
    hashes: Box<[AtomicU32]>,
    kinds: Box<[AtomicU32]>,
    cores: Box<[Locked<Core>]>,
    /// Empty but in the common form.
    stocks: Box<[Locked<Stock>]>,
    /// How many slots a CPU takes in stock at once, and makes room for.
    target: u32,
    scans: u32,
}

/// Takes an element out of the table; false if it is not there (yet, or any more).
type Evict<'a> = &'a dyn Fn(u32, u32) -> bool;

/// A lock with what it guards, on cache lines of its own.
#[repr(align(128))]
struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a slot is. The kernel's `enum bpf_lru_list_type`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Never given out.
    Fresh = 0,
    Active,
    Inactive,
    Free,
    LocalFree,
    LocalPending,
}

/// An active and an inactive list with free slots.
struct Core {
    active: List,
    inactive: List,
    free: List,
    active_count: u32,
    inactive_count: u32,
    /// The place in the inactive list that rotation goes on at.
    rotation: u32,
    /// Slots that were never given out.
    fresh: core::ops::Range<u32>,
}

/// A CPU's free slots, and the elements that it made of such.
struct Stock {
    free: List,
    pending: List,
    /// The CPU that it looks at first when nothing is left.
    next_steal: u32,
}

/// `LOCAL_FREE_TARGET`, `LOCAL_NR_SCANS`.
const LOCAL_TARGET: u32 = 128;
/// `PERCPU_FREE_TARGET`, `PERCPU_NR_SCANS`.
const PERCPU_TARGET: u32 = 4;

impl Lru {
    /// All of `slots` free. `common`: one order for all CPUs.
    pub(super) fn new(slots: u32, cpus: u32, common: bool) -> Lru {
        let cores = if common { 1 } else { cpus };
        let stocks = if common { cpus } else { 0 };
        let lists = Lists::new(slots, cores + stocks);
        let share = slots / cores;
        let core = |index: u32| {
            let list = index * GROUP;
            let end = if index + 1 == cores { slots } else { (index + 1) * share };
            Locked(Mutex::new(Core {
                active: list,
                inactive: list + 1,
                free: list + 2,
                active_count: 0,
                inactive_count: 0,
                rotation: lists.head(list + 1),
                fresh: index * share..end,
            }))
        };
        let stock = |cpu: u32| {
            let list = (cores + cpu) * GROUP;
            Locked(Mutex::new(Stock { free: list, pending: list + 1, next_steal: cpu }))
        };
        Lru {
            cores: (0..cores).map(core).collect(),
            stocks: (0..stocks).map(stock).collect(),
            used: zeroed32(slots as usize),
            hashes: zeroed32(slots as usize),
            kinds: zeroed32(slots as usize),
            target: if common { (slots / cpus / 2).clamp(1, LOCAL_TARGET) } else { PERCPU_TARGET },
            scans: if common { LOCAL_TARGET } else { PERCPU_TARGET },
            lists,
        }
    }

    /// Remembers that an element was used.
    #[inline]
    pub(super) fn touch(&self, slot: u32) {
        if !self.was_used(slot) {
            self.set_used(slot, true);
        }
    }

    /// A slot for an element with this hash, if need be that of one which `evict` takes out.
    pub(super) fn take(&self, cpu: u32, hash: u32, evict: Evict<'_>) -> Option<u32> {
        let cpus = self.stocks.len().max(self.cores.len()) as u32;
        let cpu = cpu.min(cpus - 1);
        if self.stocks.is_empty() {
            self.take_percpu(cpu, hash, evict)
        } else {
            self.take_common(cpu, hash, evict)
        }
    }

    /// Gives back the slot of an element that is out of the table, or never was in it.
    pub(super) fn give_back(&self, slot: u32) {
        let (kind, cpu) = self.kind(slot);
        if kind == Kind::LocalPending
            && let Some(stock) = self.stocks.get(cpu as usize)
        {
            let stock = stock.lock();
            // It may have come to the common lists meanwhile; out of those it does not go without us.
            if self.kind(slot).0 == Kind::LocalPending {
                self.set_used(slot, false);
                self.set_kind(slot, Kind::LocalFree, cpu);
                self.lists.unlink(slot);
                self.lists.push_front(stock.free, slot);
                return;
            }
        }
        let core = if self.stocks.is_empty() { cpu as usize } else { 0 };
        let mut core = self.cores[core].lock();
        let free = core.free;
        self.move_to_free(&mut core, slot, free, Kind::Free);
    }

    fn take_common(&self, cpu: u32, hash: u32, evict: Evict<'_>) -> Option<u32> {
        let stock = self.stocks[cpu as usize].lock();
        let mut slot = self.lists.pop(stock.free);
        if slot.is_none() {
            self.restock(&stock, evict);
            slot = self.lists.pop(stock.free);
        }
        if let Some(slot) = slot {
            self.add_pending(&stock, slot, cpu, hash);
            return Some(slot);
        }
        let first = stock.next_steal;
        drop(stock);
        let (slot, next) = self.steal(first, evict);
        let mut stock = self.stocks[cpu as usize].lock();
        stock.next_steal = next;
        let slot = slot?;
        self.add_pending(&stock, slot, cpu, hash);
        Some(slot)
    }

    fn add_pending(&self, stock: &Stock, slot: u32, cpu: u32, hash: u32) {
        self.set_hash(slot, hash);
        self.set_kind(slot, Kind::LocalPending, cpu);
        self.set_used(slot, false);
        self.lists.push_front(stock.pending, slot);
    }

    fn take_percpu(&self, cpu: u32, hash: u32, evict: Evict<'_>) -> Option<u32> {
        let mut core = self.cores[cpu as usize].lock();
        self.rotate(&mut core);
        let mut slot = self.pop_free(&mut core);
        if slot.is_none() {
            let free = core.free;
            self.shrink(&mut core, self.target, free, Kind::Free, evict);
            slot = self.pop_free(&mut core);
        }
        let slot = slot?;
        self.set_hash(slot, hash);
        self.set_kind(slot, Kind::Inactive, cpu);
        self.set_used(slot, false);
        core.inactive_count += 1;
        self.lists.push_front(core.inactive, slot);
        Some(slot)
    }

    fn pop_free(&self, core: &mut Core) -> Option<u32> {
        self.lists.pop(core.free).or_else(|| core.fresh.next())
    }

    /// Fills a CPU's stock: what it made joins the common lists, then free slots, then those of elements that go.
    fn restock(&self, stock: &Stock, evict: Evict<'_>) {
        let core = &mut *self.cores[0].lock();
        while let Some(slot) = self.lists.last(stock.pending) {
            self.lists.unlink(slot);
            let (list, kind) = if self.was_used(slot) {
                core.active_count += 1;
                (core.active, Kind::Active)
            } else {
                core.inactive_count += 1;
                (core.inactive, Kind::Inactive)
            };
            self.set_used(slot, false);
            self.set_kind(slot, kind, self.kind(slot).1);
            self.lists.push_front(list, slot);
        }
        self.rotate(core);
        for taken in 0..self.target {
            let Some(slot) = self.pop_free(core) else {
                self.shrink(core, self.target - taken, stock.free, Kind::LocalFree, evict);
                return;
            };
            self.set_kind(slot, Kind::LocalFree, 0);
            self.lists.push_front(stock.free, slot);
        }
    }

    /// A slot of a CPU's stock, or of what it made last, from this CPU on; and which CPU is to be looked at next.
    fn steal(&self, first: u32, evict: Evict<'_>) -> (Option<u32>, u32) {
        let mut from = first;
        loop {
            let stock = self.stocks[from as usize].lock();
            let slot = self.lists.pop(stock.free).or_else(|| self.pop_pending(&stock, evict));
            drop(stock);
            from = (from + 1) % self.stocks.len() as u32;
            if slot.is_some() || from == first {
                return (slot, from);
            }
        }
    }

    /// The oldest that a CPU made and that was not used since; if all were, the oldest.
    fn pop_pending(&self, stock: &Stock, evict: Evict<'_>) -> Option<u32> {
        for force in [false, true] {
            let mut at = self.lists.last(stock.pending);
            while let Some(slot) = at {
                at = self.lists.before(slot);
                let idle = force || !self.was_used(slot);
                if idle && evict(slot, self.hash(slot)) {
                    self.lists.unlink(slot);
                    return Some(slot);
                }
            }
        }
        None
    }

    fn rotate(&self, core: &mut Core) {
        if core.inactive_count < core.active_count {
            self.rotate_active(core);
        }
        self.rotate_inactive(core);
    }

    /// From the end of the active list: the used go to its front, the others to the inactive list.
    fn rotate_active(&self, core: &mut Core) {
        let first = self.lists.first(core.active);
        let mut at = self.lists.last(core.active);
        for _ in 0..self.scans {
            let Some(slot) = at else { break };
            at = self.lists.before(slot);
            let kind = if self.was_used(slot) { Kind::Active } else { Kind::Inactive };
            self.shift(core, slot, kind);
            if Some(slot) == first {
                break;
            }
        }
    }

    /// From where the last rotation ended: the used go to the active list.
    fn rotate_inactive(&self, core: &mut Core) {
        let head = self.lists.head(core.inactive);
        if self.lists.first(core.inactive).is_none() {
            return;
        }
        let mut last = self.lists.place_after(core.rotation);
        if last == head {
            last = self.lists.place_after(last);
        }
        let (mut at, mut next) = (core.rotation, head);
        let mut scanned = 0;
        while scanned < self.scans {
            if at == head {
                at = self.lists.place_before(at);
                continue;
            }
            next = self.lists.place_before(at);
            if self.was_used(at) {
                self.shift(core, at, Kind::Active);
            }
            if at == last {
                break;
            }
            at = next;
            scanned += 1;
        }
        core.rotation = next;
    }

    /// Makes room: `wanted` slots go to the list `to`, at least one if there is any.
    fn shrink(&self, core: &mut Core, wanted: u32, to: List, kind: Kind, evict: Evict<'_>) {
        if self.shrink_inactive(core, wanted, to, kind, evict) > 0 {
            return;
        }
        let inactive = self.lists.first(core.inactive).is_some();
        let mut at = self.lists.last(if inactive { core.inactive } else { core.active });
        while let Some(slot) = at {
            at = self.lists.before(slot);
            if evict(slot, self.hash(slot)) {
                self.move_to_free(core, slot, to, kind);
                return;
            }
        }
    }

    fn shrink_inactive(&self, core: &mut Core, wanted: u32, to: List, kind: Kind, evict: Evict<'_>) -> u32 {
        let mut done = 0;
        let mut at = self.lists.last(core.inactive);
        for _ in 0..self.scans {
            let Some(slot) = at else { break };
            at = self.lists.before(slot);
            if self.was_used(slot) {
                self.shift(core, slot, Kind::Active);
            } else if evict(slot, self.hash(slot)) {
                self.move_to_free(core, slot, to, kind);
                done += 1;
                if done == wanted {
                    break;
                }
            }
        }
        done
    }

    /// Moves an element to the front of the active or inactive list.
    fn shift(&self, core: &mut Core, slot: u32, kind: Kind) {
        let list = if kind == Kind::Active { core.active } else { core.inactive };
        self.count(core, slot, kind);
        self.set_used(slot, false);
        self.leave_rotation(core, slot);
        self.lists.unlink(slot);
        self.lists.push_front(list, slot);
    }

    fn move_to_free(&self, core: &mut Core, slot: u32, list: List, kind: Kind) {
        self.leave_rotation(core, slot);
        self.count(core, slot, kind);
        self.lists.unlink(slot);
        self.lists.push_front(list, slot);
    }

    fn leave_rotation(&self, core: &mut Core, slot: u32) {
        if core.rotation == slot {
            core.rotation = self.lists.place_before(slot);
        }
    }

    fn count(&self, core: &mut Core, slot: u32, kind: Kind) {
        let (old, cpu) = self.kind(slot);
        self.set_kind(slot, kind, cpu);
        core.active_count -= u32::from(old == Kind::Active);
        core.inactive_count -= u32::from(old == Kind::Inactive);
        core.active_count += u32::from(kind == Kind::Active);
        core.inactive_count += u32::from(kind == Kind::Inactive);
    }

    #[inline]
    fn was_used(&self, slot: u32) -> bool {
        self.used[slot as usize].load(Ordering::Relaxed) != 0
    }

    fn set_used(&self, slot: u32, used: bool) {
        self.used[slot as usize].store(u32::from(used), Ordering::Relaxed);
    }

    fn hash(&self, slot: u32) -> u32 {
        self.hashes[slot as usize].load(Ordering::Relaxed)
    }

    fn set_hash(&self, slot: u32, hash: u32) {
        self.hashes[slot as usize].store(hash, Ordering::Relaxed);
    }

    fn kind(&self, slot: u32) -> (Kind, u32) {
        const KINDS: [Kind; 8] = {
            use Kind::*;
            [Fresh, Active, Inactive, Free, LocalFree, LocalPending, Fresh, Fresh]
        };
        let word = self.kinds[slot as usize].load(Ordering::Relaxed);
        (KINDS[word as usize & 7], word >> 3)
    }

    fn set_kind(&self, slot: u32, kind: Kind, cpu: u32) {
        self.kinds[slot as usize].store(kind as u32 | cpu << 3, Ordering::Relaxed);
    }
}
