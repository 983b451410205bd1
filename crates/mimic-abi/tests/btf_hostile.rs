//! Whatever the bytes, reading and showing BTF ends, and what is read can be written again.

use std::fmt::{self, Write};
use std::sync::Arc;

use mimic_abi::ByteOrder::{self, Big, Little};
use mimic_abi::btf::ext::BtfExt;
use mimic_abi::btf::{
    Btf, BtfBuilder, DatasecEntry, DeclTag, Field, FwdKind, Int, IntEncoding, Linkage, TypeId,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Counts what is written and stops at 50,000 bytes.
struct Sink(usize);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        if self.0 > 50_000 { Err(fmt::Error) } else { Ok(()) }
    }
}

fn show(what: impl fmt::Display) {
    let _ = write!(Sink(0), "{what}");
}

/// Looks at everything there is.
fn walk(btf: &Btf, bytes: &[u8]) {
    show(btf.raw_text());
    show(btf.raw_json());
    show(btf.c_header().asserts(true));
    for ty in btf.types() {
        let _ = (btf.size_of(ty.id), btf.align_of(ty.id), btf.member(ty.id, "x"));
        let _ = (btf.named(ty.name()).count(), btf.named_essentially(ty.name()).count());
        let _ = format!("{ty:?}");
        show(btf.c_decl(ty.id, "x"));
        for order in [Little, Big] {
            let value = btf.value(ty.id, bytes).with_order(order);
            show(value.text());
            let _ = write!(Sink(0), "{value:#}");
            show(value.json());
            let _ = (value.as_int(), value.missing(), value.extra(), value.index(1), value.field("x"));
        }
    }
    for order in [Little, Big] {
        let again = Btf::parse(btf.to_bytes(order)).unwrap();
        assert_eq!(again.raw_text().to_string(), btf.raw_text().to_string());
    }
}

/// A builder step: a type made from small numbers, which refer to types that may not exist.
type Step = (u8, Vec<(u32, u32, u8)>, u32, u32);

fn build(steps: &[Step]) -> BtfBuilder {
    let mut b = BtfBuilder::new();
    for (kind, entries, ty, size) in steps {
        let name = format!("{}", [entries.len() as u32, *ty, 7][*size as usize % 3] % 5);
        let name = if *size % 4 == 0 { "" } else { &name };
        let (ty, size) = (TypeId(*ty), *size);
        let fields = || {
            let field = |(index, (ty, off, bits)): (usize, &(u32, u32, u8))| Field {
                name: ["x", "", "y"][index % 3],
                ty: TypeId(*ty),
                bit_off: *off,
                bits: bits.saturating_sub(200),
            };
            entries.iter().enumerate().map(field)
        };
        let values =
            || entries.iter().map(|(a, b, c)| (["V", "W"][*a as usize % 2], i128::from(*b) << (c % 33)));
        match kind % 19 {
            0 => b.raw_int(
                name,
                Int { size: size % 20, encoding: IntEncoding(*kind & 7), offset: 0, bits: *kind },
            ),
            1 => b.ptr(ty),
            2 => b.array(ty, ty, size),
            3 => b.structure(name, size, fields()),
            4 => b.union(name, size, fields()),
            5 => b.enumeration(name, size % 10, *kind > 99, values()),
            6 => b.enumeration64(name, size % 10, *kind > 99, values()),
            7 => b.fwd(name, if *kind > 99 { FwdKind::Struct } else { FwdKind::Union }),
            8 => b.typedef(name, ty),
            9 => b.volatile(ty),
            10 => b.constant(ty),
            11 => b.restrict(ty),
            12 => b.func(name, ty, Linkage::from_raw(size % 4)),
            13 => b.func_proto(ty, entries.iter().map(|(ty, ..)| ("p", TypeId(*ty)))),
            14 => b.var(name, ty, Linkage::from_raw(size % 4)),
            15 => b.datasec(
                name,
                size,
                entries.iter().map(|(ty, off, size)| DatasecEntry {
                    ty: TypeId(*ty),
                    off: *off,
                    size: (*size).into(),
                }),
            ),
            16 => b.float(name, size % 20),
            17 => b.decl_tag(
                name,
                DeclTag { ty, component: Some(size).filter(|size| size % 2 == 0), attribute: false },
            ),
            _ => b.type_tag(name, ty, *kind > 99),
        };
    }
    b
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let small = prop_oneof![0u32..24, 0u32..24, 0u32..300, any::<u32>().prop_map(|word| word >> 8)];
    vec((any::<u8>(), vec((0u32..24, small.clone(), any::<u8>()), 0..6), 0u32..24, small), 1..24)
}

