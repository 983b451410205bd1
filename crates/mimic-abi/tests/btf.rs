//! Reading and writing BTF through the public API.

use mimic_abi::ByteOrder::{self, Big, Little};
use mimic_abi::btf::ext::{BtfExt, CoreKind};
use mimic_abi::btf::{
    Btf, BtfBuilder, BtfErrorReason, DatasecEntry, DeclTag, Field, FwdKind, Int, IntEncoding, Kind, KindCode,
    Linkage, TypeId, essential_name,
};
use std::sync::Arc;

/// One type of each kind.
fn zoo() -> BtfBuilder {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    let char = b.int("char", 1, IntEncoding::SIGNED);
    let array = b.array(char, int, 16);
    let node = TypeId(b.next_id().0 + 1);
    let ptr = b.ptr(node);
    b.structure(
        "node",
        40,
        [
            Field::new("next", ptr, 0),
            Field::new("name", array, 64),
            Field::bits("flag", int, 192, 3),
            Field::bits("", int, 195, 1),
            Field::new("value", int, 224),
        ],
    );
    b.union("either", 8, [Field::new("ptr", ptr, 0), Field::new("int", int, 0)]);
    b.enumeration("color", 4, true, [("RED", 0), ("NONE", -1)]);
    b.enumeration64("mask", 8, false, [("TOP", 1 << 63), ("LOW", 1)]);
    b.enumeration64("minus", 8, true, [("MINUS", -(1 << 40))]);
    b.fwd("opaque", FwdKind::Struct);
    b.fwd("opaque_union", FwdKind::Union);
    let alias = b.typedef("node_t", node);
    let constant = b.constant(alias);
    let volatile = b.volatile(constant);
    b.restrict(ptr);
    let proto = b.func_proto(int, [("node", ptr), ("", TypeId::VOID)]);
    b.func("visit", proto, Linkage::Global);
    let var = b.var("counter", int, Linkage::Static);
    b.datasec(".data", 4, [DatasecEntry { ty: var, off: 0, size: 4 }]);
    b.float("double", 8);
    b.decl_tag("kptr", DeclTag { ty: node, component: Some(1), attribute: false });
    b.decl_tag("whole", DeclTag { ty: node, component: None, attribute: false });
    b.type_tag("rcu", volatile, false);
    b.type_tag("address_space(1)", TypeId::VOID, true);
    b
}

fn parse(builder: &BtfBuilder, order: ByteOrder) -> Btf {
    Btf::parse(builder.to_bytes(order).unwrap()).unwrap()
}

fn debug(btf: &Btf) -> Vec<String> {
    btf.types().map(|ty| format!("{ty:?}")).collect()
}

#[test]
fn both_byte_orders_read_the_same() {
    let (little, big) = (parse(&zoo(), Little), parse(&zoo(), Big));
    assert_eq!(little.byte_order(), Little);
    assert_eq!(big.byte_order(), Big);
    assert_eq!(debug(&little), debug(&big));
    assert_eq!(little.to_bytes(Big), big.bytes());
    assert_eq!(big.to_bytes(Little), little.bytes());
    assert_eq!(little.to_bytes(Little), little.bytes());
}

#[test]
fn a_copy_of_all_types_is_the_same_file() {
    let btf = parse(&zoo(), Little);
    let mut copy = BtfBuilder::new();
    for ty in btf.types() {
        assert_eq!(copy.copy(&ty), ty.id);
    }
    assert_eq!(debug(&parse(&copy, Little)), debug(&btf));
}

#[test]
fn every_kind_is_in_the_zoo() {
    let btf = parse(&zoo(), Little);
    for kind in KindCode::ALL {
        let found = btf.types().any(|ty| ty.kind.code() == kind);
        assert_eq!(found, kind != KindCode::Void, "{kind}");
        assert_eq!(KindCode::from_raw(kind as u32), Some(kind));
    }
    assert_eq!(KindCode::from_raw(20), None);
}

#[test]
fn types_are_found_by_name() {
    let mut builder = zoo();
    builder.fwd("node", FwdKind::Struct);
    builder.structure("node___v2", 0, []);
    let btf = parse(&builder, Little);
    let kinds = |name| btf.named(name).map(|ty| ty.kind.code()).collect::<Vec<_>>();
    assert_eq!(kinds("node"), [KindCode::Struct, KindCode::Fwd]);
    assert_eq!(kinds("nod"), []);
    assert_eq!(kinds(""), []);
    assert_eq!(btf.find("node", KindCode::Fwd).unwrap().id, TypeId(btf.type_count() - 2));
    assert!(btf.find("node", KindCode::Union).is_none());
    assert_eq!(btf.named_essentially("node").count(), 3);
    assert_eq!(btf.named_essentially("node___other").count(), 3);
    assert_eq!(btf.names().filter(|(name, _)| essential_name(name) == "node").count(), 3);
}

