//! Types written as C. That compilers take it, and lay it out as recorded, is tried with clang by hand over a
//! kernel's types (`c_header().asserts(true)`); here are the shapes that this rests on.

use mimic_abi::ByteOrder::Little;
use mimic_abi::btf::{Btf, BtfBuilder, Field, FwdKind, IntEncoding, TypeId};

/// The header of what `make` makes from `int`, without its guard and blank lines.
fn header(make: impl FnOnce(&mut BtfBuilder, TypeId)) -> String {
    let text = made(make).c_header().guard(false).to_string();
    text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

fn made(make: impl FnOnce(&mut BtfBuilder, TypeId)) -> Btf {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    make(&mut b, int);
    Btf::parse(b.to_bytes(Little).unwrap()).unwrap()
}

#[test]
fn what_is_needed_comes_first() {
    let text = header(|b, int| {
        let id = |b: &BtfBuilder, n| TypeId(b.next_id().0 + n);
        let (ptr_outer, inner) = (id(b, 1), id(b, 2));
        b.structure("outer", 16, [Field::new("self", ptr_outer, 0), Field::new("in", inner, 64)]);
        b.ptr(TypeId(ptr_outer.0 - 1));
        b.structure("inner", 8, [Field::new("x", int, 0), Field::new("y", int, 32)]);
        let late = id(b, 1);
        let ptr_late = b.ptr(late);
        b.structure("late", 8, [Field::new("other", ptr_late, 0)]);
        let early = b.structure("early", 8, [Field::new("late", ptr_late, 0)]);
        b.typedef("early_t", early);
    });
    let expected = "\
struct inner {
\tint x;
\tint y;
};
struct outer {
\tstruct outer *self;
\tstruct inner in;
};
struct late {
\tstruct late *other;
};
struct early {
\tstruct late *late;
};
typedef struct early early_t;
";
    assert_eq!(text, expected);
}

#[test]
fn pointers_in_a_circle_need_a_forward_declaration() {
    let text = header(|b, _| {
        let (first, second) = (b.next_id(), TypeId(b.next_id().0 + 1));
        let (ptr_first, ptr_second) = (TypeId(first.0 + 2), TypeId(first.0 + 3));
        b.structure("first", 8, [Field::new("second", ptr_second, 0)]);
        b.union("second", 8, [Field::new("first", ptr_first, 0)]);
        b.ptr(first);
        b.ptr(second);
    });
    let expected = "\
union second;
struct first {
\tunion second *second;
};
union second {
\tstruct first *first;
};
";
    assert_eq!(text, expected);
}

#[test]
fn layouts_are_kept() {
    let text = header(|b, int| {
        let char = b.int("char", 1, IntEncoding::SIGNED);
        let long = b.int("long long", 8, IntEncoding::SIGNED);
        b.structure("packed", 5, [Field::new("c", char, 0), Field::new("i", int, 8)]);
        b.structure("aligned", 64, [Field::new("c", char, 0), Field::new("l", long, 256)]);
        b.structure(
            "bits",
            8,
            [
                Field::bits("a", int, 0, 3),
                Field::bits("b", int, 7, 20),
                Field::bits("c", int, 32, 1),
                Field::new("d", char, 48),
            ],
        );
        b.structure("tight_bits", 5, [Field::bits("a", char, 0, 3), Field::bits("b", int, 3, 31)]);
        b.structure("far", 4097, [Field::new("c", char, 4096 * 8)]);
        b.union("wide", 12, [Field::new("i", int, 0)]);
        b.structure("none", 0, []);
    });
    let expected = "\
struct packed {
\tchar c;
\tint i;
} __attribute__((packed));
struct aligned {
\tchar c;
\tlong: 64;
\tlong: 64;
\tlong: 64;
\tlong long l;
\tlong: 64;
\tlong: 64;
\tlong: 64;
};
struct bits {
\tint a: 3;
\tchar: 4;
\tint b: 20;
\tchar: 5;
\tint c: 1;
\tshort: 15;
\tchar d;
};
struct tight_bits {
\tchar a: 3;
\tint b: 31;
} __attribute__((packed));
struct far {
\tunsigned char __pad_0[4096];
\tchar c;
};
union wide {
\tint i;
\tunsigned char __pad[12];
};
struct none {};
";
    assert_eq!(text, expected);
}

