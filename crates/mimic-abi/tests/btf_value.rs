//! Bytes shown as typed values: as text, as JSON, in both byte orders, complete or not.

use mimic_abi::ByteOrder::{self, Big, Little};
use mimic_abi::btf::{Btf, BtfBuilder, DatasecEntry, Field, FwdKind, Int, IntEncoding, Linkage, TypeId};

/// The type that `make` makes, with `int` and `char` to make it from.
fn build(order: ByteOrder, make: impl FnOnce(&mut BtfBuilder, TypeId, TypeId) -> TypeId) -> (Btf, TypeId) {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    let char = b.int("char", 1, IntEncoding::SIGNED);
    let id = make(&mut b, int, char);
    (Btf::parse(b.to_bytes(order).unwrap()).unwrap(), id)
}

/// Text and JSON.
fn show(made: &(Btf, TypeId), bytes: &[u8]) -> (String, String) {
    let value = made.0.value(made.1, bytes);
    (value.to_string(), value.json().to_string())
}

fn both(text: &str, json: &str) -> (String, String) {
    (text.to_owned(), json.to_owned())
}

#[test]
fn integers_of_every_size_and_order() {
    let cases: [(u32, IntEncoding, &[u8], &str, &str); 10] = [
        (1, IntEncoding::SIGNED, &[0xff], "-1", "-1"),
        (1, IntEncoding::NONE, &[0xff], "255", "255"),
        (1, IntEncoding::BOOL, &[1], "true", "true"),
        (1, IntEncoding::BOOL, &[0], "false", "false"),
        (1, IntEncoding::BOOL, &[7], "7", "7"),
        (2, IntEncoding::NONE, &[1, 2], "258", "258"),
        (4, IntEncoding::SIGNED, &[0xff, 0xff, 0xff, 0xfe], "-2", "-2"),
        (8, IntEncoding::NONE, &[0xff; 8], "18446744073709551615", "18446744073709551615"),
        (16, IntEncoding::SIGNED, &[0xff; 16], "-1", "\"-1\""),
        (
            16,
            IntEncoding::NONE,
            &[0xff; 16],
            "340282366920938463463374607431768211455",
            "\"340282366920938463463374607431768211455\"",
        ),
    ];
    for (size, encoding, big, text, json) in cases {
        let little: Vec<_> = big.iter().rev().copied().collect();
        for (order, bytes) in [(Big, big), (Little, &little[..])] {
            let made = build(order, |b, _, _| b.int("x", size, encoding));
            assert_eq!(show(&made, bytes), both(text, json), "{size} bytes {order:?}");
        }
    }
}