fn order() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(Little), Just(Big)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes(data in vec(any::<u8>(), 0..200)) {
        let _ = Btf::parse(data);
    }

    #[test]
    fn any_types(steps in steps(), order in order(), bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(btf) = Btf::parse(build(&steps).to_bytes(order).unwrap()) {
            walk(&btf, &bytes);
            let mut copy = BtfBuilder::new();
            btf.types().for_each(|ty| { copy.copy(&ty); });
            let copy = Btf::parse(copy.to_bytes(order).unwrap()).unwrap();
            prop_assert_eq!(copy.raw_text().to_string(), btf.raw_text().to_string());
        }
    }

    #[test]
    fn mutated_types(
        steps in steps(),
        order in order(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ext in vec(any::<u8>(), 0..100),
    ) {
        let mut data = build(&steps).to_bytes(order).unwrap();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(btf) = Btf::parse(data) {
            walk(&btf, &ext);
        }
    }

    #[test]
    fn any_split(base in steps(), steps in steps()) {
        if let Ok(base) = Btf::parse(build(&base).to_bytes(Little).unwrap()) {
            let base = Arc::new(base);
            let data = build(&steps).to_bytes(Little).unwrap();
            if let Ok(btf) = Btf::parse_split(&base, data) {
                show(btf.raw_text());
                show(btf.c_header());
                prop_assert_eq!(btf.base().unwrap().type_count() as usize + btf.types().count(), btf.type_count() as usize);
            }
        }
    }

    #[test]
    fn any_ext(
        words in vec(prop_oneof![0u32..64, any::<u32>()], 0..40),
        tail in vec(any::<u8>(), 0..4),
    ) {
        let btf = Btf::parse(build(&[(0, vec![], 0, 4)]).to_bytes(Little).unwrap()).unwrap();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        words.iter().for_each(|word| data.extend(word.to_le_bytes()));
        data.extend(tail);
        let _ = BtfExt::parse(&data, &btf);
        data.splice(4..8.min(data.len()), 32u32.to_le_bytes());
        let _ = BtfExt::parse(&data, &btf);
    }
}

/// The types of the kernel that the tests run on, if it shows them.
#[test]
fn the_kernels_types() {
    let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: there is no /sys/kernel/btf/vmlinux");
        return;
    };
    let btf = Btf::parse(data).unwrap();
    let task = btf.named("task_struct").next().unwrap();
    let comm = btf.member(task.id, "comm").unwrap();
    assert_eq!(btf.size_of(comm.ty), Some(16));
    assert_eq!(btf.c_decl(comm.ty, "comm").to_string(), "char comm[16]");
    let big = Btf::parse(btf.to_bytes(Big)).unwrap();
    assert_eq!(big.byte_order(), Big);
    assert_eq!(big.raw_text().to_string(), btf.raw_text().to_string());
    assert!(big.to_bytes(Little) == btf.to_bytes(Little));
    let header = btf.c_header().to_string();
    assert!(header.contains("\nstruct task_struct {\n") && !header.contains("#error"));
    let zeros = vec![0; btf.size_of(task.id).unwrap() as usize];
    let text = btf.value(task.id, &zeros).to_string();
    assert!(text.contains(".comm = \"\"") && !text.contains("missing") && !text.contains("..."));
}
