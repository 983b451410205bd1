//! `Links`: which node is in which list or tree, and where.

use super::take_pointer;
use super::tree::Tree;
use mimic_object::FieldKind;
use mimic_vm::Region;
use std::collections::{HashMap, VecDeque};

/// All lists and trees, by the address of their `struct bpf_list_head` or `bpf_rb_root`.
#[derive(Default)]
pub(super) struct Links {
    lists: HashMap<u64, VecDeque<u64>>,
    trees: HashMap<u64, Tree>,
    /// What each node that is in one is in: a list's or tree's address, or `CLAIMED`.
    owners: HashMap<u64, u64>,
}

/// The owner of a node whose place in a tree is being looked for.
const CLAIMED: u64 = u64::MAX;

impl Links {
    /// False if the node is in a list or tree.
    pub(super) fn push(&mut self, head: u64, node: u64, back: bool) -> bool {
        if self.owners.contains_key(&node) {
            return false;
        }
        self.owners.insert(node, head);
        let list = self.lists.entry(head).or_default();
        if back {
            list.push_back(node)
        } else {
            list.push_front(node)
        }
        true
    }

    pub(super) fn pop(&mut self, head: u64, back: bool) -> Option<u64> {
        let list = self.lists.get_mut(&head)?;
        let node = if back { list.pop_back() } else { list.pop_front() }?;
        if list.is_empty() {
            self.lists.remove(&head);
        }
        self.owners.remove(&node);
        Some(node)
    }

    pub(super) fn end(&self, head: u64, back: bool) -> Option<u64> {
        let list = self.lists.get(&head)?;
        if back { list.back() } else { list.front() }.copied()
    }

    /// False if the node is in a list or tree.
    pub(super) fn claim(&mut self, node: u64) -> bool {
        let free = !self.owners.contains_key(&node);
        if free {
            self.owners.insert(node, CLAIMED);
        }
        free
    }

    pub(super) fn link(&mut self, root: u64, node: u64, parent: Option<u64>, left: bool) -> bool {
        if self.owners.get(&node) != Some(&CLAIMED) {
            return false;
        }
        let linked = self.trees.entry(root).or_default().insert(node, parent, left);
        if linked {
            self.owners.insert(node, root);
        } else {
            self.owners.remove(&node);
        }
        linked
    }

    pub(super) fn unlink(&mut self, root: u64, node: u64) -> bool {
        if self.owners.get(&node) != Some(&root) {
            return false;
        }
        let Some(tree) = self.trees.get_mut(&root) else { return false };
        if !tree.remove(node) {
            return false;
        }
        if tree.top().is_none() {
            self.trees.remove(&root);
        }
        self.owners.remove(&node);
        true
    }

    pub(super) fn top(&self, root: u64) -> Option<u64> {
        self.trees.get(&root)?.top()
    }

    pub(super) fn first(&self, root: u64) -> Option<u64> {
        self.trees.get(&root)?.first()
    }

    pub(super) fn below(&self, root: u64, node: u64, left: bool) -> Option<u64> {
        self.trees.get(&root)?.below(node, left)
    }

    /// Empties a field at `off` of a region; what hung on it goes to `work`. A node is taken out of what it is in.
    pub(super) fn empty(&mut self, region: &Region, off: u32, kind: FieldKind, work: &mut Vec<u64>) {
        let addr = region.base() + u64::from(off);
        match kind {
            FieldKind::Kptr | FieldKind::PercpuKptr if addr.is_multiple_of(8) => {
                work.extend(Some(take_pointer(region, off)).filter(|pointer| *pointer != 0));
            }
            FieldKind::ListHead => {
                let list = self.lists.remove(&addr).unwrap_or_default();
                self.give(list.into(), work);
            }
            FieldKind::RbRoot => {
                let tree = self.trees.remove(&addr).unwrap_or_default();
                self.give(tree.into_nodes(), work);
            }
            FieldKind::ListNode => {
                if let Some(head) = self.owners.remove(&addr)
                    && let Some(list) = self.lists.get_mut(&head)
                {
                    list.retain(|node| *node != addr);
                }
            }
            FieldKind::RbNode => {
                if let Some(root) = self.owners.get(&addr).copied() {
                    self.unlink(root, addr);
                    self.owners.remove(&addr);
                }
            }
            _ => {}
        }
    }

    /// The nodes of a list or tree that is no more.
    fn give(&mut self, nodes: Vec<u64>, work: &mut Vec<u64>) {
        // What was first goes first: work is done from its end.
        for node in nodes.into_iter().rev() {
            self.owners.remove(&node);
            work.push(node);
        }
    }
}
