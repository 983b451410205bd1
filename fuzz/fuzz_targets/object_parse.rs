//! Any bytes: an object is read or refused, its programs are linked or refused.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mimic::object::{Object, Target};

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::parse(bytes) else { return };
    // A copy of its own types is as good a kernel's as any, and gets CO-RE going.
    let copy = object.btf.as_ref().map(|btf| Arc::new((**btf).clone()));
    let target = Target { btf: copy, ..Target::default() };
    let _ = object.maps_for(&target);
    for program in object.programs.iter().take(16) {
        let _ = object.link_spec(program, &target);
    }
});
