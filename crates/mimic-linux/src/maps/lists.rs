//! `Lists`: doubly linked lists over numbered nodes, each node in one list at a time. What LRU maps keep their order in.
//!
//! Whoever changes a list, or a node in it, holds that list's lock, which is the caller's business; different lists can be changed at the same
//! time.

use super::sync::{AtomicU32, Ordering, zeroed32};

/// Nodes `0..nodes`, and lists with heads of their own behind them.
pub(super) struct Lists {
    /// For each node and head the one before it and the one after it.
    links: Box<[AtomicU32]>,
    nodes: u32,
}

/// A list's number.
pub(super) type List = u32;

/// The lists of one lock are numbered from a multiple of this on, so that their heads share no cache line with others.
pub(super) const GROUP: u32 = 16;

impl Lists {
    /// Empty lists, in so many groups; the nodes are in none.
    pub(super) fn new(nodes: u32, groups: u32) -> Lists {
        let len = nodes.next_multiple_of(GROUP) + groups * GROUP;
        let lists = Lists { links: zeroed32(2 * len as usize), nodes: nodes.next_multiple_of(GROUP) };
        for head in lists.nodes..len {
            lists.set_prev(head, head);
            lists.set_next(head, head);
        }
        lists
    }

    /// Puts a node that is in no list at a list's front.
    pub(super) fn push_front(&self, list: List, node: u32) {
        let head = self.head(list);
        let first = self.place_after(head);
        self.set_prev(node, head);
        self.set_next(node, first);
        self.set_prev(first, node);
        self.set_next(head, node);
    }

    /// Takes a node out of its list.
    pub(super) fn unlink(&self, node: u32) {
        let (prev, next) = (self.place_before(node), self.place_after(node));
        self.set_next(prev, next);
        self.set_prev(next, prev);
    }

    /// Takes the first node out of a list.
    pub(super) fn pop(&self, list: List) -> Option<u32> {
        let node = self.first(list)?;
        self.unlink(node);
        Some(node)
    }

    /// The first node of a list.
    pub(super) fn first(&self, list: List) -> Option<u32> {
        self.node(self.place_after(self.head(list)))
    }

    /// The last node of a list.
    pub(super) fn last(&self, list: List) -> Option<u32> {
        self.node(self.place_before(self.head(list)))
    }

    /// The node before one.
    pub(super) fn before(&self, node: u32) -> Option<u32> {
        self.node(self.place_before(node))
    }

    /// The place before a place: a node, or a list's head, which is before its first node and after its last.
    pub(super) fn place_before(&self, place: u32) -> u32 {
        self.links[2 * place as usize].load(Ordering::Relaxed)
    }

    /// The place after a place.
    pub(super) fn place_after(&self, place: u32) -> u32 {
        self.links[2 * place as usize + 1].load(Ordering::Relaxed)
    }

    /// The place of a list's head.
    pub(super) fn head(&self, list: List) -> u32 {
        self.nodes + list
    }

    fn set_prev(&self, place: u32, prev: u32) {
        self.links[2 * place as usize].store(prev, Ordering::Relaxed);
    }

    fn set_next(&self, place: u32, next: u32) {
        self.links[2 * place as usize + 1].store(next, Ordering::Relaxed);
    }

    fn node(&self, place: u32) -> Option<u32> {
        (place < self.nodes).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_back_and_middle() {
        let lists = Lists::new(4, 2);
        let (a, b) = (0, GROUP);
        (0..3).for_each(|node| lists.push_front(a, node));
        assert_eq!((lists.first(a), lists.last(a), lists.first(b)), (Some(2), Some(0), None));
        lists.unlink(1);
        lists.push_front(b, 1);
        assert_eq!((lists.before(0), lists.before(2), lists.last(b)), (Some(2), None, Some(1)));
        assert_eq!(lists.place_before(lists.head(b)), 1);
        assert_eq!([lists.pop(a), lists.pop(a), lists.pop(a)], [Some(2), Some(0), None]);
    }
}
