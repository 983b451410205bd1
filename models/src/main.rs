//! The lock-free parts of maps under loom, which runs a few threads through all their interleavings, reorderings of memory among them.
//! `cargo xtask models`.
//!
//! The files themselves are included beside a `sync` of loom's; this is a program and no test, so that their own tests stay outside. A package of its own, outside the workspace, so that nobody else waits for
//! loom to be built.

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    pub(super) fn zeroed32(len: usize) -> Box<[AtomicU32]> {
        (0..len).map(|_| AtomicU32::new(0)).collect()
    }

    pub(super) fn zeroed64(len: usize) -> Box<[AtomicU64]> {
        (0..len).map(|_| AtomicU64::new(0)).collect()
    }

    pub(super) fn relax(_tries: u32) {
        loom::thread::yield_now();
    }
}

#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/chains.rs"]
mod chains;
#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/count.rs"]
mod count;
#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/lists.rs"]
mod lists;
#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/lru.rs"]
mod lru;
#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/pool.rs"]
mod pool;
#[allow(dead_code, reason = "not all of it is modelled")]
#[path = "../../crates/mimic-linux/src/maps/reservations.rs"]
mod reservations;

use chains::Chains;
use count::Count;
use loom::sync::Arc;
use loom::thread;
use lru::Lru;
use pool::Pool;
use reservations::{BUSY, DISCARD, Reservations};
use sync::{AtomicU32, Ordering, zeroed32};

/// The models, by name.
const MODELS: &[(&str, fn())] = &[
    ("what stays is found", what_stays_is_found),
    ("a slot that is used again", a_slot_that_is_used_again),
    ("a key that is replaced is always there", a_key_that_is_replaced_is_always_there),
    ("changes of a bucket exclude each other", changes_of_a_bucket_exclude_each_other),
    ("a slot is given out once", a_slot_is_given_out_once),
    ("a slow taker does not take what came back", a_slow_taker_does_not_take_what_came_back),
    ("an element makes room once", an_element_makes_room_once),
    ("an element that goes by itself makes room once", an_element_that_goes_by_itself_makes_room_once),
    ("a CPU's stock can be stolen from", a_stock_can_be_stolen_from),
    ("the count is exact", the_count_is_exact),
    ("a record ends once", a_record_ends_once),
];

fn main() {
    for (name, run) in MODELS {
        run();
        println!("{name}: holds");
    }
}

/// Runs a model with this many switches of threads at most where one could go on: beyond three nothing new is found, but time is lost.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// The same for what is done under locks mostly: threads are switched once less, of which there are very many ways.
fn model_of_locks(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}

/// A table of chains with its keys: the key of an element is its hash.
struct Table {
    chains: Chains,
    keys: Box<[AtomicU32]>,
}

impl Table {
    fn new(buckets: usize, slots: u32) -> Table {
        Table { chains: Chains::new(buckets, slots), keys: zeroed32(slots as usize) }
    }

    fn lookup(&self, key: u32) -> Option<u32> {
        self.chains.find(key, |slot| self.keys[slot as usize].load(Ordering::Relaxed) == key)
    }

    fn insert(&self, slot: u32, key: u32) {
        let bucket = self.chains.lock(key);
        self.chains.reuse();
        self.keys[slot as usize].store(key, Ordering::Relaxed);
        bucket.insert(slot, key);
    }

    fn remove(&self, slot: u32, key: u32) {
        assert!(self.chains.lock(key).remove(slot));
    }
}

/// Readers are threads of their own in these models: loom does not switch away from the main thread while it only reads.
///
/// What stays is found, whatever becomes of its neighbours: one is taken out and put into another chain.
fn what_stays_is_found() {
    model(|| {
        let table = Arc::new(Table::new(2, 3));
        table.insert(0, 0);
        table.insert(1, 2);
        let writer = table.clone();
        let writer = thread::spawn(move || {
            writer.remove(1, 2);
            writer.insert(1, 1);
        });
        let reader = table.clone();
        let reader = thread::spawn(move || assert_eq!(reader.lookup(0), Some(0), "behind the one that goes"));
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!([table.lookup(0), table.lookup(2), table.lookup(1)], [Some(0), None, Some(1)]);
    });
}

/// A lookup never finds a slot under a key that it did not have while the lookup ran: it is used again for another key of the same hash bucket.
fn a_slot_that_is_used_again() {
    model(|| {
        let table = Arc::new(Table::new(1, 2));
        table.insert(0, 5);
        let writer = table.clone();
        let writer = thread::spawn(move || {
            writer.remove(0, 5);
            writer.insert(0, 6);
        });
        let (old, new, other) = (table.lookup(5), table.lookup(6), table.lookup(7));
        assert!(matches!(old, None | Some(0)) && matches!(new, None | Some(0)) && other.is_none());
        assert!(new.is_none() || table.lookup(5).is_none(), "once the new key was seen, the old is gone");
        writer.join().unwrap();
        assert_eq!([table.lookup(5), table.lookup(6)], [None, Some(0)]);
    });
}

