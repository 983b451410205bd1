//! CO-RE, record kind by record kind, against targets that differ from the local types in one respect each.

mod common;

use std::sync::Arc;

use common::*;
use mimic_abi::btf::ext::CoreKind;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding, TypeId};
use mimic_abi::{ByteOrder, RawInsn};
use mimic_object::{LoadErrors, Object, POISON_HELPER, Program, Target};

const MOV: u8 = 0xb7;
const LDX_W: u8 = 0x61;
const LDX_DW: u8 = 0x79;

/// An object with one program whose first instruction has one record.
fn link(
    order: ByteOrder,
    local: impl FnOnce(&mut BtfBuilder) -> TypeId,
    (kind, access): (CoreKind, &str),
    insns: &[RawInsn],
    target: impl FnOnce(&mut BtfBuilder),
) -> Result<Program, LoadErrors> {
    let mut types = BtfBuilder::new();
    let id = local(&mut types);
    let (name, access) = (types.string("tc"), types.string(access));
    let mut elf = ElfBuilder::new(order);
    let code: Vec<RawInsn> = insns.iter().copied().chain([EXIT]).collect();
    let section = elf.code("tc", &code);
    elf.symbol("main", FUNC, GLOBAL, section, 0, code.len() as u64 * 8);
    elf.info(".BTF", &types.to_bytes(order).unwrap());
    let ext = btf_ext(&elf, name, &[(0, id.0, access, kind as u32)]);
    elf.info(".BTF.ext", &ext);
    let mut kernel = BtfBuilder::new();
    target(&mut kernel);
    let btf = Btf::parse(kernel.to_bytes(order).unwrap()).unwrap();
    let target = Target { btf: Some(Arc::new(btf)), ..Target::default() };
    let object = Object::parse(&elf.build()).unwrap();
    assert_eq!(object.warnings, []);
    object.link("main", &target)
}

/// Links with little-endian types; answers the first instruction.
fn first(
    local: impl FnOnce(&mut BtfBuilder) -> TypeId,
    record: (CoreKind, &str),
    insn: RawInsn,
    target: impl FnOnce(&mut BtfBuilder),
) -> RawInsn {
    link(ByteOrder::Little, local, record, &[insn], target).unwrap().code[0]
}

fn int(types: &mut BtfBuilder) -> TypeId {
    types.int("int", 4, IntEncoding::SIGNED)
}

fn unsigned(types: &mut BtfBuilder, size: u32) -> TypeId {
    types.int("number", size, IntEncoding::NONE)
}

/// `struct task___mine { int pid; int tgid; }`
fn local_task(types: &mut BtfBuilder) -> TypeId {
    let int = int(types);
    types.structure("task___mine", 8, [Field::new("pid", int, 0), Field::new("tgid", int, 32)])
}

/// The same fields elsewhere, one of them in an anonymous union.
fn kernel_task(types: &mut BtfBuilder) {
    let int = int(types);
    let union = types.union("", 8, [Field::new("other", int, 0), Field::new("tgid", int, 0)]);
    types.structure("task", 32, [Field::new("pid", int, 64), Field::new("", union, 128)]);
}

fn poisoned() -> RawInsn {
    insn(0x85, 0, 0, 0, POISON_HELPER)
}

#[test]
fn fields_are_found_by_name_also_in_anonymous_members() {
    let load = |off| insn(LDX_W, 1, 2, off, 0);
    assert_eq!(first(local_task, (CoreKind::FieldByteOffset, "0:0"), load(0), kernel_task), load(8));
    assert_eq!(first(local_task, (CoreKind::FieldByteOffset, "0:1"), load(4), kernel_task), load(16));
    let mov = |imm| insn(MOV, 1, 0, 0, imm);
    assert_eq!(first(local_task, (CoreKind::FieldExists, "0:1"), mov(1), kernel_task), mov(1));
    assert_eq!(first(local_task, (CoreKind::FieldByteSize, "0:1"), mov(4), kernel_task), mov(4));
    assert_eq!(first(local_task, (CoreKind::FieldSigned, "0:1"), mov(1), kernel_task), mov(1));
}

