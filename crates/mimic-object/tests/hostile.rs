//! Whatever the bytes: an object opens or is refused, its programs link or are refused. Nothing panics.

use std::sync::{Arc, LazyLock};

use mimic_object::{Object, Target};
use proptest::collection::vec;
use proptest::prelude::*;

/// The project's objects, small ones first.
static OBJECTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let mut objects: Vec<Vec<u8>> = ["examples", "tests/fixtures", "tests/fixtures/foreign"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(format!("{root}{dir}")).unwrap().flatten())
        .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "o"))
        .map(|entry| std::fs::read(entry.path()).unwrap())
        .collect();
    objects.sort_by_key(Vec::len);
    assert!(objects.len() > 10);
    objects
});

/// Reads and links all that there is, for a target that knows nothing and for one whose types are a copy of the object's.
fn take(bytes: &[u8]) {
    let Ok(object) = Object::parse(bytes) else { return };
    let kernel = Target {
        btf: object.btf.as_ref().map(|btf| Arc::new((**btf).clone())),
        kconfig: Some(Target::parse_kconfig("CONFIG_HZ=250\nCONFIG_BPF=y\n")),
        ksyms: Some(Default::default()),
        ..Target::default()
    };
    let own = Target { btf: object.btf.clone(), ..Target::default() };
    for target in [&kernel, &own, &Target::default()] {
        let _ = object.maps_for(target);
        for spec in object.programs.iter().take(32) {
            if let Ok(program) = object.link_spec(spec, target) {
                assert!(program.refs.iter().all(|r| (r.pc as usize) < program.code.len()));
                let _ = program.code_for_bpf(&vec![3; object.maps.len()]);
            }
        }
    }
}

/// A change of one byte, or of a word to a number that sizes and offsets go wrong at.
fn change() -> impl Strategy<Value = (prop::sample::Index, Vec<u8>)> {
    let word =
        prop_oneof![Just(0u32), Just(1), Just(0x7fff_ffff), Just(0x8000_0000), Just(u32::MAX), any::<u32>()];
    let bytes = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        word.clone().prop_map(|word| word.to_le_bytes().to_vec()),
        word.prop_map(|word| (u64::from(word) << 3).to_le_bytes().to_vec()),
    ];
    (any::<prop::sample::Index>(), bytes)
}

fn apply(bytes: &mut [u8], at: usize, change: &[u8]) {
    for (to, from) in bytes[at..].iter_mut().zip(change) {
        *to = *from;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn changed_objects(which: prop::sample::Index, changes in vec(change(), 1..8)) {
        let mut bytes = which.get(&OBJECTS).clone();
        for (at, change) in &changes {
            let at = at.index(bytes.len());
            apply(&mut bytes, at, change);
        }
        take(&bytes);
    }

    /// Headers of the file and of sections hold what is most easily believed.
    #[test]
    fn changed_headers(which: prop::sample::Index, changes in vec(change(), 1..4)) {
        let mut bytes = which.get(&OBJECTS).clone();
        let big = bytes[5] == 2;
        let offset: [u8; 8] = bytes[40..48].try_into().unwrap();
        let headers = if big { u64::from_be_bytes(offset) } else { u64::from_le_bytes(offset) } as usize;
        for (at, change) in &changes {
            let room = 64 + bytes.len() - headers;
            let at = at.index(room);
            let at = if at < 64 { at } else { headers + at - 64 };
            apply(&mut bytes, at, change);
        }
        take(&bytes);
    }

    #[test]
    fn cut_objects(which: prop::sample::Index, at: prop::sample::Index) {
        let bytes = which.get(&OBJECTS);
        take(&bytes[..at.index(bytes.len())]);
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..512)) {
        take(&bytes);
        take(&[b"\x7fELF\x02\x01\x01\0", bytes.as_slice()].concat());
    }
}

#[test]
fn every_object_is_taken_as_it_is() {
    for bytes in OBJECTS.iter() {
        Object::parse(bytes).unwrap();
        take(bytes);
    }
}

#[test]
fn reading_is_deterministic() {
    for bytes in OBJECTS.iter().take(20) {
        let text = |object: Object| format!("{:?} {:?} {:?}", object.programs, object.maps, object.externs);
        let (one, two) = (Object::parse(bytes).unwrap(), Object::parse(bytes).unwrap());
        assert_eq!(text(one), text(two));
    }
}