/// An element that is replaced, new before old as updates do, is there all the time.
fn a_key_that_is_replaced_is_always_there() {
    model(|| {
        let table = Arc::new(Table::new(1, 2));
        table.insert(0, 5);
        let writer = table.clone();
        let writer = thread::spawn(move || {
            let bucket = writer.chains.lock(5);
            writer.chains.reuse();
            writer.keys[1].store(5, Ordering::Relaxed);
            bucket.insert(1, 5);
            assert!(bucket.remove(0));
        });
        let reader = table.clone();
        let reader = thread::spawn(move || assert!(reader.lookup(5).is_some()));
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(table.lookup(5), Some(1));
    });
}

/// Two writers of one bucket.
fn changes_of_a_bucket_exclude_each_other() {
    model(|| {
        let table = Arc::new(Table::new(1, 2));
        let other = table.clone();
        let other = thread::spawn(move || other.insert(1, 1));
        table.insert(0, 0);
        other.join().unwrap();
        assert_eq!([table.lookup(0), table.lookup(1)], [Some(0), Some(1)]);
    });
}

/// Slots of a pool or an LRU with those who have them. Owners write into their slot as into an element's memory: plainly, so that what one wrote
/// is lost if the next one does not see it.
struct Owned {
    owners: Box<[AtomicU32]>,
    uses: Box<[AtomicU32]>,
}

impl Owned {
    fn new(slots: usize) -> Owned {
        Owned { owners: zeroed32(slots), uses: zeroed32(slots) }
    }

