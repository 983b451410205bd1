//! Kernel configuration, symbols and functions: what a target has, has not, and does not know.

mod common;

use std::sync::{Arc, LazyLock};

use common::*;
use mimic_abi::btf::{Btf, BtfBuilder, DatasecEntry, IntEncoding, Linkage, TypeId};
use mimic_abi::{ByteOrder, KernelVersion};
use mimic_object::{
    Contents, ExternKind, KconfigKind, LoadErrors, MapSpec, Object, POISON_KFUNC_BASE, RefTarget, Target,
};

/// An object whose program loads the address of each kconfig variable.
fn kconfig(
    order: ByteOrder,
    weak: bool,
    vars: impl FnOnce(&mut BtfBuilder) -> Vec<(&'static str, TypeId, u32)>,
) -> Object {
    try_kconfig(order, weak, vars).unwrap()
}

fn try_kconfig(
    order: ByteOrder,
    weak: bool,
    vars: impl FnOnce(&mut BtfBuilder) -> Vec<(&'static str, TypeId, u32)>,
) -> Result<Object, LoadErrors> {
    let mut types = BtfBuilder::new();
    let vars = vars(&mut types);
    let entries: Vec<_> = vars
        .iter()
        .map(|(name, ty, size)| DatasecEntry {
            ty: types.var(name, *ty, Linkage::Extern),
            off: 0,
            size: *size,
        })
        .collect();
    types.datasec(".kconfig", 0, entries);
    let mut elf = ElfBuilder::new(order);
    let code: Vec<_> = vars.iter().flat_map(|_| ld64(1, 0, 0)).chain([EXIT]).collect();
    let section = elf.code("tc", &code);
    elf.symbol("main", FUNC, GLOBAL, section, 0, code.len() as u64 * 8);
    let relocs: Vec<_> = vars
        .iter()
        .enumerate()
        .map(|(i, (name, ..))| {
            let binding = if weak { WEAK } else { GLOBAL };
            (i as u64 * 16, 1, elf.symbol(name, NOTYPE, binding, UNDEFINED, 0, 0))
        })
        .collect();
    elf.rel(section, &relocs);
    elf.info(".BTF", &types.to_bytes(order).unwrap());
    Object::parse(&elf.build())
}

fn common_vars(types: &mut BtfBuilder) -> Vec<(&'static str, TypeId, u32)> {
    let int = types.int("int", 4, IntEncoding::SIGNED);
    let long = types.int("long", 8, IntEncoding::NONE);
    let boolean = types.int("_Bool", 1, IntEncoding::BOOL);
    let character = types.int("char", 1, IntEncoding::SIGNED);
    let tristate =
        types.enumeration("libbpf_tristate", 4, false, [("TRI_NO", 0), ("TRI_YES", 1), ("TRI_MODULE", 2)]);
    let text = types.array(character, int, 4);
    vec![
        ("LINUX_KERNEL_VERSION", int, 4),
        ("CONFIG_LONG", long, 8),
        ("CONFIG_BOOL", boolean, 1),
        ("CONFIG_CHAR", character, 1),
        ("CONFIG_TRISTATE", tristate, 4),
        ("CONFIG_TEXT", text, 4),
    ]
}

fn values(object: &Object, target: &Target) -> Result<Vec<u8>, LoadErrors> {
    let maps = object.maps_for(target)?;
    let map: &MapSpec = maps.iter().find(|map| map.name == ".kconfig").unwrap();
    let Contents::Data { bytes, frozen: true } = &map.contents else { panic!("{map:?}") };
    Ok(bytes.clone())
}

const CONFIG: &str = "CONFIG_LONG=0x1122334455667788\nCONFIG_BOOL=y\nCONFIG_CHAR=m\nCONFIG_TRISTATE=m\nCONFIG_TEXT=\"abcdef\"\n";

#[test]
fn configuration_values_lie_where_libbpf_puts_them() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let object = kconfig(order, false, common_vars);
        // By falling alignment, rising size, name.
        let places: Vec<_> = object
            .externs
            .iter()
            .map(|external| match external.kind {
                ExternKind::Kconfig { off, size, .. } => (external.name.as_str(), off, size),
                ExternKind::Var { .. } | ExternKind::Func { .. } => panic!("{external:?}"),
            })
            .collect();
        let expected = [
            ("CONFIG_LONG", 0, 8),
            ("CONFIG_TRISTATE", 8, 4),
            ("LINUX_KERNEL_VERSION", 12, 4),
            ("CONFIG_BOOL", 16, 1),
            ("CONFIG_CHAR", 17, 1),
            ("CONFIG_TEXT", 18, 4),
        ];
        assert_eq!(places, expected);
        let version = KernelVersion::new(6, 18);
        let target = Target { version, kconfig: Some(Target::parse_kconfig(CONFIG)), ..Target::default() };
        let bytes = values(&object, &target).unwrap();
        let (long, tristate, version) = (0x1122_3344_5566_7788u64, 2u32, 0x0006_1200u32);
        let expected = match order {
            ByteOrder::Little => {
                [&long.to_le_bytes()[..], &tristate.to_le_bytes(), &version.to_le_bytes()].concat()
            }
            ByteOrder::Big => {
                [&long.to_be_bytes()[..], &tristate.to_be_bytes(), &version.to_be_bytes()].concat()
            }
        };
        assert_eq!(bytes, [&expected[..], b"\x01mabc\0"].concat());
        let program = object.link("main", &target).unwrap();
        let map = object.maps.len() - 1;
        assert_eq!(program.refs[0].target, RefTarget::MapValue { map, off: 12 });
        // Whoever prints the map finds its variables.
        let btf = object.btf.as_deref().unwrap();
        assert_eq!(btf.size_of(TypeId(object.maps[map].value_type)), Some(22));
    }
}