#[test]
fn essential_names_are_cut_at_the_last_flavour() {
    let cases = [
        ("a___b", "a"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("a__b", "a__b"),
        ("___b", "___b"),
        ("a___", "a___"),
        ("é___b", "é"),
        ("", ""),
    ];
    for (name, essential) in cases {
        assert_eq!(essential_name(name), essential, "{name}");
    }
}

#[test]
fn entries_are_decoded() {
    let btf = parse(&zoo(), Big);
    let node = btf.find("node", KindCode::Struct).unwrap();
    let members = node.kind.composite().unwrap().members;
    assert_eq!(members.len(), 5);
    let flag = btf.member(node.id, "flag").unwrap();
    assert_eq!((flag.bit_off, flag.bits, btf.bitfield(&flag)), (192, 3, Some((192, 3))));
    assert_eq!(btf.bitfield(&members.get(4).unwrap()), None);
    assert!(members.get(5).is_none());

    let color = btf.find("color", KindCode::Enum).unwrap().kind.enumeration().unwrap();
    assert_eq!(
        (color.name_of(-1), color.value_of("NONE"), color.value_of("BLUE")),
        (Some("NONE"), Some(-1), None)
    );
    let mask = btf.find("mask", KindCode::Enum64).unwrap().kind.enumeration().unwrap();
    assert_eq!(mask.value_of("TOP"), Some(1 << 63));
    let minus = btf.find("minus", KindCode::Enum64).unwrap().kind.enumeration().unwrap();
    assert_eq!(minus.value_of("MINUS"), Some(-(1 << 40)));

    let Kind::DeclTag(tag) = btf.find("kptr", KindCode::DeclTag).unwrap().kind else { panic!() };
    assert_eq!(tag, DeclTag { ty: node.id, component: Some(1), attribute: false });
    let Kind::TypeTag(tag) = btf.find("address_space(1)", KindCode::TypeTag).unwrap().kind else { panic!() };
    assert!(tag.attribute);
}

#[test]
fn tags_of_a_declaration_are_found() {
    let base = Arc::new(parse(&zoo(), Little));
    let node = base.find("node", KindCode::Struct).unwrap().id;
    let mut b = BtfBuilder::split(&base);
    b.decl_tag("later", DeclTag { ty: node, component: None, attribute: true });
    let btf = Btf::parse_split(&base, b.to_bytes(Little).unwrap()).unwrap();
    let tags: Vec<_> = btf.decl_tags(node).map(|(name, tag)| (name, tag.component, tag.attribute)).collect();
    assert_eq!(tags, [("kptr", Some(1), false), ("whole", None, false), ("later", None, true)]);
    assert_eq!(btf.decl_tags(TypeId(1)).count(), 0);
}

#[test]
fn members_of_anonymous_members_are_found() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    let inner = b.structure("", 8, [Field::new("x", int, 0), Field::new("y", int, 32)]);
    let middle = b.union("", 8, [Field::new("", inner, 0), Field::new("z", int, 0)]);
    let outer = b.structure("outer", 12, [Field::new("a", int, 0), Field::new("", middle, 32)]);
    let alias = b.typedef("outer_t", outer);
    let btf = parse(&b, Little);
    assert_eq!(btf.member(alias, "y").unwrap().bit_off, 64);
    assert_eq!(btf.member(alias, "z").unwrap().bit_off, 32);
    assert!(btf.member(alias, "").is_none());
    assert!(btf.member(int, "y").is_none());
}