#[test]
fn floating_point_numbers() {
    let cases: [(&[u8], &str, &str); 9] = [
        (&0.1f32.to_be_bytes(), "0.1", "0.1"),
        (&0.1f64.to_be_bytes(), "0.1", "0.1"),
        (&1e300f64.to_be_bytes(), "1e300", "1e300"),
        (&f64::NAN.to_be_bytes(), "NaN", "\"NaN\""),
        (&f32::NEG_INFINITY.to_be_bytes(), "-inf", "\"-inf\""),
        (&[0x3c, 0x01], "1.0009766", "1.0009766"),
        (&[0x80, 0x01], "-5.9604645e-8", "-5.9604645e-8"),
        (&[0x7c, 0x00], "inf", "\"inf\""),
        (
            &[0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            "0x3fff0000000000000000000000000001",
            "\"0x3fff0000000000000000000000000001\"",
        ),
    ];
    for (bytes, text, json) in cases {
        let made = build(Big, |b, _, _| b.float("f", bytes.len() as u32));
        assert_eq!(show(&made, bytes), both(text, json));
        let little: Vec<_> = bytes.iter().rev().copied().collect();
        let swapped = made.0.value(made.1, &little).with_order(Little);
        assert_eq!(swapped.to_string(), text);
    }
}

#[test]
fn bit_fields_in_both_orders() {
    // struct { unsigned a:3; int b:5; unsigned c:12; unsigned d:12; } as gcc lays it out on x86-64 and s390x.
    let make = |b: &mut BtfBuilder, int, _| {
        let unsigned = b.int("unsigned int", 4, IntEncoding::NONE);
        b.structure(
            "s",
            4,
            [
                Field::bits("a", unsigned, 0, 3),
                Field::bits("b", int, 3, 5),
                Field::bits("c", unsigned, 8, 12),
                Field::bits("d", unsigned, 20, 12),
            ],
        )
    };
    let expected = both("{.a = 5, .b = -2, .c = 2748, .d = 291}", r#"{"a":5,"b":-2,"c":2748,"d":291}"#);
    assert_eq!(show(&build(Little, make), &[0b1111_0101, 0xbc, 0x3a, 0x12]), expected);
    assert_eq!(show(&build(Big, make), &[0b1011_1110, 0xab, 0xc1, 0x23]), expected);
}

#[test]
fn bit_fields_of_old_compilers() {
    let made = build(Little, |b, _, _| {
        let five =
            b.raw_int("unsigned int", Int { size: 4, encoding: IntEncoding::NONE, offset: 0, bits: 5 });
        b.structure("s", 4, [Field::new("a", five, 0), Field::new("b", five, 5)])
    });
    assert_eq!(show(&made, &[0b001_00011, 0b10, 0, 0]).0, "{.a = 3, .b = 17}");
}

#[test]
fn strings() {
    let cases: [(&[u8], &str, &str); 6] = [
        (b"eth0\0\0\0\0", "\"eth0\"", "\"eth0\""),
        (b"a\0b\0\0\0\0\0", "\"a\\000b\"", "\"a\\u0000b\""),
        (b"a\"\\\n\x01\0\0\0", "\"a\\\"\\\\\\n\\001\"", "\"a\\\"\\\\\\n\\u0001\""),
        ("gr\u{fc}n\0\0\0".as_bytes(), "\"gr\u{fc}n\"", "\"gr\u{fc}n\""),
        (b"a\xff\0\0\0\0\0\0", "\"a\\377\"", "[97,255]"),
        (b"ab", "\"ab\" <6 bytes missing>", "{\"value\":\"ab\",\"missing\":6}"),
    ];
    let made = build(Little, |b, int, char| {
        let constant = b.constant(char);
        b.array(constant, int, 8)
    });
    for (bytes, text, json) in cases {
        assert_eq!(show(&made, bytes), both(text, json));
    }
}

#[test]
fn enumerations_by_name() {
    let made = build(Little, |b, _, _| b.enumeration("e", 4, true, [("ZERO", 0), ("MINUS", -1)]));
    assert_eq!(show(&made, &[0; 4]), both("ZERO", "\"ZERO\""));
    assert_eq!(show(&made, &[255; 4]), both("MINUS", "\"MINUS\""));
    assert_eq!(show(&made, &[5, 0, 0, 0]), both("5", "5"));
    let made = build(Big, |b, _, _| b.enumeration64("e", 8, false, [("TOP", 1 << 63)]));
    assert_eq!(show(&made, &[128, 0, 0, 0, 0, 0, 0, 0]), both("TOP", "\"TOP\""));
}

#[test]
fn nested_and_anonymous_members_and_pointers() {
    let made = build(Little, |b, int, char| {
        let ptr = b.ptr(TypeId::VOID);
        let bytes = b.array(char, int, 4);
        let either = b.union("", 4, [Field::new("word", int, 0), Field::new("bytes", bytes, 0)]);
        let pair = b.structure("pair", 8, [Field::new("a", int, 0), Field::new("b", int, 32)]);
        let pairs = b.array(pair, int, 2);
        let whole = b.structure(
            "s",
            32,
            [
                Field::new("ptr", ptr, 0),
                Field::new("", either, 64),
                Field::bits("", int, 96, 32),
                Field::new("pairs", pairs, 128),
            ],
        );
        b.typedef("s_t", whole)
    });
    let mut bytes = vec![0; 32];
    bytes[0] = 0x10;
    bytes[8] = b'x';
    bytes[16] = 1;
    let text = "{.ptr = 0x10, .word = 120, .bytes = \"x\", .pairs = {{.a = 1, .b = 0}, {.a = 0, .b = 0}}}";
    let json = r#"{"ptr":"0x10","word":120,"bytes":"x","pairs":[{"a":1,"b":0},{"a":0,"b":0}]}"#;
    assert_eq!(show(&made, &bytes), both(text, json));
    let pretty = "\
{
    .ptr = 0x10,
    .word = 120,
    .bytes = \"x\",
    .pairs = {
        {
            .a = 1,
            .b = 0,
        },
        {
            .a = 0,
            .b = 0,
        },
    },
}";
    assert_eq!(format!("{:#}", made.0.value(made.1, &bytes)), pretty);

    let value = made.0.value(made.1, &bytes);
    assert_eq!(value.field("word").unwrap().as_int(), Some(120));
    assert_eq!(value.field("pairs").unwrap().index(0).unwrap().field("a").unwrap().as_int(), Some(1));
    assert_eq!(value.field("pairs").unwrap().len(), 2);
    assert!(value.field("none").is_none());
    assert!(value.index(0).is_none());
}

#[test]
fn equal_elements_are_counted_in_text() {
    let made = build(Little, |b, int, _| b.array(int, int, 20));
    let mut bytes = vec![0; 80];
    bytes[0] = 1;
    let (text, json) = show(&made, &bytes);
    assert_eq!(text, "{1, 0 <repeats 19 times>}");
    assert_eq!(json, format!("[1{}]", ",0".repeat(19)));
    let value = made.0.value(made.1, &bytes);
    assert_eq!(value.text().max_elems(1).to_string(), "{1, <19 more>}");
    assert_eq!(format!("{value:#}"), "{1, 0 <repeats 19 times>}");
}

#[test]
fn flexible_arrays_take_what_is_there() {
    let made = build(Little, |b, int, char| {
        let data = b.array(int, int, 0);
        let none = b.array(char, int, 0);
        let inner = b.structure("inner", 4, [Field::new("n", int, 0), Field::new("data", data, 32)]);
        b.structure(
            "s",
            8,
            [Field::new("gap", none, 0), Field::new("a", int, 0), Field::new("in", inner, 32)],
        )
    });
    let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
    assert_eq!(show(&made, &bytes).0, "{.gap = \"\", .a = 1, .in = {.n = 2, .data = {3, 4}}}");
    assert_eq!(show(&made, &bytes[..8]).1, r#"{"gap":"","a":1,"in":{"n":2,"data":[]}}"#);
}

#[test]
fn what_is_missing_or_too_much_is_said() {
    let made = build(Little, |b, int, char| {
        let ints = b.array(int, int, 4);
        b.structure(
            "s",
            24,
            [
                Field::new("c", char, 0),
                Field::bits("bits", int, 8, 8),
                Field::new("ints", ints, 32),
                Field::new("last", int, 160),
            ],
        )
    });
    let expected = both("<24 bytes missing>", r#"{"missing":24}"#);
    assert_eq!(show(&made, &[]), expected);
    let expected = both(
        "{.c = 1, .bits = <1 byte missing>, .ints = <16 bytes missing>, .last = <4 bytes missing>}",
        r#"{"c":1,"bits":{"missing":1},"ints":{"missing":16},"last":{"missing":4}}"#,
    );
    assert_eq!(show(&made, &[1]), expected);
    let expected = both(
        "{.c = 1, .bits = 2, .ints = {5, <1 byte missing>, <8 bytes missing>}, .last = <4 bytes missing>}",
        r#"{"c":1,"bits":2,"ints":[5,{"missing":1},{"missing":8}],"last":{"missing":4}}"#,
    );
    assert_eq!(show(&made, &[1, 2, 0, 0, 5, 0, 0, 0, 6, 0, 0]), expected);
    assert_eq!(made.0.value(made.1, &[1]).missing(), 23);

    let made = build(Little, |_, int, _| int);
    assert_eq!(show(&made, &[1, 0, 0, 0, 0xab, 0xcd]), both("1 /* 2 bytes more: ab cd */", "1"));
    assert_eq!(made.0.value(made.1, &[1, 0, 0, 0, 0xab]).extra(), [0xab]);
}

#[test]
fn sections_show_their_variables() {
    let made = build(Little, |b, int, _| {
        let a = b.var("a", int, Linkage::Global);
        let c = b.var("c", int, Linkage::Static);
        let entries = [(a, 0), (c, 8)].map(|(ty, off)| DatasecEntry { ty, off, size: 4 });
        b.datasec(".data", 12, entries)
    });
    let bytes = [1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0];
    assert_eq!(show(&made, &bytes), both("{.a = 1, .c = 2}", r#"{"a":1,"c":2}"#));
    assert_eq!(made.0.value(made.1, &bytes).field("c").unwrap().as_int(), Some(2));
}

#[test]
fn what_has_no_values_is_shown_as_bytes() {
    let made = build(Little, |b, _, _| b.fwd("f", FwdKind::Union));
    assert_eq!(show(&made, &[1, 255]), both("<incomplete type: 01 ff>", "[1,255]"));
    assert_eq!(show(&(made.0, TypeId::VOID), &[]), both("<void>", "[]"));
}

#[test]
fn hostile_types_end() {
    // Unions of 16 unions each, 40 deep, and 2^32 elements of nothing.
    let made = build(Little, |b, int, _| {
        let mut inner = int;
        for _ in 0..40 {
            inner = b.union("u", 4, (0..16).map(|_| Field::new("x", inner, 0)));
        }
        inner
    });
    let (text, json) = show(&made, &[1, 0, 0, 0]);
    assert!(text.len() < 4 << 20 && json.len() < 4 << 20);
    let made = build(Little, |b, int, _| {
        let nothing = b.structure("nothing", 0, []);
        b.array(nothing, int, u32::MAX)
    });
    assert_eq!(show(&made, &[]), both("{{} <repeats 4294967295 times>}", "[]"));
    let made = build(Little, |b, int, _| {
        let own = b.next_id();
        b.structure("own", 4, [Field::new("own", own, 0), Field::new("", own, 0), Field::new("int", int, 0)])
    });
    let (text, json) = show(&made, &[1, 0, 0, 0]);
    assert!(text.contains("...") && json.contains("null"));
}