#[test]
fn strong_values_must_be_there_weak_ones_are_zero() {
    let object = kconfig(ByteOrder::Little, false, common_vars);
    let errors = values(&object, &Target::default()).unwrap_err();
    assert_eq!(errors.len(), 5, "all but the version: {errors}");
    let wrong = "CONFIG_LONG=99999999999999999999\nCONFIG_BOOL=m\nCONFIG_CHAR=300\nCONFIG_TRISTATE=7\nCONFIG_TEXT=plain\n";
    let target = Target { kconfig: Some(Target::parse_kconfig(wrong)), ..Target::default() };
    assert_eq!(values(&object, &target).unwrap_err().len(), 5);
    let object = kconfig(ByteOrder::Little, true, common_vars);
    let bytes = values(&object, &Target::default()).unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2, "only the version: {bytes:?}");
}

#[test]
fn configuration_has_a_bound_and_arrays_of_themselves_are_none() {
    let huge = |types: &mut BtfBuilder| {
        let character = types.int("char", 1, IntEncoding::SIGNED);
        let text = types.array(character, character, 1 << 20);
        static NAMES: LazyLock<Vec<String>> =
            LazyLock::new(|| (0..4200).map(|i| format!("CONFIG_{i}")).collect());
        NAMES.iter().map(|name| (name.as_str(), text, 1 << 20)).collect()
    };
    let errors = try_kconfig(ByteOrder::Little, false, huge).unwrap_err();
    assert!(errors.to_string().contains("configuration values"), "{errors}");
    let endless = |types: &mut BtfBuilder| {
        let array = types.next_id();
        types.array(array, array, 4);
        vec![("CONFIG_X", array, 4)]
    };
    let errors = try_kconfig(ByteOrder::Little, false, endless).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().symbol.as_deref(), Some("CONFIG_X"));
}

#[test]
fn integers_keep_to_their_range() {
    let value = |signed, text: &str| {
        let object = kconfig(ByteOrder::Little, false, |types| {
            let encoding = if signed { IntEncoding::SIGNED } else { IntEncoding::NONE };
            vec![("CONFIG_X", types.int("short", 2, encoding), 2)]
        });
        assert!(
            matches!(object.externs[0].kind, ExternKind::Kconfig { value: KconfigKind::Int { signed: s }, .. } if s == signed)
        );
        let target =
            Target { kconfig: Some(Target::parse_kconfig(&format!("CONFIG_X={text}"))), ..Target::default() };
        values(&object, &target).ok()
    };
    assert_eq!(value(true, "-1"), Some(vec![0xff, 0xff]));
    assert_eq!(value(true, "-32768"), Some(vec![0, 0x80]));
    assert_eq!(value(true, "32768"), None);
    assert_eq!(value(true, "-32769"), None);
    assert_eq!(value(false, "65535"), Some(vec![0xff, 0xff]));
    assert_eq!(value(false, "65536"), None);
    assert_eq!(value(false, "-1"), None);
    assert_eq!(value(false, "0x10"), Some(vec![0x10, 0]));
    assert_eq!(value(false, "010"), Some(vec![8, 0]));
}