#[test]
fn enumerations_of_every_length() {
    let text = header(|b, int| {
        b.enumeration("one", 1, false, [("A", 0), ("B", 200)]);
        b.enumeration("two", 2, true, [("C", -1)]);
        b.enumeration("four", 4, false, [("D", 0x8000_0000)]);
        b.enumeration64("eight", 8, true, [("E", 1), ("F", i128::from(i64::MIN))]);
        b.enumeration64("short_eight", 8, false, [("G", 1)]);
        b.enumeration("unknown", 2, false, []);
        b.enumeration("", 4, true, [("H", 1), ("A", 1)]);
        let anonymous = b.enumeration("", 4, true, [("I", -5)]);
        b.structure("s", 8, [Field::new("i", anonymous, 0), Field::new("again", anonymous, 32)]);
        let _ = int;
    });
    let expected = "\
enum one {
\tA = 0,
\tB = 200,
} __attribute__((mode(QI)));
enum two {
\tC = -1,
} __attribute__((mode(HI)));
enum four {
\tD = 2147483648U,
};
enum eight {
\tE = 1,
\tF = (-9223372036854775807LL - 1),
};
enum short_eight {
\tG = 1,
} __attribute__((mode(DI)));
enum unknown : unsigned short;
struct s {
\tenum {
\t\tI = -5,
\t} i;
\tint again;
};
enum {
\tH = 1,
\tA___2 = 1,
};
";
    assert_eq!(text, expected);
}

#[test]
fn names_that_are_taken_or_no_names_are_changed() {
    let text = header(|b, int| {
        b.structure("s", 4, [Field::new("x", int, 0)]);
        let second = b.structure("s", 4, [Field::new("y", int, 0)]);
        b.union("s___2", 4, [Field::new("register", int, 0)]);
        b.enumeration("s", 4, false, [("t", 0)]);
        b.typedef("t", second);
        b.typedef("t", int);
        let fwd = b.fwd("s", FwdKind::Struct);
        let ptr = b.ptr(fwd);
        b.typedef("p", ptr);
        b.fwd("s", FwdKind::Union);
        b.typedef("Option<u8>", int);
        let u32 = b.int("u32", 4, IntEncoding::NONE);
        b.structure("rust", 4, [Field::new("0", u32, 0)]);
    });
    let expected = "\
struct s {
\tint x;
};
struct s___2 {
\tint y;
};
union s___2___2 {
\tint register_;
};
enum s___3 {
\tt___3 = 0,
};
typedef struct s___2 t;
typedef int t___2;
typedef struct s *p;
union s___4;
typedef int Option_u8_;
typedef unsigned int u32;
struct rust {
\tu32 _0;
};
";
    assert_eq!(text, expected);
}

#[test]
fn declarations_read_inside_out() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntEncoding::SIGNED);
    let char = b.int("char", 1, IntEncoding::SIGNED);
    let const_char = b.constant(char);
    let string = b.ptr(const_char);
    let restricted = b.restrict(string);
    let const_string = b.constant(string);
    let row = b.array(int, int, 3);
    let grid = b.array(row, int, 2);
    let ptr_row = b.ptr(row);
    let proto = b.func_proto(string, [("a", int), ("b", ptr_row), ("", TypeId::VOID)]);
    let func = b.ptr(proto);
    let funcs = b.array(func, int, 4);
    let nothing = b.func_proto(func, []);
    let getter = b.ptr(nothing);
    let anonymous = b.structure("", 4, [Field::new("x", int, 0)]);
    let user = b.type_tag("user", anonymous, false);
    let tagged = b.ptr(user);
    let space = b.type_tag("address_space(1)", TypeId::VOID, true);
    let arena = b.ptr(space);
    let evil = b.type_tag("x\"))) int evil(", int, true);
    let evil = b.ptr(evil);
    let volatile = b.volatile(row);
    let btf = Btf::parse(b.to_bytes(Little).unwrap()).unwrap();
    let cases = [
        (TypeId::VOID, "", "void"),
        (int, "x", "int x"),
        (string, "", "const char *"),
        (string, "s", "const char *s"),
        (restricted, "s", "const char *restrict s"),
        (const_string, "s", "const char *const s"),
        (grid, "g", "int g[2][3]"),
        (ptr_row, "p", "int (*p)[3]"),
        (volatile, "v", "volatile int v[3]"),
        (func, "f", "const char *(*f)(int, int (*)[3], ...)"),
        (funcs, "f", "const char *(*f[4])(int, int (*)[3], ...)"),
        (getter, "g", "const char *(*(*g)(void))(int, int (*)[3], ...)"),
        (tagged, "t", "struct {...} __attribute__((btf_type_tag(\"user\"))) *t"),
        (arena, "a", "void __attribute__((address_space(1))) *a"),
        (evil, "e", "int *e"),
        (TypeId(999), "x", "void x"),
    ];
    for (id, name, expected) in cases {
        assert_eq!(btf.c_decl(id, name).to_string(), expected);
    }
}

