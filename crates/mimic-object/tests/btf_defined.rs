//! What BTF defines: maps by the types of a structure's members, slots filled by relocations, struct_ops variables.

mod common;

use common::*;
use mimic_abi::btf::{BtfBuilder, DatasecEntry, Field, IntEncoding, Linkage, TypeId};
use mimic_abi::{ByteOrder, MapType};
use mimic_object::{Contents, Init, LoadErrors, MapSpec, Object, Slot, StructOpsFunc};

/// Types that definitions are put together from.
struct Defs {
    types: BtfBuilder,
    int: TypeId,
}

impl Defs {
    fn new() -> Defs {
        let mut types = BtfBuilder::new();
        let int = types.int("int", 4, IntEncoding::SIGNED);
        Defs { types, int }
    }

    /// `__uint(name, number)`
    fn number(&mut self, number: u32) -> TypeId {
        let array = self.types.array(self.int, self.int, number);
        self.types.ptr(array)
    }

    /// A definition of these members, 8 bytes each.
    fn def(&mut self, members: &[(&str, TypeId)]) -> TypeId {
        let fields: Vec<_> =
            members.iter().zip(0..).map(|((name, ty), i)| Field::new(name, *ty, i * 64)).collect();
        self.types.structure("", members.len() as u32 * 8, fields)
    }
}

/// An object whose `.maps` holds these definitions, with `len` bytes each, and relocations of it.
fn maps(
    mut defs: Defs,
    vars: &[(&str, TypeId)],
    len: u32,
    relocs: &[(u64, &str)],
) -> Result<Object, LoadErrors> {
    let entries: Vec<_> = vars
        .iter()
        .map(|(name, ty)| {
            let ty = defs.types.var(name, *ty, Linkage::Global);
            DatasecEntry { ty, off: 0, size: len }
        })
        .collect();
    defs.types.datasec(".maps", 0, entries);
    let mut elf = ElfBuilder::little();
    let progs = elf.code("socket", &[EXIT, EXIT]);
    let section = elf.data(".maps", &vec![0; len as usize * vars.len()]);
    let mut symbols = vec![
        ("first", elf.symbol("first", FUNC, GLOBAL, progs, 0, 8)),
        ("second", elf.symbol("second", FUNC, GLOBAL, progs, 8, 8)),
    ];
    for (i, (name, _)) in vars.iter().enumerate() {
        let off = i as u64 * u64::from(len);
        symbols.push((*name, elf.symbol(name, OBJECT, GLOBAL, section, off, u64::from(len))));
    }
    let relocs: Vec<_> = relocs
        .iter()
        .map(|(off, name)| (*off, 2, symbols.iter().find(|(known, _)| known == name).unwrap().1))
        .collect();
    elf.rel(section, &relocs);
    elf.info(".BTF", &defs.types.to_bytes(ByteOrder::Little).unwrap());
    Object::parse(&elf.build())
}

#[test]
fn members_say_what_the_map_is() {
    let mut defs = Defs::new();
    let extra = defs.types.enumeration64("", 8, false, [("__unique_value_1", 0x1_0000_0002)]);
    let value = defs.types.structure("value", 24, [Field::new("x", defs.int, 0)]);
    let (key_ptr, value_ptr) = (defs.types.ptr(defs.int), defs.types.ptr(value));
    let numbers = [1, 100, 1, 3, 1].map(|number| defs.number(number));
    let def = defs.def(&[
        ("type", numbers[0]),
        ("max_entries", numbers[1]),
        ("map_flags", numbers[2]),
        ("numa_node", numbers[3]),
        ("pinning", numbers[4]),
        ("key", key_ptr),
        ("value", value_ptr),
        ("map_extra", extra),
        ("flavour", key_ptr),
    ]);
    let object = maps(defs, &[("table", def)], 72, &[]).unwrap();
    let map = &object.maps[0];
    let expected = MapSpec {
        name: "table".into(),
        map_type: MapType::Hash.id(),
        key_size: 4,
        value_size: 24,
        max_entries: 100,
        map_flags: 1,
        map_extra: 0x1_0000_0002,
        numa_node: Some(3),
        pinning: 1,
        key_type: 1,
        value_type: map.value_type,
        ..MapSpec::default()
    };
    assert_eq!(*map, expected);
    assert!(map.is_pinned() && map.value_type != 0);
    assert!(object.warnings[0].message.contains("flavour"), "unknown members are told, not refused");
}

#[test]
fn ring_buffers_are_rounded_to_pages() {
    for (len, rounded) in [(0, 0), (100, 4096), (4096, 4096), (5000, 8192), (12288, 16384), (65536, 65536)] {
        let mut defs = Defs::new();
        let (kind, entries) = (defs.number(27), defs.number(len));
        let def = defs.def(&[("type", kind), ("max_entries", entries)]);
        let object = maps(defs, &[("events", def)], 16, &[]).unwrap();
        assert_eq!(object.maps[0].max_entries, rounded, "{len}");
    }
}