    fn begin(&self, slot: u32) {
        assert_eq!(self.owners[slot as usize].fetch_add(1, Ordering::Relaxed), 0, "slot {slot} has an owner");
        let uses = &self.uses[slot as usize];
        uses.store(uses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn end(&self, slot: u32) {
        self.owners[slot as usize].fetch_sub(1, Ordering::Relaxed);
    }

    fn uses(&self) -> u32 {
        self.uses.iter().map(|uses| uses.load(Ordering::Relaxed)).sum()
    }
}

/// No slot is with two threads, though they take from and give back to the same stock, and each sees what the one before did to it.
fn a_slot_is_given_out_once() {
    model(|| {
        let shared = Arc::new((Pool::new(2, 2), Owned::new(2)));
        let work = |(pool, owned): &(Pool, Owned), cpu| {
            let slot = pool.take(cpu).expect("there are two");
            owned.begin(slot);
            owned.end(slot);
            pool.give_back(0, slot);
        };
        let theirs = shared.clone();
        let other = thread::spawn(move || {
            work(&theirs, 1);
            work(&theirs, 0);
        });
        work(&shared, 0);
        other.join().unwrap();
        let (pool, owned) = &*shared;
        assert_eq!(owned.uses(), 3);
        assert!(pool.take(0).is_some() && pool.take(0).is_some() && pool.take(0).is_none());
    });
}

/// A thread that has read which slot is first and which is next, and then sleeps while both are taken and the first one comes back, must not make
/// the next one first: it is somebody's.
fn a_slow_taker_does_not_take_what_came_back() {
    model(|| {
        let shared = Arc::new((Pool::new(3, 1), Owned::new(3)));
        let slots = [(); 3].map(|()| shared.0.take(0).expect("there are three"));
        slots.into_iter().rev().for_each(|slot| shared.0.give_back(0, slot));
        let theirs = shared.clone();
        let other = thread::spawn(move || {
            let (pool, owned) = &*theirs;
            let [first, second] = [(); 2].map(|()| pool.take(0).expect("at most one is away"));
            owned.begin(first);
            owned.begin(second);
            owned.end(first);
            pool.give_back(0, first);
            // It keeps the second one.
        });
        let (pool, owned) = &*shared;
        let slow = pool.take(0).expect("at most two are away");
        owned.begin(slow);
        other.join().unwrap();
        let last = pool.take(0).expect("one is left");
        owned.begin(last);
        assert_eq!(pool.take(0), None);
    });
}

/// An LRU map: what makes room, and its table.
struct Recent {
    lru: Lru,
    table: Table,
    owned: Owned,
}

impl Recent {
    /// Of two slots, for two CPUs.
    fn new() -> Recent {
        Recent { lru: Lru::new(2, 2, true), table: Table::new(1, 2), owned: Owned::new(2) }
    }

    /// Adds an element, if need be in place of another one.
    fn insert(&self, cpu: u32, key: u32) -> Option<u32> {
        let evict = |slot: u32, hash: u32| {
            let gone = self.table.chains.lock(hash).remove(slot);
            if gone {
                self.owned.end(slot);
            }
            gone
        };
        let slot = self.lru.take(cpu, key, &evict)?;
        self.owned.begin(slot);
        self.table.insert(slot, key);
        Some(slot)
    }

    /// Removes an element, if it is there.
    fn remove(&self, slot: u32, key: u32) -> bool {
        let bucket = self.table.chains.lock(key);
        // It may be another element's by now.
        let gone = self.table.keys[slot as usize].load(Ordering::Relaxed) == key && bucket.remove(slot);
        if gone {
            self.owned.end(slot);
        }
        drop(bucket);
        if gone {
            self.lru.give_back(slot);
        }
        gone
    }

    fn keys(&self) -> usize {
        (0..8).filter(|key| self.table.lookup(*key).is_some()).count()
    }
}

/// Two CPUs add to a full map: each gets a slot of its own, and as many elements are there as slots.
fn an_element_makes_room_once() {
    model_of_locks(|| {
        let map = Arc::new(Recent::new());
        map.insert(0, 0).expect("there are two");
        map.insert(1, 1).expect("there are two");
        let other = map.clone();
        let other = thread::spawn(move || other.insert(1, 2));
        let mine = map.insert(0, 3);
        let theirs = other.join().unwrap();
        assert!(mine.is_some() || theirs.is_some(), "one of them finds an element that can go");
        assert!(map.keys() <= 2 && map.keys() >= 1);
    });
}

/// An element is deleted while another CPU needs room.
fn an_element_that_goes_by_itself_makes_room_once() {
    model_of_locks(|| {
        let map = Arc::new(Recent::new());
        let slot = map.insert(0, 0).expect("there are two");
        map.insert(0, 1).expect("there are two");
        let other = map.clone();
        let other = thread::spawn(move || other.remove(slot, 0));
        let mine = map.insert(1, 2);
        other.join().unwrap();
        assert!(mine.is_some(), "there is always one that can go");
        assert_eq!(map.table.lookup(2), mine);
    });
}

/// A CPU steals from another one's stock while that one adds to it, and lookups say what was used.
fn a_stock_can_be_stolen_from() {
    model_of_locks(|| {
        let map = Arc::new(Recent::new());
        let slot = map.insert(0, 0).expect("there are two");
        let other = map.clone();
        let other = thread::spawn(move || {
            other.lru.touch(slot);
            other.insert(0, 1)
        });
        let mine = map.insert(1, 2);
        let theirs = other.join().unwrap();
        assert!(
            mine.is_some() && theirs.is_some(),
            "an element can always go: nobody adds for longer than a lock is held"
        );
        assert!(map.keys() <= 2);
    });
}

/// Never more than there are, and none is lost.
fn the_count_is_exact() {
    model(|| {
        let count = Arc::new(Count::new(2, 2));
        let other = count.clone();
        let other = thread::spawn(move || {
            let taken = [other.take(1), other.take(1)];
            (0..taken.iter().filter(|taken| **taken).count()).for_each(|_| other.give_back(1));
            taken
        });
        let mine = count.take(0);
        let theirs = other.join().unwrap();
        assert!(mine || theirs == [true, true], "there was one for whoever came first");
        let left = usize::from(count.take(0)) + usize::from(count.take(0)) + usize::from(count.take(0));
        assert_eq!(left + usize::from(mine), 2);
    });
}

/// A record ends once, though two threads hand it over; a consumer who sees it done sees its length.
fn a_record_ends_once() {
    model(|| {
        let ring = Arc::new((Reservations::new(64), zeroed32(8)));
        let begin = |at: u32| {
            ring.1[at as usize / 8].store(5 | BUSY, Ordering::Release);
            u64::from(at)
        };
        let header = |at: u32| ring.1[at as usize / 8].load(Ordering::Acquire);
        assert_eq!(ring.0.reserve(5, 0, header, begin, |_| ()), Some(0));
        let end = |ring: &(Reservations, Box<[AtomicU32]>), flag: u32| {
            let ended = ring.0.end(0);
            if ended {
                ring.1[0].store(5 | flag, Ordering::Release);
            }
            ended
        };
        let other = ring.clone();
        let other = thread::spawn(move || end(&other, DISCARD));
        let mine = end(&ring, 0);
        assert!(mine != other.join().unwrap(), "one of them");
        assert_eq!(header(0) & !DISCARD, 5);
        assert!(ring.0.before(16).is_none());
    });
}
