//! Objects of other times and tools: old relocations, old map definitions, no symbols, the other byte order.

mod common;

use common::*;
use mimic_abi::{ByteOrder, MapType, ProgType, RawInsn};
use mimic_object::{Contents, Init, MapOrigin, Object, RefTarget, Slot, Target};

fn fixture(name: &str) -> Object {
    let path = format!("{}/../../tests/fixtures/foreign/{name}", env!("CARGO_MANIFEST_DIR"));
    Object::parse(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn five_words_make_a_map() {
    let object = fixture("legacy_maps.bpf.o");
    let maps: Vec<_> = object
        .maps
        .iter()
        .map(|map| (map.name.as_str(), map.map_type, map.value_size, map.map_flags))
        .collect();
    assert_eq!(maps, [("counts", 2, 8, 0), ("table", 1, 8, 1)]);
    let program = object.link("count", &Target::default()).unwrap();
    let refs: Vec<_> = program.refs.iter().map(|r| r.target.clone()).collect();
    assert_eq!(refs, [RefTarget::Map(0), RefTarget::Map(1)]);
}

#[test]
fn nine_words_are_iproute2s() {
    let object = fixture("iproute2_maps.bpf.o");
    let (jumps, inner, outer) =
        (object.map("jumps").unwrap(), object.map("inner").unwrap(), object.map("outer").unwrap());
    let slot = Slot { index: 2, init: Init::Program("jumped_to".into()) };
    assert_eq!(jumps.1.contents, Contents::Slots(vec![slot]), "the section is named 1/2");
    assert_eq!(outer.1.inner.as_ref().unwrap().name, "inner");
    let slot = Slot { index: 0, init: Init::Map(inner.0) };
    assert_eq!(outer.1.contents, Contents::Slots(vec![slot]));
    assert_eq!(object.program("enter").unwrap().sec.prog_type, Some(ProgType::SchedCls));
    let told = &object.program("jumped_to").unwrap().sec;
    assert_eq!(
        (told.prog_type, told.loose),
        (Some(ProgType::SchedCls), true),
        "its type is that of the other"
    );
}

#[test]
fn a_program_may_lie_in_text() {
    let object = fixture("in_text.bpf.o");
    let program = object.link("sum", &Target::default()).unwrap();
    assert_eq!((program.section.as_str(), program.prog_type), (".text", None));
}

#[test]
fn types_are_told_by_what_else_is_there() {
    use ProgType::*;
    const CALL: u8 = 0x85;
    const KTIME: i32 = 5;
    const ADJUST_HEAD: i32 = 44;
    const SKB_STORE_BYTES: i32 = 9;
    let object = |programs: &[(&str, i32)], map_words: usize| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        for (section, helper) in programs {
            let code = elf.code(section, &[insn(CALL, 0, 0, 0, *helper), EXIT]);
            elf.symbol(&section.replace(['/', '-'], "_"), FUNC, GLOBAL, code, 0, 16);
        }
        if map_words > 0 {
            let mut map = vec![2, 4, 4, 1];
            map.resize(map_words, 0);
            let maps = elf.words("maps", &map);
            elf.symbol("map", OBJECT, GLOBAL, maps, 0, 0);
        }
        let object = Object::parse(&elf.build()).unwrap();
        object.programs.iter().map(|program| program.sec.prog_type).collect::<Vec<_>>()
    };
    assert_eq!(object(&[("mine", KTIME)], 0), [None], "nothing tells");
    assert_eq!(object(&[("mine", KTIME)], 5), [None], "these maps are anybody's");
    assert_eq!(object(&[("mine", KTIME)], 9), [Some(SchedCls)], "these are iproute2's");
    assert_eq!(object(&[("mine", ADJUST_HEAD)], 9), [Some(Xdp)], "the helper is XDP's");
    assert_eq!(object(&[("a", KTIME), ("b", SKB_STORE_BYTES)], 0), [Some(SchedCls); 2]);
    assert_eq!(object(&[("socket/x", KTIME), ("b", KTIME)], 0), [Some(SocketFilter); 2]);
    let mixed = object(&[("xdp", KTIME), ("tc", KTIME), ("b", KTIME), ("c", ADJUST_HEAD)], 0);
    assert_eq!(mixed, [Some(Xdp), Some(SchedCls), None, Some(Xdp)]);
}

#[test]
fn big_endian_objects_open() {
    let object = fixture("big_endian.bpf.o");
    assert_eq!(object.byte_order, ByteOrder::Big);
    let (_, table) = object.map("table").unwrap();
    assert_eq!(
        (table.kind(), table.key_size, table.value_size, table.max_entries),
        (Ok(MapType::Hash), 4, 16, 8)
    );
    let (_, rodata) = object.map(".rodata").unwrap();
    let Contents::Data { bytes, frozen: true } = &rodata.contents else { panic!("{rodata:?}") };
    assert!(bytes.windows(4).any(|word| word == [0x11, 0x22, 0x33, 0x44]));
    let program = object.link("big_endian", &Target::default()).unwrap();
    assert!(program.funcs.iter().any(|func| func.name == "mix"));
    assert!(program.line_at(0).is_some());
}

fn words(map: &[u32], names: &[&str], order: ByteOrder) -> Result<Object, mimic_object::LoadErrors> {
    let mut elf = ElfBuilder::new(order);
    let section = elf.words("maps", map);
    let len = map.len() as u64 * 4 / names.len() as u64;
    for (i, name) in names.iter().enumerate() {
        elf.symbol(name, OBJECT, GLOBAL, section, i as u64 * len, 0);
    }
    Object::parse(&elf.build())
}

#[test]
fn seven_words_are_the_kernel_samples_or_old_iproute2s() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        // A map of maps: the template by its index; a NUMA node where the flag says so; an id and a pinning otherwise.
        let map = [2, 4, 4, 1, 0, 0, 0, 13, 4, 4, 9, 0, 0, 0, 1, 4, 8, 5, 4, 0, 3, 1, 4, 8, 5, 0, 7, 2];
        let object = words(&map, &["a", "b", "c", "d"], order).unwrap();
        assert!(object.maps.iter().all(|map| map.origin == MapOrigin::Legacy));
        assert_eq!(object.maps[1].inner.as_ref().unwrap().name, "a");
        assert_eq!(object.maps[2].numa_node, Some(3));
        assert_eq!((object.maps[3].numa_node, object.maps[3].pinning), (None, 2));
    }
}

