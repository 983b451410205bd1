//! LPM_TRIE: prefixes, looked up by the longest that matches. Documentation/bpf/map_lpm_trie.rst.
//!
//! A binary trie with compressed paths, as the kernel's: its shape decides the order of `next_key`. Nodes are in host memory,
//! values in guest memory. Lookups take no lock: they read a change count before and after, and look again if it moved; only
//! after many changes in a row do they wait for the writer.

use super::array::value_access;
use super::front::{LinuxMap, Ops};
use super::{Maker, SLOTS_MAX, word, word_bytes};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mimic_abi::uapi::update_flags::{BPF_EXIST, BPF_NOEXIST};
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::{Layout, Part, zeroed64};
use mimic_vm::{Map, MapError, Region};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_LPM_TRIE`.
pub struct LpmTrie {
    values: Region,
    order: ByteOrder,
    entries_max: u32,
    /// Bytes from one value to the next.
    stride: u32,
    /// Bytes of a key's data, after the prefix length.
    data_len: usize,
    /// Words of a key's data.
    words: usize,
    nodes: Box<[AtomicU64]>,
    /// The root node plus 1.
    root: AtomicU32,
    /// Odd while a writer is at work.
    changes: AtomicU32,
    writer: Mutex<Writer>,
}

struct Writer {
    /// Nodes that are keys.
    entries: u32,
    /// Nodes that were taken out, the longest ago first.
    free: VecDeque<u32>,
    /// From here on no node was ever used.
    fresh: u32,
    /// How many nodes there are.
    nodes: u32,
}

/// Where a node hangs.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Child(u32, bool),
}

/// Of a node's words: the children plus 1, low and high; the prefix length with flags; then the key's data, big-endian.
const CHILDREN: usize = 0;
const PREFIX: usize = 1;
const DATA: usize = 2;
/// A node that is no key: it has two children. The kernel's `LPM_TREE_NODE_FLAG_IM`.
const INTERMEDIATE: u64 = 1 << 32;
/// How many nodes are kept unused as long as others are to be had: the kernel, too, uses a node again only when no program can
/// know its value any more.
const GRACE: u32 = 64;
/// How often a lookup tries without the lock.
const TRIES: u32 = 64;
/// Words of the longest key: 256 bytes.
const WORDS_MAX: usize = 32;
/// Tries are made without preallocation, for more entries than they will ever hold. This many bytes of values, or of nodes, is where
/// adding one answers `ENOMEM`.
const BYTES_MAX: u64 = 512 << 20;

impl LpmTrie {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let stride = spec.value_size.checked_next_multiple_of(8).unwrap_or(u32::MAX);
        let words = (spec.key_size as usize - 4).div_ceil(8);
        let node_len = (DATA + words) as u64 * 8;
        let room = (BYTES_MAX / u64::from(stride).max(node_len)).clamp(2, u64::from(SLOTS_MAX)) as u32;
        // As many intermediate nodes as keys, at most.
        let slots = spec.max_entries.saturating_mul(2).saturating_add(GRACE).min(room);
        let part = Part { off: 0, len: spec.value_size, access: value_access(spec) };
        let layout = Layout::Slab { stride, parts: [part].into() };
        let values = maker.region("value", u64::from(slots) * u64::from(stride), layout)?;
        let data_len = spec.key_size as usize - 4;
        let trie = LpmTrie {
            values,
            order: maker.order(),
            entries_max: spec.max_entries,
            stride,
            data_len,
            words,
            nodes: zeroed64(slots as usize * (DATA + words)),
            root: AtomicU32::new(0),
            changes: AtomicU32::new(0),
            writer: Mutex::new(Writer { entries: 0, free: VecDeque::new(), fresh: 0, nodes: slots }),
        };
        Ok(LinuxMap::make(spec, spec.value_size as usize, trie))
    }

    fn prefix_max(&self) -> u32 {
        self.data_len as u32 * 8
    }

    /// Splits a key into prefix length and words, and hands them on.
    #[inline]
    fn with_key<T>(&self, key: &[u8], then: impl FnOnce(u32, &[u64]) -> T) -> Result<T, Errno> {
        let len = word(key, self.order)?;
        let data = key.get(4..4 + self.data_len).ok_or(Errno::EINVAL)?;
        Ok(match data {
            [a, b, c, d] => then(len, &[u64::from(u32::from_be_bytes([*a, *b, *c, *d])) << 32]),
            _ if self.words <= 2 => then(len, &big_endian::<2>(data)[..self.words]),
            _ => then(len, &big_endian::<WORDS_MAX>(data)[..self.words]),
        })
    }

    #[inline]
    fn node(&self, node: u32, word: usize) -> u64 {
        self.nodes[node as usize * (DATA + self.words) + word].load(Ordering::Relaxed)
    }

    fn set_node(&self, node: u32, word: usize, value: u64) {
        self.nodes[node as usize * (DATA + self.words) + word].store(value, Ordering::Relaxed);
    }

    #[inline]
    fn child(&self, node: u32, right: bool) -> Option<u32> {
        let children = self.node(node, CHILDREN);
        (if right { (children >> 32) as u32 } else { children as u32 }).checked_sub(1)
    }

    fn prefix(&self, node: u32) -> u32 {
        self.node(node, PREFIX) as u32
    }

    fn is_key(&self, node: u32) -> bool {
        self.node(node, PREFIX) & INTERMEDIATE == 0
    }

    fn node_at(&self, link: Link) -> Option<u32> {
        match link {
            Link::Root => self.root.load(Ordering::Relaxed).checked_sub(1),
            Link::Child(node, right) => self.child(node, right),
        }
    }

    fn set_link(&self, link: Link, to: Option<u32>) {
        let to = to.map_or(0, |node| node + 1);
        match link {
            Link::Root => self.root.store(to, Ordering::Relaxed),
            Link::Child(node, right) => {
                let children = self.node(node, CHILDREN);
                let children = if right {
                    children & 0xffff_ffff | u64::from(to) << 32
                } else {
                    children & !0xffff_ffff | u64::from(to)
                };
                self.set_node(node, CHILDREN, children);
            }
        }
    }

    /// How many leading bits the node and the key have in common, up to both prefix lengths.
    #[inline]
    fn common(&self, node: u32, len: u32, words: &[u64]) -> u32 {
        let limit = self.prefix(node).min(len);
        let mut bits = 0;
        for (at, word) in words.iter().enumerate() {
            let differ = self.node(node, DATA + at) ^ word;
            if differ != 0 {
                return (bits + differ.leading_zeros()).min(limit);
            }
            bits += 64;
            if bits >= limit {
                break;
            }
        }
        limit
    }

    /// The node of the longest prefix that matches. None too when a writer got in the way.
    #[inline]
    fn longest(&self, len: u32, words: &[u64]) -> Option<u32> {
        let mut found = None;
        let mut next = self.node_at(Link::Root);
        // Only while a writer is at work can a path be longer than a key has bits.
        for _ in 0..=self.prefix_max() {
            let Some(node) = next else { break };
            let common = self.common(node, len, words);
            let prefix = self.node(node, PREFIX);
            if common == self.prefix_max() {
                return Some(node);
            }
            if common < prefix as u32 {
                break;
            }
            if prefix & INTERMEDIATE == 0 {
                found = Some(node);
            }
            next = self.child(node, bit(words, prefix as u32));
        }
        found
    }

    /// `longest` in a trie that stood still meanwhile.
    #[inline]
    fn find(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        self.with_key(key, |len, words| {
            if len > self.prefix_max() {
                return None;
            }
            for _ in 0..TRIES {
                let before = self.changes.load(Ordering::Acquire);
                if before & 1 == 0 {
                    let found = self.longest(len, words);
                    fence(Ordering::Acquire);
                    if self.changes.load(Ordering::Relaxed) == before {
                        return found;
                    }
                }
                core::hint::spin_loop();
            }
            let _writer = self.lock();
            self.longest(len, words)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the trie while lookups know of it.
    fn change<T>(&self, edit: impl FnOnce() -> T) -> T {
        self.changes.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        let answer = edit();
        self.changes.fetch_add(1, Ordering::Release);
        answer
    }

    fn off(&self, node: u32) -> u32 {
        node * self.stride
    }

    /// A node that nothing leads to yet. Lookups that are still on its last life see the change count move.
    fn new_node(&self, writer: &mut Writer, prefix: u64, words: &[u64], children: u64) -> Result<u32, Errno> {
        let node = writer.take().ok_or(Errno::ENOMEM)?;
        self.set_node(node, CHILDREN, children);
        self.set_node(node, PREFIX, prefix);
        for (at, word) in words.iter().enumerate() {
            self.set_node(node, DATA + at, *word);
        }
        Ok(node)
    }

    /// The kernel's walk to where a key is or belongs: the last link, and how many bits its node has in common with the key.
    fn descend(&self, len: u32, words: &[u64], to_add: bool) -> (Link, u32, Option<(Link, u32)>) {
        let (mut link, mut common, mut parent) = (Link::Root, 0, None);
        while let Some(node) = self.node_at(link) {
            common = self.common(node, len, words);
            let prefix = self.prefix(node);
            if prefix != common || prefix == len || (to_add && prefix == self.prefix_max()) {
                break;
            }
            parent = Some((link, node));
            link = Link::Child(node, bit(words, prefix));
        }
        (link, common, parent)
    }

    fn insert(&self, len: u32, words: &[u64], value: &[u8], flags: u64) -> Result<(), Errno> {
        let mut writer = self.lock();
        let (link, common, _) = self.descend(len, words, true);
        let old = self.node_at(link);
        let replaced = old.filter(|node| self.prefix(*node) == common);
        if replaced.is_some_and(|node| self.is_key(node)) {
            if flags == BPF_NOEXIST {
                return Err(Errno::EEXIST);
            }
        } else if flags == BPF_EXIST {
            return Err(Errno::ENOENT);
        } else if writer.entries == self.entries_max {
            return Err(Errno::ENOSPC);
        } else {
            writer.entries += 1;
        }
        let added = self.change(|| {
            let children = replaced.map_or(0, |node| self.node(node, CHILDREN));
            let new = self.new_node(&mut writer, u64::from(len), words, children)?;
            self.values.write(self.off(new), value);
            self.hang(&mut writer, new, link, common)
        });
        if added.is_err() {
            writer.entries -= u32::from(!replaced.is_some_and(|node| self.is_key(node)));
        }
        added
    }

    /// Hangs a new node at `link`: instead of, above or beside the node that is there and has `common` bits in common with it.
    fn hang(&self, writer: &mut Writer, new: u32, link: Link, common: u32) -> Result<(), Errno> {
        let Some(old) = self.node_at(link) else {
            self.set_link(link, Some(new));
            return Ok(());
        };
        if self.prefix(old) == common {
            self.set_link(link, Some(new));
            self.free(writer, old);
        } else if self.prefix(new) == common {
            self.set_link(Link::Child(new, self.bit_of(old, common)), Some(old));
            self.set_link(link, Some(new));
        } else {
            let data: Vec<u64> = (0..self.words).map(|at| self.node(old, DATA + at)).collect();
            let fork = self.new_node(writer, u64::from(common) | INTERMEDIATE, &data, 0);
            let fork = fork.inspect_err(|_| writer.free.push_back(new))?;
            let right = self.bit_of(new, common);
            self.set_link(Link::Child(fork, right), Some(new));
            self.set_link(Link::Child(fork, !right), Some(old));
            self.set_link(link, Some(fork));
        }
        Ok(())
    }

    fn remove_key(&self, len: u32, words: &[u64]) -> Result<(), Errno> {
        let mut writer = self.lock();
        let (link, common, parent) = self.descend(len, words, false);
        let node = self.node_at(link).ok_or(Errno::ENOENT)?;
        if self.prefix(node) != len || common != len || !self.is_key(node) {
            return Err(Errno::ENOENT);
        }
        writer.entries -= 1;
        self.change(|| {
            let (left, right) = (self.child(node, false), self.child(node, true));
            match (left, right, parent) {
                (Some(_), Some(_), _) => self.set_node(node, PREFIX, u64::from(len) | INTERMEDIATE),
                (None, None, Some((above, parent))) if !self.is_key(parent) => {
                    let Link::Child(_, side) = link else { return };
                    self.set_link(above, self.child(parent, !side));
                    self.free(&mut writer, parent);
                    self.free(&mut writer, node);
                }
                (child, None, _) | (None, child, _) => {
                    self.set_link(link, child);
                    self.free(&mut writer, node);
                }
            }
        });
        Ok(())
    }

    /// A node that was taken out. Whoever still has the address of its value reads what the memory's hygiene setting leaves.
    fn free(&self, writer: &mut Writer, node: u32) {
        self.values.recycle(self.off(node), self.stride);
        writer.free.push_back(node);
    }

    fn bit_of(&self, node: u32, at: u32) -> bool {
        self.node(node, DATA + at as usize / 64) >> (63 - at % 64) & 1 != 0
    }

    /// The key after `key` in postorder: longer prefixes before those that hold them.
    fn after(&self, key: Option<(u32, &[u64])>) -> Result<u32, Errno> {
        let root = self.node_at(Link::Root).ok_or(Errno::ENOENT)?;
        let Some((len, words)) = key.filter(|(len, _)| *len <= self.prefix_max()) else {
            return Ok(self.leftmost(root));
        };
        let mut path = vec![];
        let (mut next, mut common) = (Some(root), 0);
        while let Some(node) = next {
            path.push(node);
            common = self.common(node, len, words);
            let prefix = self.prefix(node);
            if prefix != common || prefix == len {
                break;
            }
            next = self.child(node, bit(words, prefix));
        }
        let found = next.filter(|node| self.prefix(*node) == common && self.is_key(*node));
        if found.is_none() {
            return Ok(self.leftmost(root));
        }
        for pair in path.windows(2).rev() {
            let [parent, node] = *pair else { continue };
            if self.child(parent, false) == Some(node)
                && let Some(right) = self.child(parent, true)
            {
                return Ok(self.leftmost(right));
            }
            if self.is_key(parent) {
                return Ok(parent);
            }
        }
        Err(Errno::ENOENT)
    }

    /// The first key in postorder below a node.
    fn leftmost(&self, node: u32) -> u32 {
        let mut at = node;
        while let Some(next) = self.child(at, false).or_else(|| self.child(at, true)) {
            at = next;
        }
        at
    }

    fn key_of(&self, node: u32) -> Vec<u8> {
        let mut key = word_bytes(self.prefix(node), self.order).to_vec();
        key.extend((0..self.words).flat_map(|at| self.node(node, DATA + at).to_be_bytes()));
        key.truncate(4 + self.data_len);
        key
    }
}

impl Writer {
    /// A node that nothing leads to.
    fn take(&mut self) -> Option<u32> {
        if self.free.len() as u32 >= GRACE || self.fresh == self.nodes {
            return self.free.pop_front();
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }
}

/// Bit `at` of a key, counted from the first byte's highest.
#[inline]
fn bit(words: &[u64], at: u32) -> bool {
    words.get(at as usize / 64).is_some_and(|word| word >> (63 - at % 64) & 1 != 0)
}

fn big_endian<const WORDS: usize>(data: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(data.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_be_bytes(whole);
    }
    words
}

impl Ops for LpmTrie {
    const BATCH: bool = true;
    const BATCH_DELETE: bool = true;

    fn lookup(&self, _cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let found = self.find(key)?;
        Ok(found.map(|node| self.values.base() + u64::from(self.off(node))))
    }

    fn update(&self, _cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        self.with_key(key, |len, words| {
            if len > self.prefix_max() { Err(Errno::EINVAL) } else { self.insert(len, words, value, flags) }
        })?
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        self.with_key(key, |len, words| {
            if len > self.prefix_max() { Err(Errno::EINVAL) } else { self.remove_key(len, words) }
        })?
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let _writer = self.lock();
        let next = match key {
            None => self.after(None),
            Some(key) => self.with_key(key, |len, words| self.after(Some((len, words))))?,
        };
        Ok(self.key_of(next?))
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let _writer = self.lock();
        let found = self.with_key(key, |len, words| {
            (len <= self.prefix_max()).then(|| self.longest(len, words)).flatten()
        })?;
        self.values.read(self.off(found.ok_or(Errno::ENOENT)?), value);
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.update(0, key, value, flags)
    }
}
