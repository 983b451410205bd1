//! `Tree`: a red-black tree of nodes by address, as textbooks have it (Cormen et al., chapter 13), with the kernel's choices where they leave
//! one: the successor takes the place of a node with two children. Programs see its shape (`bpf_rbtree_left`), and which nodes an insertion is
//! compared with. Documentation/core-api/rbtree.rst.

use std::collections::HashMap;

/// A tree. 0 stands for no node.
#[derive(Default)]
pub(super) struct Tree {
    root: u64,
    nodes: HashMap<u64, Node>,
}

#[derive(Clone, Copy, Default)]
struct Node {
    parent: u64,
    left: u64,
    right: u64,
    red: bool,
}

fn some(node: u64) -> Option<u64> {
    (node != 0).then_some(node)
}

impl Tree {
    /// The node at the top.
    pub(super) fn top(&self) -> Option<u64> {
        some(self.root)
    }

    /// The leftmost node.
    pub(super) fn first(&self) -> Option<u64> {
        some(self.leftmost(self.root))
    }

    /// The node below another.
    pub(super) fn below(&self, node: u64, left: bool) -> Option<u64> {
        let node = self.nodes.get(&node)?;
        some(if left { node.left } else { node.right })
    }

    /// All nodes, children before their parents.
    pub(super) fn into_nodes(self) -> Vec<u64> {
        let (mut nodes, mut work) = (Vec::with_capacity(self.nodes.len()), vec![self.root]);
        while let Some(at) = work.pop() {
            if at != 0 {
                nodes.push(at);
                let node = self.node(at);
                work.extend([node.left, node.right]);
            }
        }
        nodes.reverse();
        nodes
    }

    /// Puts a node below `parent`, or at the top. False if that place is taken, or the parent is not here.
    pub(super) fn insert(&mut self, node: u64, parent: Option<u64>, left: bool) -> bool {
        let free = match parent {
            None => self.root == 0,
            Some(parent) => self.nodes.contains_key(&parent) && self.below(parent, left).is_none(),
        };
        if !free || self.nodes.contains_key(&node) {
            return false;
        }
        let parent = parent.unwrap_or(0);
        self.nodes.insert(node, Node { parent, red: true, ..Node::default() });
        self.set_child(parent, left, node);
        self.mend_insert(node);
        true
    }

    /// Takes a node out. False if it is not here.
    pub(super) fn remove(&mut self, node: u64) -> bool {
        let Some(Node { left, right, red, .. }) = self.nodes.get(&node).copied() else { return false };
        // The child that moves up, where it then is, and the colour that went.
        let (child, parent, gone_red);
        if left == 0 || right == 0 {
            child = if left == 0 { right } else { left };
            parent = self.node(node).parent;
            gone_red = red;
            self.replace(node, child);
        } else {
            let successor = self.leftmost(right);
            child = self.node(successor).right;
            gone_red = self.node(successor).red;
            if successor == right {
                parent = successor;
            } else {
                parent = self.node(successor).parent;
                self.replace(successor, child);
                self.set_child(successor, false, right);
            }
            self.replace(node, successor);
            self.set_child(successor, true, left);
            self.node_mut(successor).red = red;
        }
        self.nodes.remove(&node);
        if !gone_red {
            self.mend_remove(child, parent);
        }
        true
    }

    fn node(&self, at: u64) -> Node {
        self.nodes.get(&at).copied().unwrap_or_default()
    }

    fn node_mut(&mut self, at: u64) -> &mut Node {
        self.nodes.entry(at).or_default()
    }

    fn is_red(&self, at: u64) -> bool {
        at != 0 && self.node(at).red
    }

    fn leftmost(&self, mut at: u64) -> u64 {
        while at != 0 && self.node(at).left != 0 {
            at = self.node(at).left;
        }
        at
    }

    fn is_left(&self, at: u64) -> bool {
        self.node(self.node(at).parent).left == at
    }

    /// Makes `child` (or nothing) a child of `parent`, or the root if there is none.
    fn set_child(&mut self, parent: u64, left: bool, child: u64) {
        match parent {
            0 => self.root = child,
            parent if left => self.node_mut(parent).left = child,
            parent => self.node_mut(parent).right = child,
        }
        if child != 0 {
            self.node_mut(child).parent = parent;
        }
    }

    /// Puts `new` (or nothing) where `old` is.
    fn replace(&mut self, old: u64, new: u64) {
        let parent = self.node(old).parent;
        let left = parent != 0 && self.is_left(old);
        self.set_child(parent, left, new);
    }