#[test]
fn maps_of_other_lengths() {
    let object = words(&[1, 4, 8, 16], &["four"], ByteOrder::Little).unwrap();
    assert_eq!((object.maps[0].max_entries, object.maps[0].map_flags), (16, 0));
    let object = words(&[1, 4, 8, 16, 1, 0, 0, 0, 0, 0, 0, 0], &["long"], ByteOrder::Little).unwrap();
    assert_eq!((object.maps[0].map_flags, object.warnings.len()), (1, 0));
    let errors = words(&[1, 4, 8], &["three"], ByteOrder::Little).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().symbol.as_deref(), Some("three"));
    let errors = words(&[12, 4, 4, 1, 0, 5, 0], &["lonely"], ByteOrder::Little).unwrap_err();
    assert!(errors.to_string().contains("lonely"), "{errors}");
}

#[test]
fn relocations_with_addends_and_without_a_type() {
    let mut elf = ElfBuilder::little();
    elf.machine = 0;
    let [low, high] = ld64(1, 0, 0);
    let main = elf.code("socket", &[low, high, call(-1), EXIT]);
    let text = elf.code(".text", &[EXIT, EXIT]);
    let maps = elf.words("maps", &[2, 4, 4, 1, 0, 2, 4, 4, 1, 0]);
    elf.symbol("main", FUNC, GLOBAL, main, 0, 32);
    elf.symbol("first", OBJECT, GLOBAL, maps, 0, 20);
    elf.symbol("second", OBJECT, GLOBAL, maps, 20, 20);
    let maps_section = elf.symbol("", SECTION, LOCAL, maps, 0, 0);
    elf.symbol("one", FUNC, GLOBAL, text, 0, 8);
    elf.symbol("two", FUNC, GLOBAL, text, 8, 8);
    let text_section = elf.symbol("", SECTION, LOCAL, text, 0, 0);
    elf.rela(main, &[(0, 0, maps_section, 20), (16, 0, text_section, 8)]);
    let object = Object::parse(&elf.build()).unwrap();
    let program = object.link("main", &Target::default()).unwrap();
    assert_eq!(program.refs[0].target, RefTarget::Map(1));
    assert_eq!(program.funcs[1].name, "two");
    assert_eq!(program.code[2], call(1), "the function comes right after the program");
}

