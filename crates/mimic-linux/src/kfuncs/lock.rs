//! Resilient spin locks: taking one that will not be free is an error, which programs look at. Documentation/locking/.
//!
//! A lock that the run has already is found at once, as the kernel finds it. One that others keep (two that wait for each other, say) is given
//! up after the time that the kernel waits, where that knows a deadlock sooner.

use core::hint;
use mimic_abi::{Arg, ArgType, Errno, HelperSpec, MemAccess, MemLen, RetType, Size, Support, arg};
use mimic_vm::memory::Memory;
use mimic_vm::{Call, Helper, HelperResult, Trap, View};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOCK: Arg = arg("lock", ArgType::BtfId("bpf_res_spin_lock"));
const SUPPORT: Support = Support::Partial(
    "two programs that wait for each other's locks both get ETIMEDOUT, not one of them EDEADLK",
);

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_res_spin_lock").args(&[LOCK]).since(6, 15).support(SUPPORT),
        |call, lock, _, _, _, _| take(call, lock),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_res_spin_unlock").args(&[LOCK]).returns(RetType::Void).since(6, 15),
        |call, lock, _, _, _, _| give_back(call, lock),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_res_spin_lock_irqsave")
            .args(&[LOCK, arg("flags", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8)))])
            .since(6, 15)
            .support(SUPPORT),
        lock_irqsave,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_res_spin_unlock_irqrestore")
            .args(&[LOCK, arg("flags", ArgType::Mem(MemAccess::Read, MemLen::Fixed(8)))])
            .returns(RetType::Void)
            .since(6, 15),
        |call, lock, _, _, _, _| give_back(call, lock),
    ),
];

/// What a taken lock's word is.
const TAKEN: u64 = 1;
/// How long the kernel waits.
const WAIT: Duration = Duration::from_millis(250);
/// The most locks that a run has at once (`RES_NR_HELD`).
const HELD_MAX: usize = 31;
/// How often a taken lock is looked at without giving the host's CPU away.
const TRIES_BUSY: u32 = 100;

/// The locks that a run has, the last one last. A run that goes lets go of them.
#[derive(Default)]
struct Held {
    locks: Vec<(u64, u32)>,
    memory: Option<Arc<Memory>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let view = View::new(memory);
        for (lock, _) in &self.locks {
            let _ = view.store(*lock, Size::W, 0);
        }
    }
}

fn take(call: &mut Call<'_>, lock: u64) -> HelperResult {
    let int = |errno: Errno| Ok(u64::from(-errno.0 as u32));
    let held = &call.run_state::<Held>().locks;
    if held.iter().any(|(known, _)| *known == lock) {
        return int(Errno::EDEADLK);
    }
    if held.len() >= HELD_MAX {
        return Err(call.bad_argument(format!("{HELD_MAX} locks are taken already")));
    }
    let (mut tries, mut end) = (0, None);
    while call.atomic_update(lock, Size::W, |word| (word == 0).then_some(TAKEN))? != 0 {
        tries += 1;
        if tries <= TRIES_BUSY {
            hint::spin_loop();
            continue;
        }
        let now = Instant::now();
        if now > *end.get_or_insert(now + WAIT) {
            return int(Errno::ETIMEDOUT);
        }
        std::thread::yield_now();
    }
    let (memory, pc) = (call.view().memory().clone(), call.pc());
    let held = call.run_state::<Held>();
    held.memory.get_or_insert(memory);
    held.locks.push((lock, pc));
    Ok(0)
}

fn give_back(call: &mut Call<'_>, lock: u64) -> HelperResult {
    let held = &mut call.run_state::<Held>().locks;
    let Some(at) = held.iter().rposition(|(known, _)| *known == lock) else {
        return Err(call.bad_argument("the lock is not this program's"));
    };
    held.remove(at);
    call.atomic_update(lock, Size::W, |_| Some(0))?;
    Ok(0)
}

/// What is saved is what the kernel saves with interrupts enabled on x86-64: `IF` and the bit that is always set.
fn lock_irqsave(call: &mut Call<'_>, lock: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    call.store(flags, Size::Dw, 0x202)?;
    take(call, lock)
}

/// A program that ends with a lock is one that the kernel would not have loaded.
pub(crate) fn check_released(call: &mut Call<'_>) -> Result<(), Trap> {
    let left = call.run_state_if::<Held>().and_then(|held| held.locks.first().copied());
    match left {
        None => Ok(()),
        Some((_, pc)) => Err(call.bad_argument(format!("the lock that pc {pc} took is still taken"))),
    }
}
