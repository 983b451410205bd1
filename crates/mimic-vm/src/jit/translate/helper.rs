//! Helper calls. What engines know the meaning of is done by compiled code, or called directly.

use super::{Cold, Translator};
use crate::emulator::{HelperImpl, Known};
use crate::jit::backend::{Backend, HelperCall, Lookup};
use crate::jit::flow::ARGS;
use crate::jit::state::Reason;
use crate::jit::values::Value;
use crate::map::MapRef;
use crate::process::FRAME_LEN;

impl<B: Backend> Translator<'_, B> {
    pub(super) fn helper(&mut self, at: usize) {
        let helper = &self.program.helpers[self.program.ops.ops[at].imm as usize];
        // Frames outside: what is in them may be watched, too.
        let done = !self.mode.watched
            && !self.mode.frames_outside
            && match helper.known {
                Some(Known::Cpu) => self.b.cpu(),
                Some(Known::MapLookup) => self.map_lookup(at),
                None => false,
            };
        if !done {
            self.helper_call(at);
        }
    }

    /// The call, whatever the helper is.
    pub(super) fn helper_call(&mut self, at: usize) {
        let helper = &self.program.helpers[self.program.ops.ops[at].imm as usize];
        let trapped = self.leave(at, Reason::Trapped);
        let call = HelperCall {
            op: at as u32,
            helper: core::ptr::from_ref(helper).addr(),
            keep: self.flow.live_after[at] & ARGS,
            looks: self.mode.watched || !matches!(helper.run, HelperImpl::Fn(_)),
        };
        self.b.helper(call, trapped);
    }

    /// `bpf_map_lookup_elem` of a map that is known now, with the key in the frame.
    fn map_lookup(&mut self, at: usize) -> bool {
        let (Value::Constant(addr), Value::Frame(key)) = (self.values.of(1), self.values.of(2)) else {
            return false;
        };
        let known = self.program.maps.iter().find(|map| map.addr == addr);
        let Some(map) = known.filter(|map| !map.gives_references()) else { return false };
        let frame = -i64::from(FRAME_LEN)..=-i64::from(map.key_size);
        if !frame.contains(&i64::from(key)) {
            return false;
        }
        let (slow, back) = (self.b.label(), self.b.label());
        let lookup = Lookup { removed: map.removed.as_ptr().addr(), slow, key };
        let done = match map.array_layout().filter(|_| map.key_size == 4) {
            Some(layout) => {
                let none = self.b.label();
                let done = self.b.array_lookup(lookup, layout, none);
                if done {
                    self.cold.push(Cold::Zero { here: none, back });
                }
                done
            }
            None if matches!(map.key_size, 4 | 8 | 16) => {
                let trapped = self.leave(at, Reason::Trapped);
                let keep = self.flow.live_after[at] & ARGS;
                let map: &MapRef = map;
                self.b.map_lookup(lookup, core::ptr::from_ref(map).addr(), map.key_size, keep, trapped)
            }
            None => false,
        };
        if done {
            self.b.bind(back);
            self.cold.push(Cold::Helper { here: slow, op: at, back });
        }
        done
    }
}