#[test]
fn sections_without_function_symbols_are_programs() {
    let mut elf = ElfBuilder::little();
    elf.code("xdp", &[EXIT]);
    let labels = elf.code("socket", &[EXIT, EXIT, EXIT]);
    elf.symbol("first", NOTYPE, GLOBAL, labels, 0, 0);
    elf.symbol("LBB0_1", NOTYPE, LOCAL, labels, 8, 0);
    elf.symbol("second", NOTYPE, GLOBAL, labels, 16, 0);
    let object = Object::parse(&elf.build()).unwrap();
    let programs: Vec<_> = object.programs.iter().map(|p| (p.name.as_str(), p.off, p.slots)).collect();
    assert_eq!(programs, [("xdp", 0, 1), ("first", 0, 2), ("second", 16, 1)]);
}

#[test]
fn several_programs_share_a_section_and_its_static_functions() {
    let mut elf = ElfBuilder::little();
    let mov = insn(0xb7, 0, 0, 0, 1);
    let section = elf.code("tc", &[call(3), EXIT, call(1), EXIT, mov, EXIT]);
    elf.symbol("a", FUNC, GLOBAL, section, 0, 16);
    elf.symbol("b", FUNC, WEAK, section, 16, 16);
    elf.symbol("helper", FUNC, LOCAL, section, 32, 16);
    let object = Object::parse(&elf.build()).unwrap();
    assert_eq!(object.programs.len(), 2, "static functions are no programs");
    for (name, distance) in [("a", 1), ("b", 1)] {
        let program = object.link(name, &Target::default()).unwrap();
        let names: Vec<_> = program.funcs.iter().map(|func| (func.name.as_str(), func.pc)).collect();
        assert_eq!(names, [(name, 0), ("helper", 2)]);
        assert_eq!(program.code[0].imm, distance);
    }
}

#[test]
fn functions_follow_depth_first_each_once() {
    let mut elf = ElfBuilder::little();
    let main = elf.code("xdp", &[call(-1), call(-1), EXIT]);
    // first calls third; second calls itself by third's side.
    let text = elf.code(".text", &[call(2), EXIT, EXIT, EXIT]);
    elf.symbol("main", FUNC, GLOBAL, main, 0, 24);
    let first = elf.symbol("first", FUNC, GLOBAL, text, 0, 16);
    let second = elf.symbol("second", FUNC, GLOBAL, text, 16, 8);
    elf.symbol("third", FUNC, LOCAL, text, 24, 8);
    elf.rel(main, &[(0, 10, first), (8, 10, second)]);
    let program = Object::parse(&elf.build()).unwrap().link("main", &Target::default()).unwrap();
    let names: Vec<_> = program.funcs.iter().map(|func| (func.name.as_str(), func.pc, func.global)).collect();
    assert_eq!(names, [("main", 0, true), ("first", 3, true), ("third", 5, false), ("second", 6, true)]);
    assert_eq!(program.code, [call(2), call(4), EXIT, call(1), EXIT, EXIT, EXIT]);
}

#[test]
fn pointers_to_functions_are_relative_to_the_instruction() {
    let mut elf = ElfBuilder::little();
    let [low, high] = ld64(2, 4, 8);
    let main = elf.code("xdp", &[low, high, EXIT]);
    let text = elf.code(".text", &[EXIT, EXIT]);
    elf.symbol("main", FUNC, GLOBAL, main, 0, 24);
    let section = elf.symbol("", SECTION, LOCAL, text, 0, 0);
    elf.symbol("unused", FUNC, LOCAL, text, 0, 8);
    elf.symbol("callback", FUNC, LOCAL, text, 8, 8);
    elf.rel(main, &[(0, 1, section)]);
    let program = Object::parse(&elf.build()).unwrap().link("main", &Target::default()).unwrap();
    assert_eq!(program.refs[0].target, RefTarget::Func(3));
    assert_eq!((program.code[0].src, program.code[0].imm), (4, 2));
}

