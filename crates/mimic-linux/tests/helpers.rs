//! The helper table: complete, consistent, and honest about what is missing.

use mimic_abi::{ArgType, HelperSpec, KernelVersion, MemLen, Support};
use mimic_linux::helpers::{ID_MAX, all, by_id};
use std::collections::BTreeSet;

#[test]
fn every_number_has_a_row() {
    let ids: Vec<u32> = all().map(|row| row.spec.id).collect();
    let expected: Vec<u32> = (1..=ID_MAX as u32).collect();
    assert_eq!(ids, expected);
    assert!(by_id(0).is_none() && by_id(ID_MAX as u32 + 1).is_none() && by_id(u32::MAX).is_none());
}

#[test]
fn names_are_unique_and_unprefixed() {
    let mut names = BTreeSet::new();
    for row in all() {
        assert!(names.insert(row.spec.name), "{} is there twice", row.spec.name);
        assert!(!row.spec.name.starts_with("bpf_"), "{}", row.spec.name);
    }
}

#[test]
fn versions_rise_with_numbers() {
    let mut last = KernelVersion::new(3, 18);
    for row in all() {
        assert!(row.spec.since >= last, "{} came before the helper in front of it", row.spec.name);
        last = row.spec.since;
    }
}

/// Memory whose length is the next argument is followed by a length, and every length follows memory.
#[test]
fn memory_and_lengths_come_in_pairs() {
    for HelperSpec { name, args, .. } in all().map(|row| row.spec) {
        assert!(args.len() <= 5, "{name}");
        for (at, arg) in args.iter().enumerate() {
            let next = args.get(at + 1).map(|arg| arg.ty);
            match arg.ty {
                ArgType::Mem(_, MemLen::NextArg) => {
                    assert!(
                        matches!(next, Some(ArgType::Size | ArgType::SizeOrZero)),
                        "{name}: {}",
                        arg.name
                    );
                }
                ArgType::Size | ArgType::SizeOrZero => {
                    let before = at.checked_sub(1).map(|before| args[before].ty);
                    assert!(matches!(before, Some(ArgType::Mem(_, MemLen::NextArg))), "{name}: {}", arg.name);
                }
                _ => {}
            }
            assert!(!arg.name.is_empty(), "{name}: argument {at} has no name");
        }
    }
}

/// What cannot be called says what it needs; what can be called says what is different, if anything.
#[test]
fn what_is_missing_says_why() {
    for row in all() {
        let HelperSpec { name, support, .. } = row.spec;
        match (row.run.is_some(), support) {
            (true, Support::Full) => {}
            (true, Support::Partial(note)) | (false, Support::Refused(note) | Support::ReplayOnly(note)) => {
                assert!(note.len() > 12, "{name}: {note:?} says too little");
            }
            (true, Support::Refused(_) | Support::ReplayOnly(_)) => panic!("{name} is done, and refused"),
            (false, Support::Full | Support::Partial(_)) => panic!("{name} is not done, and supported"),
        }
    }
}
