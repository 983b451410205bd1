//! The references that a run has. One that is left at its end is what the kernel's verifier would not have loaded: a fault that names the place.

use super::Heap;
use crate::Linux;
use mimic_vm::{Call, Trap};
use std::sync::Arc;

/// References that a run took and has not given away.
#[derive(Default)]
struct Held {
    heap: Option<Arc<Heap>>,
    /// The object, and the slot of the call that gave it.
    references: Vec<(u64, u32)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(heap) = &self.heap else { return };
        for (object, _) in self.references.drain(..) {
            heap.put(object);
        }
    }
}

/// Notes that the run has a reference (more) to the object around `addr`.
pub(crate) fn acquire(call: &mut Call<'_>, addr: u64) {
    let heap = Linux::of(call).heap().clone();
    let Some((object, _)) = heap.object(addr) else { return };
    let pc = call.pc();
    let held = call.run_state::<Held>();
    held.heap.get_or_insert(heap);
    held.references.push((object, pc));
}

/// Notes that the run has given a reference to the object around `addr` away. A fault if it had none.
pub(crate) fn release(call: &mut Call<'_>, addr: u64) -> Result<(), Trap> {
    let object = Linux::of(call).heap().object(addr).map(|(object, _)| object);
    let held = call.run_state::<Held>();
    let at = held.references.iter().rposition(|(known, _)| Some(*known) == object);
    match at {
        Some(at) => {
            held.references.remove(at);
            Ok(())
        }
        None => Err(call.bad_argument(format!("{addr:#x} is no object that the program has a reference to"))),
    }
}

/// A program that ends with a reference is one that the kernel would not have loaded. It is dropped either way.
pub(crate) fn check_released(call: &mut Call<'_>) -> Result<(), Trap> {
    let left = call.run_state_if::<Held>().and_then(|held| held.references.first().copied());
    let Some((object, pc)) = left else { return Ok(()) };
    let name = Linux::of(call).heap().object(object).map(|(_, ty)| ty.name.clone());
    let place = match call.program().line_at(pc) {
        Some(line) => format!("pc {pc} ({}:{})", line.file, line.line),
        None => format!("pc {pc}"),
    };
    let what = format!("a reference to a {} is not released, of {place}", name.as_deref().unwrap_or("thing"));
    *call.run_state::<Held>() = Held::default();
    Err(call.bad_argument(what))
}