#[test]
fn data_sections_are_maps_whatever_their_name() {
    let mut elf = ElfBuilder::little();
    let code: Vec<RawInsn> =
        [ld64(1, 0, 4), ld64(1, 0, 0), ld64(1, 0, 0)].concat().into_iter().chain([EXIT]).collect();
    let main = elf.code("xdp", &code);
    let data = elf.data(".data.mine", &[1; 8]);
    let bss = elf.bss(".bss", 1 << 20);
    let odd = elf.data("settings", &[2; 4]);
    elf.symbol("main", FUNC, GLOBAL, main, 0, 56);
    let symbols = [data, bss, odd].map(|section| elf.symbol("", SECTION, LOCAL, section, 0, 0));
    elf.rel(main, &[(0, 1, symbols[0]), (16, 1, symbols[1]), (32, 1, symbols[2])]);
    let object = Object::parse(&elf.build()).unwrap();
    let maps: Vec<_> = object.maps.iter().map(|m| (m.name.as_str(), m.origin, m.value_size)).collect();
    let expected = [
        (".data.mine", MapOrigin::Data, 8),
        (".bss", MapOrigin::Bss, 1 << 20),
        ("settings", MapOrigin::Data, 4),
    ];
    assert_eq!(maps, expected);
    assert_eq!(object.maps[1].contents, Contents::Empty, "zeros take no room");
    let program = object.link("main", &Target::default()).unwrap();
    assert_eq!(program.refs[0].target, RefTarget::MapValue { map: 0, off: 4 });
    let code = program.code_for_bpf(&[10, 11, 12]).unwrap();
    assert_eq!((code[0].src, code[0].imm, code[1].imm), (2, 10, 4));
    assert_eq!(program.code_for_bpf(&[10]), Err(1));
}

#[test]
fn license_and_version() {
    let mut elf = ElfBuilder::new(ByteOrder::Big);
    elf.code("xdp", &[EXIT]);
    elf.data("license", b"GPL\0junk");
    elf.words("version", &[0x0006_1200]);
    let object = Object::parse(&elf.build()).unwrap();
    assert_eq!((object.license.as_deref(), object.version), (Some("GPL"), Some(0x61200)));
}

#[test]
fn what_is_wrong_with_a_program_is_told_when_it_is_linked() {
    let mut elf = ElfBuilder::little();
    let [low, high] = ld64(1, 0, 0);
    let bad = elf.code("xdp", &[call(-1), low, high, call(100), EXIT]);
    let good = elf.code("tc", &[EXIT]);
    elf.symbol("bad", FUNC, GLOBAL, bad, 0, 40);
    elf.symbol("good", FUNC, GLOBAL, good, 0, 8);
    let memset = elf.symbol("memset", NOTYPE, GLOBAL, UNDEFINED, 0, 0);
    let common = elf.symbol("counter", OBJECT, GLOBAL, COMMON, 8, 8);
    elf.rel(bad, &[(0, 10, memset), (8, 1, common)]);
    let object = Object::parse(&elf.build()).unwrap();
    assert!(object.link("good", &Target::default()).is_ok());
    let errors = object.link("bad", &Target::default()).unwrap_err();
    let found: Vec<_> = errors.iter().map(|e| (e.section.as_deref(), e.symbol.as_deref(), e.off)).collect();
    assert_eq!(found, [0, 8, 24].map(|off| (Some("xdp"), Some("bad"), Some(off))));
    let text = errors.to_string();
    assert!(text.contains("memset") && text.contains("counter"), "{text}");
    let errors = object.link("worse", &Target::default()).unwrap_err();
    assert!(errors.to_string().contains("bad, good"), "{errors}");
}

#[test]
fn files_that_are_no_objects_are_refused() {
    let refused = |bytes: &[u8], why: &str| {
        let text = Object::parse(bytes).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    };
    refused(b"", "not an ELF object");
    refused(b"#!/bin/sh", "not an ELF object");
    let mut elf = ElfBuilder::little();
    elf.machine = 62;
    refused(&elf.build(), "machine 62");
    let mut bytes = ElfBuilder::little().build();
    bytes[16] = 2;
    refused(&bytes, "relocatable");
    let mut elf = ElfBuilder::little();
    elf.bss(".bss", u64::MAX);
    refused(&elf.build(), "at most");
}

#[test]
fn all_errors_come_at_once() {
    let mut elf = ElfBuilder::little();
    elf.code("xdp", &[EXIT]);
    let maps = elf.words("maps", &[1, 2, 3, 12, 4, 4, 1, 0, 9, 0]);
    elf.symbol("short", OBJECT, GLOBAL, maps, 0, 12);
    elf.symbol("lonely", OBJECT, GLOBAL, maps, 12, 28);
    elf.data(".maps", &[0; 8]);
    let errors = Object::parse(&elf.build()).unwrap_err();
    let symbols: Vec<_> = errors.iter().map(|e| e.symbol.as_deref()).collect();
    assert_eq!(symbols, [Some("short"), Some("lonely"), None], "{errors}");
}