#[test]
fn what_is_not_there_is_poisoned_or_said_not_to_exist() {
    let bare = |types: &mut BtfBuilder| {
        types.structure("task", 0, []);
    };
    let mov = |imm| insn(MOV, 1, 0, 0, imm);
    assert_eq!(first(local_task, (CoreKind::FieldExists, "0:0"), mov(1), bare), mov(0));
    assert_eq!(
        first(local_task, (CoreKind::FieldByteOffset, "0:0"), insn(LDX_W, 1, 2, 0, 0), bare),
        poisoned()
    );
    assert_eq!(first(local_task, (CoreKind::FieldByteSize, "0:0"), mov(4), bare), poisoned());
    assert_eq!(first(local_task, (CoreKind::TypeExists, "0"), mov(1), |_| ()), mov(0));
    assert_eq!(first(local_task, (CoreKind::TypeSize, "0"), mov(8), |_| ()), mov(0));
    assert_eq!(first(local_task, (CoreKind::TypeIdTarget, "0"), mov(2), |_| ()), mov(0));
    let [low, high] = ld64(1, 0, 4);
    let program =
        link(ByteOrder::Little, local_task, (CoreKind::FieldByteOffset, "0:1"), &[low, high], bare).unwrap();
    assert_eq!(program.code[..2], [poisoned(), poisoned()], "both halves of a ld_imm64");
}

#[test]
fn types() {
    let mov = |imm| insn(MOV, 1, 0, 0, imm);
    assert_eq!(first(local_task, (CoreKind::TypeExists, "0"), mov(1), kernel_task), mov(1));
    assert_eq!(first(local_task, (CoreKind::TypeSize, "0"), mov(8), kernel_task), mov(32));
    assert_eq!(first(local_task, (CoreKind::TypeIdTarget, "0"), mov(2), kernel_task), mov(3));
    assert_eq!(first(local_task, (CoreKind::TypeIdLocal, "0"), mov(99), |_| ()), mov(2));
    // `pid` and `tgid` are there, but `tgid` is not a member of the structure itself.
    assert_eq!(first(local_task, (CoreKind::TypeMatches, "0"), mov(1), kernel_task), mov(0));
    let same = |types: &mut BtfBuilder| {
        let int = int(types);
        let fields = [Field::new("tgid", int, 0), Field::new("pid", int, 32), Field::new("more", int, 64)];
        types.structure("task", 12, fields);
    };
    assert_eq!(first(local_task, (CoreKind::TypeMatches, "0"), mov(1), same), mov(1));
    let union = |types: &mut BtfBuilder| {
        types.union("task", 0, []);
    };
    assert_eq!(
        first(local_task, (CoreKind::TypeExists, "0"), mov(1), union),
        mov(0),
        "a union is no structure"
    );
}

#[test]
fn loads_change_their_size_where_zero_extension_allows() {
    let local = |types: &mut BtfBuilder| {
        let number = unsigned(types, 8);
        types.structure("s", 8, [Field::new("x", number, 0)])
    };
    let target = |size: u32, encoding: IntEncoding| {
        move |types: &mut BtfBuilder| {
            let number = types.int("number", size, encoding);
            types.structure("s", 16, [Field::new("x", number, 64)]);
        }
    };
    let record = (CoreKind::FieldByteOffset, "0:0");
    let load = insn(LDX_DW, 1, 2, 0, 0);
    assert_eq!(first(local, record, load, target(4, IntEncoding::NONE)), insn(LDX_W, 1, 2, 8, 0));
    assert_eq!(first(local, record, load, target(1, IntEncoding::NONE)), insn(0x71, 1, 2, 8, 0));
    assert_eq!(first(local, record, load, target(4, IntEncoding::SIGNED)), poisoned());
    assert_eq!(first(local, record, load, target(8, IntEncoding::SIGNED)), insn(LDX_DW, 1, 2, 8, 0));
}