#[test]
fn sizes_and_alignments() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    let byte = b.int("char", 1, IntEncoding::NONE);
    let wide = b.int("__int128", 16, IntEncoding::SIGNED);
    let row = b.array(int, int, 3);
    let grid = b.array(row, int, 5);
    let packed = b.structure("packed", 5, [Field::new("c", byte, 0), Field::new("i", int, 8)]);
    let padded = b.structure("padded", 8, [Field::new("c", byte, 0), Field::new("i", int, 32)]);
    let tight = b.structure("tight", 5, [Field::new("i", int, 0), Field::new("c", byte, 32)]);
    let huge = b.array(grid, int, u32::MAX);
    let fwd = b.fwd("fwd", FwdKind::Struct);
    let ptr = b.ptr(fwd);
    let flexible = b.array(padded, int, 0);
    let btf = parse(&b, Little);
    let cases = [
        (int, Some(4), Some(4)),
        (wide, Some(16), Some(8)),
        (grid, Some(60), Some(4)),
        (packed, Some(5), Some(1)),
        (padded, Some(8), Some(4)),
        (tight, Some(5), Some(1)),
        (huge, None, Some(4)),
        (fwd, None, None),
        (ptr, Some(8), Some(8)),
        (flexible, Some(0), Some(4)),
        (TypeId::VOID, None, None),
        (TypeId(1000), None, None),
    ];
    for (id, size, align) in cases {
        assert_eq!((btf.size_of(id), btf.align_of(id)), (size, align), "{id:?}");
    }
}

#[test]
fn pointers_are_as_long_as_long() {
    for (size, expected) in [(4, 4), (8, 8), (16, 8)] {
        let mut b = BtfBuilder::new();
        b.int("long unsigned int", size, IntEncoding::NONE);
        let ptr = b.ptr(TypeId::VOID);
        assert_eq!(parse(&b, Little).size_of(ptr), Some(expected));
    }
}

#[test]
fn types_without_end_have_no_size() {
    let mut b = BtfBuilder::new();
    let own = b.next_id();
    b.typedef("own", own);
    let (first, second) = (b.next_id(), TypeId(b.next_id().0 + 1));
    b.constant(second);
    b.volatile(first);
    let array = b.next_id();
    b.array(array, own, 1);
    let nested = b.next_id();
    b.structure("nested", 8, [Field::new("", nested, 0), Field::new("same", nested, 0)]);
    let btf = parse(&b, Little);
    for id in [own, first, second, array] {
        assert_eq!((btf.size_of(id), btf.align_of(id)), (None, None));
        assert!(btf.member(id, "x").is_none());
    }
    assert!(btf.resolve(own).is_none());
    assert_eq!(btf.align_of(nested), None);
    assert!(btf.member(nested, "x").is_none());
}

#[test]
fn many_ways_to_the_same_type_take_no_time() {
    let mut b = BtfBuilder::new();
    let mut inner = b.int("int", 4, IntEncoding::SIGNED);
    for _ in 0..60 {
        let field = Field::new("", inner, 0);
        inner = b.union("", 4, [field; 16]);
    }
    let btf = parse(&b, Little);
    assert_eq!(btf.align_of(inner), Some(4));
    assert!(btf.member(inner, "x").is_none());
}

#[test]
fn split_btf_goes_on_after_its_base() {
    let base = Arc::new(parse(&zoo(), Little));
    let mut b = BtfBuilder::split(&base);
    let node = base.find("node", KindCode::Struct).unwrap().id;
    let extra = b.structure("extra", 40, [Field::new("node", node, 0)]);
    b.fwd("node", FwdKind::Struct);
    assert_eq!(extra.0, base.type_count());
    let btf = Btf::parse_split(&base, b.to_bytes(Little).unwrap()).unwrap();
    assert_eq!(btf.types().count(), 2);
    let member = btf.member(extra, "node").unwrap();
    assert_eq!(btf.ty(member.ty).unwrap().name(), "node");
    assert_eq!(btf.member(member.ty, "value").unwrap().bit_off, 224);
    assert_eq!(btf.named("node").map(|ty| ty.id).collect::<Vec<_>>(), [node, TypeId(extra.0 + 1)]);
    assert_eq!(btf.base().unwrap().type_count(), extra.0);

    let error = Btf::parse_split(&base, b.to_bytes(Big).unwrap()).unwrap_err();
    assert_eq!(error.reason, BtfErrorReason::BaseOrder);
    assert!(Btf::parse(b.to_bytes(Little).unwrap()).is_err());
}

#[test]
fn old_bitfields_are_found() {
    let mut b = BtfBuilder::new();
    let bits = b.raw_int("unsigned int", Int { size: 4, encoding: IntEncoding::NONE, offset: 2, bits: 5 });
    let own = b.structure("old", 4, [Field::new("five", bits, 8)]);
    let btf = parse(&b, Little);
    let five = btf.member(own, "five").unwrap();
    assert_eq!(btf.bitfield(&five), Some((10, 5)));
}

