//! The row type of map types: what one takes to be made, which operations it has, since when, and how well it is supported.
//!
//! A row is data; the map's code is the platform's. Creation checks, the verifier's compatibility checks, listings and
//! documentation read it. Operations are named after bpf-helpers(7) and bpf(2).

use crate::{KernelVersion, MapType, Support};

/// One map type.
#[derive(Clone, Copy, Debug)]
pub struct MapTypeSpec {
    /// Which.
    pub kind: MapType,
    /// The release that brought it.
    pub since: KernelVersion,
    /// What `key_size` may be.
    pub key: SizeRule,
    /// What `value_size` may be.
    pub value: SizeRule,
    /// What `max_entries` may be.
    pub entries: EntriesRule,
    /// The creation flags that it takes.
    pub flags: u32,
    /// Those without which it is not made.
    pub flags_required: u32,
    /// What programs may do with it.
    pub prog_ops: MapOps,
    /// What bpf(2) may do with it.
    pub user_ops: MapOps,
    /// How much of it mimic does.
    pub support: Support,
    /// What it is, in one line.
    pub doc: &'static str,
}

impl MapTypeSpec {
    /// A fully supported type with keys and values of any size but 0, there since 3.19 (when maps began), without operations;
    /// refine with the methods below.
    pub const fn new(kind: MapType, doc: &'static str) -> MapTypeSpec {
        MapTypeSpec {
            kind,
            since: KernelVersion::new(3, 19),
            key: SizeRule::SOME,
            value: SizeRule::SOME,
            entries: EntriesRule::Some,
            flags: 0,
            flags_required: 0,
            prog_ops: MapOps::NONE,
            user_ops: MapOps::NONE,
            support: Support::Full,
            doc,
        }
    }

    /// Sets the release that brought it.
    pub const fn since(mut self, major: u16, minor: u16) -> MapTypeSpec {
        self.since = KernelVersion::new(major, minor);
        self
    }

    /// Sets what `key_size` may be.
    pub const fn key(mut self, rule: SizeRule) -> MapTypeSpec {
        self.key = rule;
        self
    }

    /// Sets what `value_size` may be.
    pub const fn value(mut self, rule: SizeRule) -> MapTypeSpec {
        self.value = rule;
        self
    }

    /// Sets what `max_entries` may be.
    pub const fn entries(mut self, rule: EntriesRule) -> MapTypeSpec {
        self.entries = rule;
        self
    }

    /// Sets the creation flags that it takes.
    pub const fn flags(mut self, flags: u32) -> MapTypeSpec {
        self.flags = flags;
        self
    }

    /// Sets the creation flags that it must have; it takes them too.
    pub const fn requires(mut self, flags: u32) -> MapTypeSpec {
        self.flags_required = flags;
        self.flags |= flags;
        self
    }

    /// Sets what programs, and what bpf(2), may do with it.
    pub const fn ops(mut self, prog: MapOps, user: MapOps) -> MapTypeSpec {
        self.prog_ops = prog;
        self.user_ops = user;
        self
    }

    /// Sets the support level.
    pub const fn support(mut self, support: Support) -> MapTypeSpec {
        self.support = support;
        self
    }
}

/// What a size in bytes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRule {
    /// One of these.
    OneOf(&'static [u32]),
    /// From the first to the second.
    Range(u32, u32),
}

impl SizeRule {
    /// Anything but 0.
    pub const SOME: SizeRule = SizeRule::Range(1, u32::MAX);
    /// 0: there is none.
    pub const NONE: SizeRule = SizeRule::OneOf(&[0]);
    /// 4: an index, an id, a descriptor.
    pub const WORD: SizeRule = SizeRule::OneOf(&[4]);

    /// Whether `size` is one.
    pub fn allows(self, size: u32) -> bool {
        match self {
            SizeRule::OneOf(sizes) => sizes.contains(&size),
            SizeRule::Range(min, max) => (min..=max).contains(&size),
        }
    }
}

/// What `max_entries` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntriesRule {
    /// Anything but 0.
    Some,
    /// From 1 to this.
    UpTo(u32),
    /// 0: there is no limit.
    Zero,
    /// A number of bytes: a power of two and a multiple of the page length.
    RingBytes,
}

impl EntriesRule {
    /// Whether `entries` is one, with pages of `page_len` bytes.
    pub fn allows(self, entries: u32, page_len: u32) -> bool {
        match self {
            EntriesRule::Some => entries > 0,
            EntriesRule::UpTo(max) => (1..=max).contains(&entries),
            EntriesRule::Zero => entries == 0,
            EntriesRule::RingBytes => entries.is_power_of_two() && entries.is_multiple_of(page_len),
        }
    }
}

/// Operations on a map, a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MapOps(pub u32);

impl MapOps {
    /// The empty set.
    pub const NONE: MapOps = MapOps(0);
    /// Finding the value of a key.
    pub const LOOKUP: MapOps = MapOps(1);
    /// Setting the value of a key.
    pub const UPDATE: MapOps = MapOps(1 << 1);
    /// Removing a key.
    pub const DELETE: MapOps = MapOps(1 << 2);
    /// Adding an element without a key.
    pub const PUSH: MapOps = MapOps(1 << 3);
    /// Taking the next element.
    pub const POP: MapOps = MapOps(1 << 4);
    /// Looking at the next element; asking a Bloom filter.
    pub const PEEK: MapOps = MapOps(1 << 5);
    /// `bpf_for_each_map_elem`.
    pub const FOR_EACH: MapOps = MapOps(1 << 6);
    /// `bpf_tail_call`.
    pub const TAIL_CALL: MapOps = MapOps(1 << 7);
    /// `bpf_redirect_map` and its relatives.
    pub const REDIRECT: MapOps = MapOps(1 << 8);
    /// Writing records that users read: ring buffers, perf events.
    pub const OUTPUT: MapOps = MapOps(1 << 9);
    /// Reading records that users write.
    pub const DRAIN: MapOps = MapOps(1 << 10);
    /// Walking the keys.
    pub const NEXT_KEY: MapOps = MapOps(1 << 11);
    /// Taking the value of a key out.
    pub const LOOKUP_AND_DELETE: MapOps = MapOps(1 << 12);
    /// The batch forms of the operations that are in the set (of `UPDATE` and `LOOKUP` for arrays).
    pub const BATCH: MapOps = MapOps(1 << 13);
    /// Lookup, update and delete.
    pub const ELEM: MapOps = MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::DELETE);

    const WORDS: &'static [(MapOps, &'static str)] = &[
        (MapOps::LOOKUP, "lookup"),
        (MapOps::UPDATE, "update"),
        (MapOps::DELETE, "delete"),
        (MapOps::PUSH, "push"),
        (MapOps::POP, "pop"),
        (MapOps::PEEK, "peek"),
        (MapOps::FOR_EACH, "for_each"),
        (MapOps::TAIL_CALL, "tail_call"),
        (MapOps::REDIRECT, "redirect"),
        (MapOps::OUTPUT, "output"),
        (MapOps::DRAIN, "drain"),
        (MapOps::NEXT_KEY, "next_key"),
        (MapOps::LOOKUP_AND_DELETE, "lookup_and_delete"),
        (MapOps::BATCH, "batch"),
    ];

    /// Union.
    pub const fn and(self, other: MapOps) -> MapOps {
        MapOps(self.0 | other.0)
    }

    /// Whether every operation of `other` is in the set.
    pub const fn has(self, other: MapOps) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the operations, for listings.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        MapOps::WORDS.iter().filter(move |(op, _)| self.has(*op)).map(|(_, word)| *word)
    }
}
