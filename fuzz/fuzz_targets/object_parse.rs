//! Any bytes: an object is read or refused, its programs are linked or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::object::{Object, Target};

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::parse(bytes) else { return };
    // Its own types are as good a kernel's as any, and get CO-RE going.
    let target = Target { btf: object.btf.clone(), ..Target::default() };
    let _ = object.maps_for(&target);
    for program in object.programs.iter().take(16) {
        let _ = object.link_spec(program, &target);
    }
});