#[test]
fn anonymous_types_are_written_where_they_are() {
    let text = header(|b, int| {
        let inner = b.structure("", 8, [Field::new("x", int, 0), Field::new("y", int, 32)]);
        let either = b.union("", 8, [Field::new("", inner, 0), Field::new("z", int, 0)]);
        let named = b.structure("named", 4, [Field::new("n", int, 0)]);
        let constant = b.constant(inner);
        let whole = b.structure(
            "",
            20,
            [
                Field::new("", either, 0),
                Field::new("pair", constant, 64),
                // An extension of Microsoft's.
                Field::new("", named, 128),
            ],
        );
        b.typedef("whole_t", whole);
    });
    let expected = "\
struct named {
\tint n;
};
typedef struct {
\tunion {
\t\tstruct {
\t\t\tint x;
\t\t\tint y;
\t\t};
\t\tint z;
\t};
\tconst struct {
\t\tint x;
\t\tint y;
\t} pair;
\tstruct {
\t\tint n;
\t};
} whole_t;
";
    assert_eq!(text, expected);
}

#[test]
fn builtin_argument_lists_are_not_declared() {
    let text = header(|b, int| {
        let tag = b.structure("__va_list_tag", 4, [Field::new("gp_offset", int, 0)]);
        let list = b.array(tag, int, 1);
        let builtin = b.typedef("__builtin_va_list", list);
        b.typedef("va_list", builtin);
        b.typedef("__gnuc_va_list", TypeId::VOID);
    });
    let expected = "\
struct __va_list_tag {
\tint gp_offset;
};
typedef struct __va_list_tag va_list[1];
typedef __builtin_va_list __gnuc_va_list;
";
    assert_eq!(text, expected);
}

#[test]
fn only_what_is_asked_for() {
    let btf = made(|b, int| {
        b.structure("unused", 4, [Field::new("x", int, 0)]);
        let used = b.typedef("used_t", int);
        b.structure("asked", 4, [Field::new("x", used, 0)]);
        b.enumeration("", 4, false, [("UNUSED", 1)]);
    });
    let asked = btf.named("asked").next().unwrap().id;
    let text = btf.c_header().guard(false).asserts(true).only([asked]).to_string();
    let expected = "\
typedef int used_t;

struct asked {
\tused_t x;
};

_Static_assert(sizeof(struct asked) == 4, \"struct asked\");
_Static_assert(__builtin_offsetof(struct asked, x) == 0, \"struct asked.x\");

";
    assert_eq!(text, expected);
}

#[test]
fn hostile_types_end() {
    // Anonymous unions of 16 of the next, 30 deep; a structure in itself; a typedef of itself; a chain of 50,000.
    let text = header(|b, int| {
        let mut inner = int;
        for _ in 0..30 {
            inner = b.union("", 4, (0..16).map(|_| Field::new("", inner, 0)));
        }
        b.structure("unfolds", 4, [Field::new("x", inner, 0)]);
    });
    assert!(text.contains("#error"));
    assert!(text.len() < 64 << 20);

    let text = header(|b, int| {
        let own = b.next_id();
        b.structure("own", 4, [Field::new("own", own, 0)]);
        let own = b.next_id();
        b.typedef("own_t", own);
        let own = b.next_id();
        b.structure("", 4, [Field::new("own", own, 0)]);
        b.typedef("anonymous", own);
        let mut last = int;
        for n in 0..50_000 {
            let ptr = b.ptr(last);
            last = b.typedef(&format!("t{n}"), ptr);
        }
        let own = b.next_id();
        b.func_proto(own, [("", own), ("", own)]);
        b.typedef("proto", own);
    });
    assert!(text.contains("typedef t49998 *t49999;"));
}
