//! `Lru`: which elements of a full LRU map make room. The lists and steps of the kernel's LRU (Documentation/bpf/map_hash.rst,
//! "LRU internals"), so that the same operations on the same CPUs drop the same elements.
//!
//! The common form has one pair of lists, active and inactive, and for each CPU a stock of free slots with the elements made from
//! it since; the other form (`BPF_F_NO_COMMON_LRU`) has everything for each CPU. All of it is under one lock here: which of two
//! CPUs that insert at the same time is first is then as undetermined as in the kernel, and nothing else is.

use super::lists::{List, Lists};
use core::sync::atomic::{AtomicU32, Ordering};
use mimic_vm::memory::zeroed32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The order of use, and the free slots.
pub(super) struct Lru {
    state: Mutex<State>,
    /// Set by lookups, without the lock: used since it was last looked at.
    used: Box<[AtomicU32]>,
}

/// Takes an element out of the table; false if it is not there (yet, or any more).
type Evict<'a> = &'a dyn Fn(u32, u32) -> bool;

struct State {
    lists: Lists,
    kind: Vec<Kind>,
    cpu: Vec<u16>,
    hash: Vec<u32>,
    cores: Vec<Core>,
    /// Per CPU, in the common form.
    next_steal: Vec<u32>,
    cpus: u32,
    common: bool,
    /// How many slots a CPU takes in stock at once, and makes room for.
    target: u32,
    scans: u32,
}

/// Where a slot is. The kernel's `enum bpf_lru_list_type`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// Never given out.
    #[default]
    Fresh,
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

/// `LOCAL_FREE_TARGET`, `LOCAL_NR_SCANS`.
const LOCAL_TARGET: u32 = 128;
/// `PERCPU_FREE_TARGET`, `PERCPU_NR_SCANS`.
const PERCPU_TARGET: u32 = 4;

impl Lru {
    /// All of `slots` free. `common`: one order for all CPUs.
    pub(super) fn new(slots: u32, cpus: u32, common: bool) -> Lru {
        let cores = if common { 1 } else { cpus };
        let lists = Lists::new(slots, 3 * cores + 2 * cpus);
        let share = slots / cores;
        let core = |index: u32| Core {
            active: 3 * index,
            inactive: 3 * index + 1,
            free: 3 * index + 2,
            active_count: 0,
            inactive_count: 0,
            rotation: lists.head(3 * index + 1),
            fresh: index * share..if index + 1 == cores { slots } else { (index + 1) * share },
        };
        let cores = (0..cores).map(core).collect();
        let state = State {
            kind: vec![Kind::Fresh; slots as usize],
            cpu: vec![0; slots as usize],
            hash: vec![0; slots as usize],
            cores,
            next_steal: (0..cpus).collect(),
            cpus,
            common,
            target: if common { (slots / cpus / 2).clamp(1, LOCAL_TARGET) } else { PERCPU_TARGET },
            scans: if common { LOCAL_TARGET } else { PERCPU_TARGET },
            lists,
        };
        Lru { state: Mutex::new(state), used: zeroed32(slots as usize) }
    }

    /// Remembers that an element was used.
    #[inline]
    pub(super) fn touch(&self, slot: u32) {
        let used = &self.used[slot as usize];
        if used.load(Ordering::Relaxed) == 0 {
            used.store(1, Ordering::Relaxed);
        }
    }

    /// A slot for an element with this hash, if need be that of one which `evict` takes out.
    pub(super) fn take(&self, cpu: u32, hash: u32, evict: Evict<'_>) -> Option<u32> {
        let mut state = self.lock();
        let cpu = cpu.min(state.cpus - 1);
        let slot = if state.common {
            state.take_common(&self.used, cpu, hash, evict)
        } else {
            state.take_percpu(&self.used, cpu, evict)
        }?;
        state.hash[slot as usize] = hash;
        Some(slot)
    }

