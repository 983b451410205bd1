//! `Effect`: what programs did to the world beyond their own memory, for whoever asks after a run.

use crate::Linux;
use mimic_vm::{Call, Trap};
use std::sync::PoisonError;

/// Something that a program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sent a signal (`bpf_send_signal`). Tasks of the world do not act on signals.
    Signal {
        /// The task that gets it.
        pid: u32,
        /// The signal's number.
        signal: u32,
        /// For that thread only.
        thread: bool,
    },
    /// It said whether the program that a task is about to run may trust its environment (`bpf_bprm_opts_set`).
    SecureExec {
        /// The task.
        pid: u32,
        /// It may not.
        secure: bool,
    },
    /// It made the probed function return this without running (`bpf_override_return`).
    OverrideReturn(u64),
    /// It sent an acknowledgement (`bpf_tcp_send_ack`).
    TcpAck {
        /// The cookie of the connection's socket.
        cookie: u64,
        /// The acknowledged sequence number.
        rcv_nxt: u32,
    },
    /// An infrared receiver's key is still held (`bpf_rc_repeat`).
    KeyRepeat,
    /// A key of an infrared remote control was pressed (`bpf_rc_keydown`).
    KeyDown {
        /// `enum rc_proto`.
        protocol: u32,
        /// The code.
        scancode: u64,
        /// Its toggle bit.
        toggle: u32,
    },
    /// An infrared remote control moved the pointer (`bpf_rc_pointer_rel`).
    PointerMoved {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
    },
}

/// The most effects that are kept until they are taken.
pub const EFFECTS_MAX: usize = 1 << 16;

impl Linux {
    /// Takes what programs did since it was last taken, in its order.
    pub fn take_effects(&self) -> Vec<Effect> {
        core::mem::take(&mut *self.effects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes an effect.
pub(crate) fn note(call: &Call<'_>, effect: Effect) -> Result<(), Trap> {
    let mut effects = Linux::of(call).effects.lock().unwrap_or_else(PoisonError::into_inner);
    if effects.len() >= EFFECTS_MAX {
        return Err(call.unsupported(format!("{EFFECTS_MAX} effects are kept: take them between runs")));
    }
    effects.push(effect);
    Ok(())
}