#[test]
fn slots_of_maps_and_programs_are_filled() {
    let mut defs = Defs::new();
    let numbers = [2, 12, 3, 4, 4].map(|number| defs.number(number));
    let inner = defs.def(&[
        ("type", numbers[0]),
        ("key_size", numbers[3]),
        ("value_size", numbers[4]),
        ("max_entries", numbers[0]),
    ]);
    let inner_ptr = defs.types.ptr(inner);
    let inners = defs.types.array(inner_ptr, defs.int, 0);
    let outer = defs.def(&[
        ("type", numbers[1]),
        ("key_size", numbers[3]),
        ("max_entries", numbers[2]),
        ("values", inners),
    ]);
    let proto = defs.types.func_proto(TypeId::VOID, []);
    let proto = defs.types.ptr(proto);
    let protos = defs.types.array(proto, defs.int, 0);
    let jumps = defs.def(&[
        ("type", numbers[2]),
        ("key_size", numbers[3]),
        ("max_entries", numbers[2]),
        ("values", protos),
    ]);
    // Each variable has 48 bytes: `values` begins at 24 and has room for three.
    let relocs = [(48 + 24, "inner"), (48 + 40, "inner"), (96 + 32, "second"), (96 + 24, "first")];
    let object = maps(defs, &[("inner", inner), ("outer", outer), ("jumps", jumps)], 48, &relocs).unwrap();
    let slot = |index, init| Slot { index, init };
    assert_eq!(object.maps[1].contents, Contents::Slots(vec![slot(0, Init::Map(0)), slot(2, Init::Map(0))]));
    let template = object.maps[1].inner.as_deref().unwrap();
    assert_eq!((template.map_type, template.value_size, template.name.as_str()), (2, 4, "outer.inner"));
    let programs = ["first", "second"].map(|name| Init::Program(name.into()));
    let [first, second] = programs;
    assert_eq!(object.maps[2].contents, Contents::Slots(vec![slot(0, first), slot(1, second)]));
}

#[test]
fn definitions_that_make_no_sense_are_all_told() {
    let mut defs = Defs::new();
    let (four, eight, pinned) = (defs.number(4), defs.number(8), defs.int);
    let key = defs.types.ptr(defs.int);
    let typeless = defs.def(&[("max_entries", four)]);
    let conflict = defs.def(&[("type", four), ("key", key), ("key_size", eight)]);
    let no_number = defs.def(&[("type", pinned)]);
    let values = defs.def(&[("type", four), ("values", four)]);
    let vars = [("a", typeless), ("b", conflict), ("c", no_number), ("d", values), ("e", pinned)];
    let errors = maps(defs, &vars, 24, &[]).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| error.symbol.as_deref().unwrap()).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e"], "{errors}");
    let mut defs = Defs::new();
    let two = defs.number(2);
    let plain = defs.def(&[("type", two)]);
    let errors = maps(defs, &[("plain", plain)], 24, &[(8, "first")]).unwrap_err();
    assert!(errors.to_string().contains("no slot"), "{errors}");
}

#[test]
fn struct_ops_variables_name_their_programs() {
    let mut types = BtfBuilder::new();
    let int = types.int("int", 4, IntEncoding::SIGNED);
    let proto = types.func_proto(int, []);
    let func = types.ptr(proto);
    let ops = types.structure(
        "tcp_ops___mine",
        24,
        [Field::new("flags", int, 0), Field::new("init", func, 64), Field::new("done", func, 128)],
    );
    let vars = ["reno", "cubic"].map(|name| types.var(name, ops, Linkage::Global));
    let entries = [0, 24].iter().zip(vars).map(|(off, ty)| DatasecEntry { ty, off: *off, size: 24 });
    types.datasec("?.struct_ops.link", 48, entries);
    let mut elf = ElfBuilder::little();
    let progs = elf.code("struct_ops/init", &[EXIT, EXIT]);
    let mut data = [0; 48];
    data[24] = 7;
    let section = elf.data("?.struct_ops.link", &data);
    elf.symbol("one", FUNC, GLOBAL, progs, 0, 8);
    let two = elf.symbol("two", FUNC, GLOBAL, progs, 8, 8);
    elf.rel(section, &[(24 + 16, 2, two)]);
    elf.info(".BTF", &types.to_bytes(ByteOrder::Little).unwrap());
    let object = Object::parse(&elf.build()).unwrap();
    let [reno, cubic] = &object.struct_ops[..] else { panic!("{:?}", object.struct_ops) };
    assert_eq!((reno.name.as_str(), reno.funcs.len()), ("reno", 0));
    assert_eq!((cubic.type_name.as_str(), cubic.link, cubic.autocreate), ("tcp_ops___mine", true, false));
    assert_eq!(cubic.data[..4], [7, 0, 0, 0]);
    let done = StructOpsFunc { member: "done".into(), index: 2, off: 16, program: "two".into() };
    assert_eq!(cubic.funcs, [done]);
}

#[test]
fn pointers_in_data_are_warned_of() {
    let mut elf = ElfBuilder::little();
    elf.code("socket", &[EXIT]);
    let data = elf.data(".data", &[0; 16]);
    let other = elf.symbol("other", OBJECT, GLOBAL, data, 0, 8);
    elf.rel(data, &[(8, 2, other)]);
    let object = Object::parse(&elf.build()).unwrap();
    let warning = &object.warnings[0];
    assert_eq!((warning.section.as_deref(), warning.off), (Some(".data"), Some(8)));
}