#[test]
fn bit_fields_shift_by_byte_order() {
    let local = |types: &mut BtfBuilder| {
        let number = unsigned(types, 4);
        types.structure("s", 4, [Field::bits("x", number, 0, 3)])
    };
    let target = |types: &mut BtfBuilder| {
        let number = unsigned(types, 4);
        types.structure("s", 8, [Field::bits("x", number, 37, 5)]);
    };
    let value = |order, kind| {
        let program = link(order, local, (kind, "0:0"), &[insn(MOV, 1, 0, 0, 77)], target);
        program.map(|program| program.code[0].imm)
    };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        assert_eq!(value(order, CoreKind::FieldByteOffset), Ok(4));
        assert_eq!(value(order, CoreKind::FieldByteSize), Ok(4));
    }
    // Bits 5 to 9 of the word: 64 - 10 to the left; big-endian words begin with bit 0 at the top.
    assert_eq!(value(ByteOrder::Little, CoreKind::FieldLshiftU64), Ok(54));
    assert_eq!(value(ByteOrder::Big, CoreKind::FieldLshiftU64), Ok(37));
    let shift = insn(MOV, 1, 0, 0, 61);
    assert_eq!(first(local, (CoreKind::FieldRshiftU64, "0:0"), shift, target).imm, 59);
}

#[test]
fn enumerators_by_name() {
    let local =
        |types: &mut BtfBuilder| types.enumeration("color___2", 4, false, [("RED", 0), ("BLUE___x", 1)]);
    let target = |types: &mut BtfBuilder| {
        types.enumeration64("color", 8, true, [("BLUE", -5), ("GREEN", 1 << 40)]);
    };
    let mov = |imm| insn(MOV, 1, 0, 0, imm);
    assert_eq!(first(local, (CoreKind::EnumvalExists, "1"), mov(1), target), mov(1));
    assert_eq!(first(local, (CoreKind::EnumvalExists, "0"), mov(1), target), mov(0));
    assert_eq!(first(local, (CoreKind::EnumvalValue, "0"), mov(0), target), poisoned());
    let [low, high] = ld64(1, 0, 1);
    let program =
        link(ByteOrder::Little, local, (CoreKind::EnumvalValue, "1"), &[low, high], target).unwrap();
    assert_eq!((program.code[0].imm, program.code[1].imm), (-5, -1), "64 bits of it");
}

#[test]
fn array_elements() {
    let local = |types: &mut BtfBuilder| {
        let int = int(types);
        let array = types.array(int, int, 4);
        types.structure("s", 16, [Field::new("a", array, 0)])
    };
    let target = |len: u32, size: u32| {
        move |types: &mut BtfBuilder| {
            let number = types.int("int", size, IntEncoding::SIGNED);
            let array = types.array(number, number, len);
            types.structure("s", 8 + len * size, [Field::new("b", number, 0), Field::new("a", array, 64)]);
        }
    };
    let record = (CoreKind::FieldByteOffset, "0:0:2");
    let load = insn(LDX_W, 1, 2, 8, 0);
    assert_eq!(first(local, record, load, target(3, 4)), insn(LDX_W, 1, 2, 16, 0));
    assert_eq!(first(local, record, load, target(2, 4)), poisoned(), "beyond the array");
    assert_eq!(
        first(local, record, load, target(0, 4)),
        insn(LDX_W, 1, 2, 16, 0),
        "a flexible one has no end"
    );
    assert_eq!(first(local, record, load, target(4, 2)), poisoned(), "signed numbers cannot be narrowed");
}

#[test]
fn candidates_must_agree() {
    let two = |second: u32| {
        move |types: &mut BtfBuilder| {
            let int = int(types);
            types.structure("task", 8, [Field::new("pid", int, 32)]);
            types.structure("task___old", 8, [Field::new("pid", int, second)]);
            types.structure("task___new", 8, [Field::new("id", int, 0)]);
        }
    };
    let record = (CoreKind::FieldByteOffset, "0:0");
    let load = insn(LDX_W, 1, 2, 0, 0);
    assert_eq!(first(local_task, record, load, two(32)), insn(LDX_W, 1, 2, 4, 0));
    let errors = link(ByteOrder::Little, local_task, record, &[load], two(0)).unwrap_err();
    assert!(errors.to_string().contains("ambiguous"), "{errors}");
}

