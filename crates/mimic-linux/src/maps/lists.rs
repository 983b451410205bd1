//! `Lists`: doubly linked lists over numbered nodes, each node in one list at a time. What LRU maps keep their order in.

/// Nodes `0..nodes`, and lists with heads of their own behind them.
pub(super) struct Lists {
    prev: Vec<u32>,
    next: Vec<u32>,
    nodes: u32,
}

/// A list's number.
pub(super) type List = u32;

impl Lists {
    /// `lists` empty lists; the nodes are in none.
    pub(super) fn new(nodes: u32, lists: u32) -> Lists {
        let len = (nodes + lists) as usize;
        let mut made = Lists { prev: vec![0; len], next: vec![0; len], nodes };
        for head in nodes..nodes + lists {
            made.prev[head as usize] = head;
            made.next[head as usize] = head;
        }
        made
    }

    /// Puts a node that is in no list at a list's front.
    pub(super) fn push_front(&mut self, list: List, node: u32) {
        let head = self.nodes + list;
        let first = self.next[head as usize];
        self.prev[node as usize] = head;
        self.next[node as usize] = first;
        self.prev[first as usize] = node;
        self.next[head as usize] = node;
    }

    /// Takes a node out of its list.
    pub(super) fn unlink(&mut self, node: u32) {
        let (prev, next) = (self.prev[node as usize], self.next[node as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    /// The first node of a list.
    pub(super) fn first(&self, list: List) -> Option<u32> {
        self.node(self.next[(self.nodes + list) as usize])
    }

    /// The last node of a list.
    pub(super) fn last(&self, list: List) -> Option<u32> {
        self.node(self.prev[(self.nodes + list) as usize])
    }

    /// The node before one.
    pub(super) fn before(&self, node: u32) -> Option<u32> {
        self.node(self.prev[node as usize])
    }

    /// The place before a place: a node, or a list's head, which is before its first node and after its last.
    pub(super) fn place_before(&self, place: u32) -> u32 {
        self.prev[place as usize]
    }

    /// The place after a place.
    pub(super) fn place_after(&self, place: u32) -> u32 {
        self.next[place as usize]
    }

    /// The place of a list's head.
    pub(super) fn head(&self, list: List) -> u32 {
        self.nodes + list
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
        let mut lists = Lists::new(4, 2);
        (0..3).for_each(|node| lists.push_front(0, node));
        assert_eq!((lists.first(0), lists.last(0), lists.first(1)), (Some(2), Some(0), None));
        lists.unlink(1);
        lists.push_front(1, 1);
        assert_eq!((lists.before(0), lists.before(2), lists.last(1)), (Some(2), None, Some(1)));
        assert_eq!(lists.place_before(lists.head(1)), 1);
    }
}
