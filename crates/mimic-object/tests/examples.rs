//! The project's own example objects: what is in them, and that every program of them links.

use mimic_abi::{AttachType, MapType, ProgType};
use mimic_object::{Contents, MapOrigin, Object, RefTarget, Target};

fn example(name: &str) -> Object {
    let path = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Object::parse(&bytes).unwrap_or_else(|errors| panic!("{name}: {errors}"))
}

#[test]
fn the_firewall_has_its_maps_lines_and_references() {
    let object = example("xdp_firewall.bpf.o");
    assert_eq!(object.warnings, []);
    assert_eq!(object.license.as_deref(), Some("Dual MIT/GPL"));
    let spec = &object.programs[0];
    assert_eq!((spec.sec.prog_type, spec.sec.attach_type), (Some(ProgType::Xdp), Some(AttachType::Xdp)));
    assert!(
        object.maps.iter().any(|map| map.kind() == Ok(MapType::Ringbuf) && map.max_entries.is_power_of_two())
    );
    for map in object.maps.iter().filter(|map| map.origin == MapOrigin::Btf) {
        assert!(map.map_type != 0 && !map.name.is_empty());
        assert!(map.kind() == Ok(MapType::Ringbuf) || map.key_type != 0 && map.value_type != 0, "{map:?}");
    }
    let program = object.link_spec(spec, &Target::default()).unwrap();
    let used: Vec<usize> = program
        .refs
        .iter()
        .filter_map(|r| if let RefTarget::Map(map) = r.target { Some(map) } else { None })
        .collect();
    assert!(!used.is_empty() && used.iter().all(|map| *map < object.maps.len()));
    assert!(program.refs.iter().all(|r| program.code[r.pc as usize].imm == 0), "references are neutral");
    let line = program.line_at(0).unwrap();
    assert!(line.file.ends_with("xdp_firewall.bpf.c") && line.line > 0 && !line.text.is_empty());
    assert!(program.lines.is_sorted_by_key(|line| line.pc));
}

#[test]
fn globals_are_maps_and_subprograms_follow() {
    let object = example("core_globals.bpf.o");
    let data: Vec<_> = object.maps.iter().filter(|map| map.is_data()).collect();
    assert!(!data.is_empty());
    for map in data {
        let frozen = matches!(map.contents, Contents::Data { frozen: true, .. });
        let constant = matches!(map.origin, MapOrigin::Rodata | MapOrigin::Kconfig);
        assert_eq!(frozen, constant, "{}", map.name);
        let btf = object.btf.as_deref().unwrap();
        let size = btf.size_of(mimic_abi::btf::TypeId(map.value_type));
        assert_eq!(size, Some(map.value_size), "the size of the section is filled in");
    }
}

#[test]
fn every_object_of_the_project_opens() {
    for dir in ["examples", "tests/fixtures"] {
        let path = format!("{}/../../{dir}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(&path).unwrap().flatten() {
            if entry.path().extension().is_some_and(|ext| ext == "o") {
                let object = Object::parse(&std::fs::read(entry.path()).unwrap());
                let object = object.unwrap_or_else(|errors| panic!("{:?}: {errors}", entry.path()));
                assert!(!object.programs.is_empty());
                count += 1;
            }
        }
        assert!(count > 0, "no objects in {dir}");
    }
}
