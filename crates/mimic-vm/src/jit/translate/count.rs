//! Counting instructions off the budget.
//!
//! Not each straight run is counted when it ends: at each op it is known how many that came before are not counted yet, whichever way control
//! came. The first jump to a place says how many that are there; other ways to it count what is more, or give back what is less. All are counted
//! where the budget is looked at, and where control comes from below, by a call or from outside.

use super::Translator;
use crate::jit::backend::Backend;
use crate::jit::flow::{Flow, Next, next};
use crate::jit::label::Label;
use crate::op::Op;

/// What is not counted yet.
pub(super) struct Count {
    /// Of the ops before the one that is being translated.
    pending: u32,
    /// Of those before each op that is jumped to, once a jump said so.
    at: Box<[Option<u32>]>,
}

impl Count {
    pub(super) fn new(ops: &[Op], flow: &Flow) -> Count {
        let mut at: Box<[Option<u32>]> = flow.loops.iter().map(|is_loop| is_loop.then_some(0)).collect();
        for entry in flow.entries.iter().copied().chain([0]) {
            at[entry] = Some(0);
        }
        for (call, op) in ops.iter().enumerate() {
            if let Next::Call(target) = next(op) {
                at[target] = Some(0);
                at[(call + 1).min(ops.len() - 1)] = Some(0);
            }
        }
        Count { pending: 0, at }
    }

    /// Of the ops before the one that is being translated.
    pub(super) fn pending(&self) -> u32 {
        self.pending
    }

    /// Another op was translated, from which control goes on to the next.
    pub(super) fn step(&mut self) {
        self.pending += 1;
    }
}

impl<B: Backend> Translator<'_, B> {
    /// Control comes to an op that is jumped to; `falls`: from the one before, too.
    pub(super) fn count_at(&mut self, at: usize, falls: bool) {
        // Nobody jumped there so far.
        let want = self.count.at[at].unwrap_or(0);
        if falls {
            self.count_down_to(want);
        }
        self.count.pending = want;
    }

    /// A jump forward from `at` to `target`, or on.
    pub(super) fn count_jump(&mut self, at: usize, target: usize) {
        debug_assert!(at < target);
        self.count.pending += 1;
        let want = *self.count.at[target].get_or_insert(self.count.pending);
        self.count_down_to(want);
    }

    /// Counts all, up to and with this op, and goes to the label if that overdraws the budget.
    pub(super) fn count_all(&mut self, overdrawn: Label) {
        self.b.spend_or(self.count.pending + 1, overdrawn);
        self.count.pending = 0;
    }

    fn count_down_to(&mut self, want: u32) {
        let more = i64::from(self.count.pending) - i64::from(want);
        if more != 0 {
            self.b.spend(more as i32);
        }
        self.count.pending = want;
    }
}