    /// Gives back the slot of an element that is out of the table, or never was in it.
    pub(super) fn give_back(&self, slot: u32) {
        let mut state = self.lock();
        let cpu = state.cpu[slot as usize];
        if state.common && state.kind[slot as usize] == Kind::LocalPending {
            let list = state.local_free(u32::from(cpu));
            self.used[slot as usize].store(0, Ordering::Relaxed);
            state.kind[slot as usize] = Kind::LocalFree;
            state.lists.unlink(slot);
            state.lists.push_front(list, slot);
            return;
        }
        let core = if state.common { 0 } else { usize::from(cpu) };
        let free = state.cores[core].free;
        state.move_to_free(core, slot, free, Kind::Free);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn local_free(&self, cpu: u32) -> List {
        3 * self.cores.len() as u32 + 2 * cpu
    }

    fn local_pending(&self, cpu: u32) -> List {
        self.local_free(cpu) + 1
    }

    fn take_common(&mut self, used: &[AtomicU32], cpu: u32, hash: u32, evict: Evict<'_>) -> Option<u32> {
        let mut slot = self.pop(self.local_free(cpu));
        if slot.is_none() {
            self.restock(used, cpu, evict);
            slot = self.pop(self.local_free(cpu));
        }
        let slot = match slot {
            Some(slot) => slot,
            None => self.steal(used, cpu, evict)?,
        };
        self.hash[slot as usize] = hash;
        self.cpu[slot as usize] = cpu as u16;
        self.kind[slot as usize] = Kind::LocalPending;
        used[slot as usize].store(0, Ordering::Relaxed);
        self.lists.push_front(self.local_pending(cpu), slot);
        Some(slot)
    }

    fn take_percpu(&mut self, used: &[AtomicU32], cpu: u32, evict: Evict<'_>) -> Option<u32> {
        let core = cpu as usize;
        self.rotate(used, core);
        let free = self.cores[core].free;
        let mut slot = self.pop_free(core);
        if slot.is_none() {
            self.shrink(used, core, self.target, free, Kind::Free, evict);
            slot = self.pop_free(core);
        }
        let slot = slot?;
        self.cpu[slot as usize] = cpu as u16;
        self.kind[slot as usize] = Kind::Inactive;
        self.cores[core].inactive_count += 1;
        used[slot as usize].store(0, Ordering::Relaxed);
        self.lists.push_front(self.cores[core].inactive, slot);
        Some(slot)
    }

    /// The first of a list, taken out.
    fn pop(&mut self, list: List) -> Option<u32> {
        let slot = self.lists.first(list)?;
        self.lists.unlink(slot);
        Some(slot)
    }

    fn pop_free(&mut self, core: usize) -> Option<u32> {
        self.pop(self.cores[core].free).or_else(|| self.cores[core].fresh.next())
    }

    /// Fills a CPU's stock: what it made joins the common lists, then free slots, then those of elements that go.
    fn restock(&mut self, used: &[AtomicU32], cpu: u32, evict: Evict<'_>) {
        while let Some(slot) = self.lists.last(self.local_pending(cpu)) {
            self.lists.unlink(slot);
            let core = &mut self.cores[0];
            let (list, kind) = if used[slot as usize].swap(0, Ordering::Relaxed) != 0 {
                core.active_count += 1;
                (core.active, Kind::Active)
            } else {
                core.inactive_count += 1;
                (core.inactive, Kind::Inactive)
            };
            self.kind[slot as usize] = kind;
            self.lists.push_front(list, slot);
        }
        self.rotate(used, 0);
        let stock = self.local_free(cpu);
        for taken in 0..self.target {
            let Some(slot) = self.pop_free(0) else {
                self.shrink(used, 0, self.target - taken, stock, Kind::LocalFree, evict);
                return;
            };
            self.kind[slot as usize] = Kind::LocalFree;
            self.lists.push_front(stock, slot);
        }
    }

    /// A slot of another CPU's stock, or of what it made last.
    fn steal(&mut self, used: &[AtomicU32], cpu: u32, evict: Evict<'_>) -> Option<u32> {
        let first = self.next_steal[cpu as usize];
        let mut from = first;
        loop {
            let slot = self.pop(self.local_free(from)).or_else(|| self.pop_pending(used, from, evict));
            from = (from + 1) % self.cpus;
            if slot.is_some() || from == first {
                self.next_steal[cpu as usize] = from;
                return slot;
            }
        }
    }

    /// The oldest that a CPU made and that was not used since; if all were, the oldest.
    fn pop_pending(&mut self, used: &[AtomicU32], cpu: u32, evict: Evict<'_>) -> Option<u32> {
        for force in [false, true] {
            let mut at = self.lists.last(self.local_pending(cpu));
            while let Some(slot) = at {
                at = self.lists.before(slot);
                let idle = force || used[slot as usize].load(Ordering::Relaxed) == 0;
                if idle && evict(slot, self.hash[slot as usize]) {
                    self.lists.unlink(slot);
                    return Some(slot);
                }
            }
        }
        None
    }

    fn rotate(&mut self, used: &[AtomicU32], core: usize) {
        if self.cores[core].inactive_count < self.cores[core].active_count {
            self.rotate_active(used, core);
        }
        self.rotate_inactive(used, core);
    }

    /// From the end of the active list: the used go to its front, the others to the inactive list.
    fn rotate_active(&mut self, used: &[AtomicU32], core: usize) {
        let first = self.lists.first(self.cores[core].active);
        let mut at = self.lists.last(self.cores[core].active);
        for _ in 0..self.scans {
            let Some(slot) = at else { break };
            at = self.lists.before(slot);
            let kind = if was_used(used, slot) { Kind::Active } else { Kind::Inactive };
            self.shift(used, core, slot, kind);
            if Some(slot) == first {
                break;
            }
        }
    }

    /// From where the last rotation ended: the used go to the active list.
    fn rotate_inactive(&mut self, used: &[AtomicU32], core: usize) {
        let inactive = self.cores[core].inactive;
        let head = self.lists.head(inactive);
        if self.lists.first(inactive).is_none() {
            return;
        }
        let mut last = self.lists.place_after(self.cores[core].rotation);
        if last == head {
            last = self.lists.place_after(last);
        }
        let (mut at, mut next) = (self.cores[core].rotation, head);
        let mut scanned = 0;
        while scanned < self.scans {
            if at == head {
                at = self.lists.place_before(at);
                continue;
            }
            next = self.lists.place_before(at);
            if was_used(used, at) {
                self.shift(used, core, at, Kind::Active);
            }
            if at == last {
                break;
            }
            at = next;
            scanned += 1;
        }
        self.cores[core].rotation = next;
    }

    /// Makes room: `wanted` slots go to the list `to`, at least one if there is any.
    fn shrink(
        &mut self,
        used: &[AtomicU32],
        core: usize,
        wanted: u32,
        to: List,
        kind: Kind,
        evict: Evict<'_>,
    ) {
        if self.shrink_inactive(used, core, wanted, to, kind, evict) > 0 {
            return;
        }
        let Core { active, inactive, .. } = self.cores[core];
        let list = if self.lists.first(inactive).is_some() { inactive } else { active };
        let mut at = self.lists.last(list);
        while let Some(slot) = at {
            at = self.lists.before(slot);
            if evict(slot, self.hash[slot as usize]) {
                self.move_to_free(core, slot, to, kind);
                return;
            }
        }
    }

    fn shrink_inactive(
        &mut self,
        used: &[AtomicU32],
        core: usize,
        wanted: u32,
        to: List,
        kind: Kind,
        evict: Evict<'_>,
    ) -> u32 {
        let mut done = 0;
        let mut at = self.lists.last(self.cores[core].inactive);
        for _ in 0..self.scans {
            let Some(slot) = at else { break };
            at = self.lists.before(slot);
            if was_used(used, slot) {
                self.shift(used, core, slot, Kind::Active);
            } else if evict(slot, self.hash[slot as usize]) {
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
    fn shift(&mut self, used: &[AtomicU32], core: usize, slot: u32, kind: Kind) {
        let list = if kind == Kind::Active { self.cores[core].active } else { self.cores[core].inactive };
        self.count(core, slot, kind);
        used[slot as usize].store(0, Ordering::Relaxed);
        self.leave_rotation(core, slot);
        self.lists.unlink(slot);
        self.lists.push_front(list, slot);
    }

    fn move_to_free(&mut self, core: usize, slot: u32, list: List, kind: Kind) {
        self.leave_rotation(core, slot);
        self.count(core, slot, kind);
        self.lists.unlink(slot);
        self.lists.push_front(list, slot);
    }

    fn leave_rotation(&mut self, core: usize, slot: u32) {
        if self.cores[core].rotation == slot {
            self.cores[core].rotation = self.lists.place_before(slot);
        }
    }

    fn count(&mut self, core: usize, slot: u32, kind: Kind) {
        let old = core::mem::replace(&mut self.kind[slot as usize], kind);
        let core = &mut self.cores[core];
        core.active_count -= u32::from(old == Kind::Active);
        core.inactive_count -= u32::from(old == Kind::Inactive);
        core.active_count += u32::from(kind == Kind::Active);
        core.inactive_count += u32::from(kind == Kind::Inactive);
    }
}

fn was_used(used: &[AtomicU32], slot: u32) -> bool {
    used[slot as usize].load(Ordering::Relaxed) != 0
}
