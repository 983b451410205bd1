//! References to objects that a run holds, so that one that is not given back is reported where the kernel's verifier would have refused
//! the program.

use super::ObjectKey;
use crate::Linux;
use mimic_vm::{Call, Trap};

/// What a run holds: each reference with the slot of the call that took it.
#[derive(Default)]
struct References(Vec<(ObjectKey, u32)>);

/// The most references that a run may hold.
const REFERENCES_MAX: usize = 4096;

/// Notes that the running program got a reference.
pub(crate) fn acquire(call: &mut Call<'_>, key: ObjectKey) -> Result<(), Trap> {
    let pc = call.pc();
    let held = &mut call.run_state::<References>().0;
    if held.len() >= REFERENCES_MAX {
        return Err(call.unsupported(format!("a run may hold {REFERENCES_MAX} references to kernel objects")));
    }
    held.push((key, pc));
    Ok(())
}

/// Takes a reference back, to the object at an address. A fault if the program has none.
pub(crate) fn release(call: &mut Call<'_>, addr: u64) -> Result<ObjectKey, Trap> {
    let key = Linux::of(call).object_at(addr).map(|(key, _)| key);
    let held = &mut call.run_state::<References>().0;
    let at = held.iter().rposition(|(known, _)| Some(*known) == key);
    match at.map(|at| held.remove(at)) {
        Some((key, _)) => Ok(key),
        None => Err(call.bad_argument(format!("the program holds no reference to {addr:#x}"))),
    }
}

/// A program that ends with a reference is one that the kernel would not have loaded.
pub(crate) fn check_released(call: &mut Call<'_>) -> Result<(), Trap> {
    let held = call.run_state_if::<References>().and_then(|held| held.0.first().copied());
    match held {
        None => Ok(()),
        Some((key, pc)) => Err(call
            .bad_argument(format!("the reference to {key:?} that was taken at pc {pc} is not given back"))),
    }
}