#[test]
fn what_is_no_btf_is_refused_with_a_reason() {
    let good = zoo().to_bytes(Little).unwrap();
    let patched = |at: usize, bytes: &[u8]| {
        let mut data = good.clone();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        Btf::parse(data).unwrap_err()
    };
    assert_eq!(Btf::parse([0u8; 3]).unwrap_err().reason, BtfErrorReason::Truncated(3, 24));
    assert_eq!(patched(0, &[0, 0]).reason, BtfErrorReason::Magic(0));
    assert_eq!(patched(2, &[2]).reason, BtfErrorReason::Version(2));
    assert_eq!(patched(4, &[20]).reason, BtfErrorReason::HeaderLen(20));
    assert_eq!(patched(8, &[2]).reason, BtfErrorReason::Unaligned("types", 2));
    assert!(matches!(patched(12, &[255; 4]).reason, BtfErrorReason::Section("types", 0, u32::MAX)));
    assert!(matches!(patched(20, &[255; 4]).reason, BtfErrorReason::Section("strings", _, u32::MAX)));
    assert_eq!(patched(good.len() - 1, b"x").reason, BtfErrorReason::Strings);
    assert_eq!(patched(24 + 7, &[31]).reason, BtfErrorReason::Kind(31));
    assert_eq!(patched(24 + 7, &[0]).reason, BtfErrorReason::Kind(0));
    assert!(matches!(patched(24, &[255, 255]).reason, BtfErrorReason::NoString(65535, _)));
    let error = patched(24 + 32 + 12, &[255, 255]);
    assert!(matches!(error.reason, BtfErrorReason::NoType(65535, _)));
    assert_eq!(error.ty, Some(TypeId(3)));
    assert!(error.to_string().contains("type [3]: there is no type [65535]"), "{error}");
}

#[test]
fn strings_in_other_encodings_are_shown() {
    let mut b = BtfBuilder::new();
    b.int("gr\u{fc}n", 4, IntEncoding::NONE);
    let mut data = b.to_bytes(Little).unwrap();
    let at = data.len() - 4;
    data[at..].copy_from_slice(b"\xe9xx\0");
    let btf = Btf::parse(data).unwrap();
    assert_eq!(btf.ty(TypeId(1)).unwrap().name(), "gr?xx");
}

#[test]
fn more_than_the_format_can_say_is_refused() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::NONE);
    b.structure("big", 0, std::iter::repeat_n(Field::new("", int, 0), 0x1_0000));
    let error = b.to_bytes(Little).unwrap_err();
    assert_eq!(error.reason, BtfErrorReason::TooMany("entries in one type", 0x1_0000, 0xffff));
}

/// A `.BTF.ext` with one section of each sort of record.
fn ext(order: ByteOrder, name: u32, record_lens: [u32; 3]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, word: u32| {
        out.extend(if order == Little { word.to_le_bytes() } else { word.to_be_bytes() });
    };
    let mut parts = Vec::new();
    for (sort, len) in record_lens.into_iter().enumerate() {
        let mut part = Vec::new();
        for word in [len, name, 2] {
            put(&mut part, word);
        }
        for record in 0..2 {
            (0..len / 4).for_each(|word| put(&mut part, 100 * sort as u32 + 10 * record + word));
        }
        parts.push(part);
    }
    let mut out = if order == Little { vec![0x9f, 0xeb, 1, 0] } else { vec![0xeb, 0x9f, 1, 0] };
    put(&mut out, 32);
    let mut off = 0;
    for part in &parts {
        put(&mut out, off);
        put(&mut out, part.len() as u32);
        off += part.len() as u32;
    }
    out.extend(parts.concat());
    out
}

#[test]
fn ext_is_read_in_both_orders_with_longer_records() {
    let btf = parse(&zoo(), Little);
    for order in [Little, Big] {
        for lens in [[8, 16, 16], [12, 20, 32]] {
            let ext = BtfExt::parse(&ext(order, 1, lens), &btf).unwrap();
            assert_eq!(btf.str_at(ext.funcs[0].name_off), Some("int"));
            assert_eq!(ext.funcs[0].records[1].ty, TypeId(11));
            assert_eq!(ext.lines[0].records[1].line_col, 113);
            assert_eq!(ext.core_relos[0].records[0].kind, 203);
        }
    }
}

