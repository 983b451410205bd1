//! `Label` and `Labels`: places in code that are named before it is known where they are.

/// A place in the code that is jumped to, bound or to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(u32);

/// Where labels are.
#[derive(Default)]
pub(super) struct Labels(Vec<u32>);

/// Of a label that is not bound yet.
const NOWHERE: u32 = u32::MAX;

impl Labels {
    /// A new one, to be bound.
    pub(super) fn label(&mut self) -> Label {
        self.0.push(NOWHERE);
        Label(self.0.len() as u32 - 1)
    }

    /// Puts a label at an offset.
    pub(super) fn bind(&mut self, label: Label, off: u32) {
        self.0[label.0 as usize] = off;
    }

    /// The offset at which a label was bound.
    pub(super) fn offset(&self, label: Label) -> Option<u32> {
        Some(self.0[label.0 as usize]).filter(|off| *off != NOWHERE)
    }
}