#[test]
fn records_that_make_no_sense_are_errors() {
    let wrong = |record: (CoreKind, &str), insn: RawInsn| {
        let errors = link(ByteOrder::Little, local_task, record, &[insn], kernel_task).unwrap_err();
        let error = errors.iter().next().unwrap().clone();
        assert_eq!(
            (error.section.as_deref(), error.symbol.as_deref(), error.off),
            (Some("tc"), Some("main"), Some(0))
        );
        error.message
    };
    let load = |off| insn(LDX_W, 1, 2, off, 0);
    let offset = CoreKind::FieldByteOffset;
    assert!(wrong((offset, "0:7"), load(0)).contains("no element 7"));
    assert!(wrong((offset, "0:x"), load(0)).contains("access string"));
    assert!(wrong((offset, ""), load(0)).contains("access string"));
    assert!(wrong((CoreKind::TypeSize, "0:1"), insn(MOV, 1, 0, 0, 8)).contains("expected '0'"));
    assert!(wrong((CoreKind::EnumvalValue, "0"), insn(MOV, 1, 0, 0, 8)).contains("enumerator"));
    assert!(wrong((offset, "0:0"), load(12)).contains("holds 12"));
    assert!(wrong((offset, "0:0"), EXIT).contains("opcode"));
    let deep = vec!["0"; 65].join(":");
    assert!(wrong((offset, &deep), load(0)).contains("no elements"));
}

#[test]
fn without_types_of_the_target_there_is_an_error_that_says_so() {
    let mut types = BtfBuilder::new();
    let id = local_task(&mut types);
    let (name, access) = (types.string("tc"), types.string("0:0"));
    let mut elf = ElfBuilder::little();
    let section = elf.code("tc", &[insn(LDX_W, 1, 2, 0, 0), EXIT]);
    elf.symbol("main", FUNC, GLOBAL, section, 0, 16);
    elf.info(".BTF", &types.to_bytes(ByteOrder::Little).unwrap());
    let ext = btf_ext(&elf, name, &[(0, id.0, access, 0)]);
    elf.info(".BTF.ext", &ext);
    let errors = Object::parse(&elf.build()).unwrap().link("main", &Target::default()).unwrap_err();
    assert!(errors.to_string().contains("give it BTF"), "{errors}");
}

#[test]
fn types_that_contain_themselves_end() {
    // Each structure holds the next twice, without a name: two to the power of 60 ways to the last.
    let target = |types: &mut BtfBuilder| {
        for i in 0..60 {
            let next = TypeId(types.next_id().0 + 1);
            let fields = [Field::new("", next, 0), Field::new("", next, 0)];
            types.structure(if i == 0 { "task" } else { "" }, 8, fields);
        }
        types.structure("", 8, []);
    };
    let load = insn(LDX_W, 1, 2, 0, 0);
    assert_eq!(first(local_task, (CoreKind::FieldByteOffset, "0:0"), load, target), poisoned());
    // An array of itself, as the type of the local field, has no size.
    let local = |types: &mut BtfBuilder| {
        let array = TypeId(types.next_id().0);
        types.array(array, array, 4);
        types.structure("task", 8, [Field::new("pid", array, 0)])
    };
    let record = (CoreKind::FieldByteOffset, "0:0:1");
    let errors = link(ByteOrder::Little, local, record, &[load], kernel_task).unwrap_err();
    assert!(errors.to_string().contains("no size"), "{errors}");
}

#[test]
fn against_its_own_types_an_object_stays_as_it_is() {
    let mut types = BtfBuilder::new();
    let id = local_task(&mut types);
    let other = types.structure("task___other", 8, [Field::new("tgid", TypeId(1), 0)]);
    let (name, access) = (types.string("tc"), types.string("0:1"));
    let other_access = types.string("0:0");
    let mut elf = ElfBuilder::little();
    let code = [insn(LDX_W, 1, 2, 4, 0), insn(LDX_W, 1, 2, 0, 0), EXIT];
    let section = elf.code("tc", &code);
    elf.symbol("main", FUNC, GLOBAL, section, 0, 24);
    elf.info(".BTF", &types.to_bytes(ByteOrder::Little).unwrap());
    let ext = btf_ext(&elf, name, &[(0, id.0, access, 0), (8, other.0, other_access, 0)]);
    elf.info(".BTF.ext", &ext);
    let object = Object::parse(&elf.build()).unwrap();
    let target = Target { btf: object.btf.clone(), ..Target::default() };
    assert_eq!(object.link("main", &target).unwrap().code, code, "flavours are not taken for each other");
}