#[test]
fn ext_that_is_none_is_refused() {
    let btf = parse(&zoo(), Little);
    let reason = |data: &[u8]| BtfExt::parse(data, &btf).unwrap_err().reason;
    assert_eq!(reason(&ext(Little, 1, [4, 16, 16])), BtfErrorReason::RecordLen(4, 8));
    assert!(matches!(reason(&ext(Little, 9999, [8, 16, 16])), BtfErrorReason::NoString(9999, _)));
    let mut short = ext(Little, 1, [8, 16, 16]);
    short.pop();
    assert!(matches!(reason(&short), BtfErrorReason::Section("CO-RE relocations", _, _)));
    let mut many = ext(Little, 1, [8, 16, 16]);
    many[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(reason(&many), BtfErrorReason::Truncated(16, _)));
}

#[test]
fn old_ext_without_core_is_read() {
    let btf = parse(&zoo(), Little);
    let old = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let ext = BtfExt::parse(&old, &btf).unwrap();
    assert!(ext.funcs.is_empty() && ext.lines.is_empty() && ext.core_relos.is_empty());
}

#[test]
fn core_kinds_have_their_numbers() {
    for (raw, kind) in CoreKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as u32, raw as u32);
        assert_eq!(CoreKind::from_raw(raw as u32), Some(kind));
    }
    assert_eq!(CoreKind::from_raw(13), None);
}

#[test]
fn raw_lists_have_bpftools_words() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    b.structure("s", 8, [Field::new("a", int, 0), Field::bits("", int, 35, 2)]);
    b.enumeration("e", 4, false, [("BIG", 0xffff_ffff)]);
    b.enumeration64("e64", 8, true, [("MINUS", -5)]);
    b.func_proto(TypeId::VOID, [("x", int)]);
    let var = b.var("v", int, Linkage::Global);
    b.datasec(".bss", 4, [DatasecEntry { ty: var, off: 0, size: 4 }]);
    b.decl_tag("t\"ag", DeclTag { ty: int, component: None, attribute: false });
    let btf = parse(&b, Little);
    let text = "\
[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[2] STRUCT 's' size=8 vlen=2
\t'a' type_id=1 bits_offset=0
\t'(anon)' type_id=1 bits_offset=35 bitfield_size=2
[3] ENUM 'e' encoding=UNSIGNED size=4 vlen=1
\t'BIG' val=4294967295
[4] ENUM64 'e64' encoding=SIGNED size=8 vlen=1
\t'MINUS' val=-5LL
[5] FUNC_PROTO '(anon)' ret_type_id=0 vlen=1
\t'x' type_id=1
[6] VAR 'v' type_id=1, linkage=global
[7] DATASEC '.bss' size=4 vlen=1
\ttype_id=6 offset=0 size=4 (VAR 'v')
[8] DECL_TAG 't\"ag' type_id=1 component_idx=-1
";
    assert_eq!(btf.raw_text().to_string(), text);
    let json = concat!(
        r#"{"types":[{"id":1,"kind":"INT","name":"int","size":4,"bits_offset":0,"nr_bits":32,"encoding":"SIGNED"},"#,
        r#"{"id":2,"kind":"STRUCT","name":"s","size":8,"vlen":2,"members":[{"name":"a","type_id":1,"bits_offset":0},"#,
        r#"{"name":"(anon)","type_id":1,"bits_offset":35,"bitfield_size":2}]},"#,
        r#"{"id":3,"kind":"ENUM","name":"e","encoding":"UNSIGNED","size":4,"vlen":1,"values":[{"name":"BIG","val":4294967295}]},"#,
        r#"{"id":4,"kind":"ENUM64","name":"e64","encoding":"SIGNED","size":8,"vlen":1,"values":[{"name":"MINUS","val":-5}]},"#,
        r#"{"id":5,"kind":"FUNC_PROTO","name":"(anon)","ret_type_id":0,"vlen":1,"params":[{"name":"x","type_id":1}]},"#,
        r#"{"id":6,"kind":"VAR","name":"v","type_id":1,"linkage":"global"},"#,
        r#"{"id":7,"kind":"DATASEC","name":".bss","size":4,"vlen":1,"vars":[{"type_id":6,"offset":0,"size":4}]},"#,
        r#"{"id":8,"kind":"DECL_TAG","name":"t\"ag","type_id":1,"component_idx":-1}]}"#,
    );
    assert_eq!(btf.raw_json().to_string(), json);
}