/// A program that calls `bpf_do___v2`, takes its address, and the addresses of `jiffies` (typed) and `start` (typeless).
fn ksyms(binding: u8) -> Object {
    let mut types = BtfBuilder::new();
    let int = types.int("int", 4, IntEncoding::SIGNED);
    let proto = types.func_proto(int, [("x", int)]);
    let entries = [
        DatasecEntry { ty: types.func("bpf_do___v2", proto, Linkage::Extern), off: 0, size: 0 },
        DatasecEntry { ty: types.var("jiffies", int, Linkage::Extern), off: 0, size: 4 },
        DatasecEntry { ty: types.var("start", TypeId::VOID, Linkage::Extern), off: 0, size: 0 },
    ];
    types.datasec(".ksyms", 0, entries);
    let mut elf = ElfBuilder::little();
    let loads = [ld64(1, 0, 0), ld64(2, 0, 0), ld64(3, 0, 0)].concat();
    let code: Vec<_> = [insn(0x85, 0, 1, 0, -1)].into_iter().chain(loads).chain([EXIT]).collect();
    let section = elf.code("tc", &code);
    elf.symbol("main", FUNC, GLOBAL, section, 0, code.len() as u64 * 8);
    let [func, var, start] =
        ["bpf_do___v2", "jiffies", "start"].map(|name| elf.symbol(name, NOTYPE, binding, UNDEFINED, 0, 0));
    elf.rel(section, &[(0, 10, func), (8, 1, func), (24, 1, var), (40, 1, start)]);
    elf.info(".BTF", &types.to_bytes(ByteOrder::Little).unwrap());
    Object::parse(&elf.build()).unwrap()
}

fn kernel(with: impl FnOnce(&mut BtfBuilder)) -> Target {
    let mut types = BtfBuilder::new();
    with(&mut types);
    let btf = Btf::parse(types.to_bytes(ByteOrder::Little).unwrap()).unwrap();
    Target { btf: Some(Arc::new(btf)), ksyms: Some(Default::default()), ..Target::default() }
}

#[test]
fn what_the_target_does_not_know_is_left_to_the_loader() {
    let program = ksyms(GLOBAL).link("main", &Target::default()).unwrap();
    let names: Vec<_> = program
        .refs
        .iter()
        .map(|r| match &r.target {
            RefTarget::Kfunc { name, weak: false, btf_id: 0 } => (r.pc, name.as_str()),
            RefTarget::Ksym { name, weak: false, btf_id: 0, .. } => (r.pc, name.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [(0, "bpf_do"), (1, "bpf_do"), (3, "jiffies"), (5, "start")]);
    assert_eq!(
        (program.code[0].src, program.code[0].imm),
        (2, 0),
        "a call of a kernel function, of none yet"
    );
}

#[test]
fn the_objects_own_types_say_nothing_of_the_kernel() {
    let object = ksyms(GLOBAL);
    let own = Target { btf: object.btf.clone(), ..Target::default() };
    assert_eq!(object.link("main", &own), object.link("main", &Target::default()));
}

#[test]
fn what_the_target_has_is_found_by_name_and_type() {
    let mut target = kernel(|types| {
        let long = types.int("long", 8, IntEncoding::SIGNED);
        let proto = types.func_proto(long, [("y", long)]);
        types.func("bpf_do", proto, Linkage::Static);
        types.var("jiffies", long, Linkage::Global);
    });
    target.ksyms = Some(Target::parse_kallsyms("ffffffff81000000 T start\nbroken\n"));
    let program = ksyms(GLOBAL).link("main", &target).unwrap();
    let code = program.code_for_bpf(&[]).unwrap();
    assert_eq!((code[0].imm, code[1].src, code[1].imm, code[3].src, code[3].imm), (3, 3, 3, 3, 4));
}

#[test]
fn what_the_target_lacks_is_an_error_or_null() {
    let empty = kernel(|_| ());
    let errors = ksyms(GLOBAL).link("main", &empty).unwrap_err();
    assert_eq!(errors.len(), 4, "{errors}");
    let program = ksyms(WEAK).link("main", &empty).unwrap();
    assert_eq!(program.refs, []);
    assert_eq!(
        (program.code[0].src, program.code[0].imm),
        (0, POISON_KFUNC_BASE),
        "its own number tells it apart"
    );
    assert!(program.code[1..7].iter().all(|insn| insn.imm == 0 && insn.src == 0));
    // Another prototype is as good as none.
    let other = kernel(|types| {
        let long = types.int("long", 8, IntEncoding::SIGNED);
        let proto = types.func_proto(long, [("y", long), ("z", long)]);
        types.func("bpf_do", proto, Linkage::Static);
    });
    assert_eq!(ksyms(WEAK).link("main", &other).unwrap().refs, []);
    let errors = ksyms(GLOBAL).link("main", &other).unwrap_err();
    assert!(errors.to_string().contains("another prototype"), "{errors}");
    // A list of functions goes before BTF.
    let target = Target { kfuncs: Some(["bpf_do".to_owned()].into()), ..Target::default() };
    assert!(ksyms(GLOBAL).link("main", &target).is_ok());
    let target = Target { kfuncs: Some(Default::default()), ..Target::default() };
    assert_eq!(ksyms(GLOBAL).link("main", &target).unwrap_err().len(), 2);
}
