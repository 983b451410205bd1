//! Code that nobody verified leaves the host alone. `cargo xtask jit-canary` does this for as long as one likes.
#![cfg(unix)]

use mimic_tests::hostile::hunt;
use mimic_vm::Engine;

#[test]
fn nothing_outside_is_changed() {
    if !Engine::compiles_here() {
        eprintln!("skipped: there is no JIT here");
        return;
    }
    let hunt = hunt(30_000, 1, |_| ()).unwrap_or_else(|what| panic!("{what}"));
    assert!(
        hunt.faults > 500 && hunt.runs > hunt.faults && hunt.programs > 0 && hunt.neighbours > 0,
        "{hunt:?}"
    );
}