    /// Moves a node down to one side; its child on the other comes up.
    fn rotate(&mut self, at: u64, to_left: bool) {
        let node = self.node(at);
        let up = if to_left { node.right } else { node.left };
        let between = if to_left { self.node(up).left } else { self.node(up).right };
        self.replace(at, up);
        self.set_child(at, !to_left, between);
        self.set_child(up, to_left, at);
    }

    /// No red node has a red child.
    fn mend_insert(&mut self, mut at: u64) {
        loop {
            let parent = self.node(at).parent;
            if !self.is_red(parent) {
                break;
            }
            let grandparent = self.node(parent).parent;
            let parent_left = self.is_left(parent);
            let family = self.node(grandparent);
            let uncle = if parent_left { family.right } else { family.left };
            if self.is_red(uncle) {
                self.node_mut(parent).red = false;
                self.node_mut(uncle).red = false;
                self.node_mut(grandparent).red = true;
                at = grandparent;
                continue;
            }
            let outer = if self.is_left(at) == parent_left {
                parent
            } else {
                self.rotate(parent, parent_left);
                at
            };
            self.node_mut(outer).red = false;
            self.node_mut(grandparent).red = true;
            self.rotate(grandparent, !parent_left);
            break;
        }
        let root = self.root;
        self.node_mut(root).red = false;
    }

    /// Every way down has as many black nodes: the one through `at` (perhaps nothing, below `parent`) lacks one.
    fn mend_remove(&mut self, mut at: u64, mut parent: u64) {
        while parent != 0 && !self.is_red(at) {
            let left = self.node(parent).left == at;
            let family = self.node(parent);
            let mut sibling = if left { family.right } else { family.left };
            if self.is_red(sibling) {
                self.node_mut(sibling).red = false;
                self.node_mut(parent).red = true;
                self.rotate(parent, left);
                let family = self.node(parent);
                sibling = if left { family.right } else { family.left };
            }
            let children = self.node(sibling);
            let (near, far) =
                if left { (children.left, children.right) } else { (children.right, children.left) };
            if !self.is_red(near) && !self.is_red(far) {
                self.node_mut(sibling).red = true;
                at = parent;
                parent = self.node(at).parent;
                continue;
            }
            if !self.is_red(far) {
                self.node_mut(near).red = false;
                self.node_mut(sibling).red = true;
                self.rotate(sibling, !left);
                let family = self.node(parent);
                sibling = if left { family.right } else { family.left };
            }
            self.node_mut(sibling).red = self.node(parent).red;
            self.node_mut(parent).red = false;
            let children = self.node(sibling);
            let far = if left { children.right } else { children.left };
            self.node_mut(far).red = false;
            self.rotate(parent, left);
            at = self.root;
            break;
        }
        if at != 0 {
            self.node_mut(at).red = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a number where a search tree has it.
    fn add(tree: &mut Tree, node: u64) {
        let (mut parent, mut next, mut left) = (None, tree.top(), false);
        while let Some(at) = next {
            left = node < at;
            (parent, next) = (Some(at), tree.below(at, left));
        }
        assert!(tree.insert(node, parent, left));
    }

    /// Black nodes on each way down from here; checks order, links and colours.
    fn check(tree: &Tree, at: u64, range: core::ops::Range<u64>) -> u32 {
        if at == 0 {
            return 1;
        }
        let node = tree.node(at);
        assert!(range.contains(&at));
        assert!(!node.red || !(tree.is_red(node.left) || tree.is_red(node.right)));
        for child in [node.left, node.right] {
            assert!(child == 0 || tree.node(child).parent == at);
        }
        let (left, right) = (check(tree, node.left, range.start..at), check(tree, node.right, at..range.end));
        assert_eq!(left, right);
        left + u32::from(!node.red)
    }

    #[test]
    fn it_stays_balanced_and_in_order() {
        let mut tree = Tree::default();
        let mut there = std::collections::BTreeSet::new();
        let mut random = 12345u64;
        for _ in 0..4000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let node = (random >> 33) % 97 + 1;
            if there.insert(node) {
                add(&mut tree, node);
            } else {
                there.remove(&node);
                assert!(tree.remove(node));
                assert!(!tree.remove(node));
            }
            assert!(!tree.is_red(tree.root));
            check(&tree, tree.root, 0..1000);
            assert_eq!(tree.first(), there.first().copied());
            assert_eq!(tree.nodes.len(), there.len());
        }
        let mut nodes = tree.into_nodes();
        nodes.sort_unstable();
        assert!(nodes.into_iter().eq(there));
    }
}
