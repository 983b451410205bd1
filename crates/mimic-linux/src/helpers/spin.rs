//! Spin locks in map values. A lock that will never be free is a fault that names both places.
//!
//! The lock's word tells who has it: a program's id and a slot, so that whoever waits in vain can say for whom. A process that ends,
//! or is dropped, with a lock lets go of it.

use core::hint;
use mimic_abi::{ArgType, HelperSpec, RetType, Size, arg};
use mimic_vm::memory::Memory;
use mimic_vm::{Call, Helper, HelperResult, Trap, View};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(93, "spin_lock")
            .args(&[arg("lock", ArgType::SpinLock)])
            .returns(RetType::Void)
            .since(5, 1),
        spin_lock,
    ),
    Helper::new(
        HelperSpec::new(94, "spin_unlock")
            .args(&[arg("lock", ArgType::SpinLock)])
            .returns(RetType::Void)
            .since(5, 1),
        spin_unlock,
    ),
];

/// Set in the word of a lock that is taken.
const TAKEN: u64 = 1 << 31;
/// Bits of the slot in the word; the program's id is above it, as far as there is room.
const PC_BITS: u32 = 20;
const ID_MASK: u64 = (1 << (31 - PC_BITS)) - 1;
/// How often a taken lock is looked at before it counts as lost: some seconds.
const TRIES_MAX: u32 = 10_000_000;
/// How often without giving the host's CPU away.
const TRIES_BUSY: u32 = 100;

/// The lock that a process has.
#[derive(Default)]
pub(super) struct Held(Option<Lock>);

struct Lock {
    addr: u64,
    word: u64,
    memory: Arc<Memory>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lock) = self.0.take() {
            // The map may be gone by now, and the lock with it.
            let view = View::new(lock.memory);
            if view.load(lock.addr, Size::W) == Ok(lock.word) {
                let _ = view.store(lock.addr, Size::W, 0);
            }
        }
    }
}

fn spin_lock(call: &mut Call<'_>, addr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if let Some(lock) = &call.run_state::<Held>().0 {
        let (word, same) = (lock.word, lock.addr == addr);
        let what = if same { "the lock is already taken" } else { "another lock is still taken" };
        return Err(call.bad_argument(format!("{what}, by {}: this would never end", holder(call, word))));
    }
    let id = u64::from(call.program().id()) & ID_MASK;
    let word = TAKEN | id << PC_BITS | u64::from(call.pc());
    let mut tries = 0;
    loop {
        let old = call.atomic_update(addr, Size::W, |old| (old == 0).then_some(word))?;
        if old == 0 {
            break;
        }
        tries += 1;
        if tries > TRIES_MAX {
            return Err(call.bad_argument(format!("the lock was never given back by {}", holder(call, old))));
        }
        if tries > TRIES_BUSY { std::thread::yield_now() } else { hint::spin_loop() }
    }
    let memory = call.view().memory().clone();
    call.run_state::<Held>().0 = Some(Lock { addr, word, memory });
    Ok(0)
}

fn spin_unlock(call: &mut Call<'_>, addr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let held = &mut call.run_state::<Held>().0;
    if held.take_if(|lock| lock.addr == addr).is_none() {
        return Err(call.bad_argument("the lock is not this program's"));
    }
    call.atomic_update(addr, Size::W, |_| Some(0))?;
    Ok(0)
}

/// A program that ends with a lock is one that the kernel would not have loaded.
pub(crate) fn check_released(call: &mut Call<'_>) -> Result<(), Trap> {
    let held = call.run_state_if::<Held>().and_then(|held| held.0.as_ref()).map(|lock| lock.word);
    match held {
        None => Ok(()),
        Some(word) => {
            Err(call.bad_argument(format!("a spin lock is still taken, by {}", holder(call, word))))
        }
    }
}

/// The place that took a lock.
fn holder(call: &Call<'_>, word: u64) -> String {
    let pc = (word & ((1 << PC_BITS) - 1)) as u32;
    let id = word >> PC_BITS & ID_MASK;
    let program = Some(call.program().clone()).filter(|program| u64::from(program.id()) & ID_MASK == id);
    let Some(program) = program.or_else(|| call.vm().program(id as u32)) else { return format!("pc {pc}") };
    match program.line_at(pc) {
        Some(line) => format!("pc {pc} of {} ({}:{})", program.name(), line.file, line.line),
        None => format!("pc {pc} of {}", program.name()),
    }
}
