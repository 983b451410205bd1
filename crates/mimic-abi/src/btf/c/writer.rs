//! Writes one type at a time as C.

use std::collections::HashSet;
use std::fmt::Write;

use super::layout::{Layout, Layouts, Padding};
use super::names::{Names, base_type, identifier};
use crate::btf::{Btf, Composite, Enum, FuncProto, FwdKind, Kind, MAX_DEPTH, Member, Type, TypeId};

/// How long one definition may get: bounds structures that unfold again and again. The format's longest has 65,535
/// members, with two or three pieces each.
const MAX_PIECES: usize = 1 << 18;

/// Of how many bytes of names another piece is made.
const PIECE_LEN: usize = 32;

/// From how many bits on padding is one array instead of many bit-fields.
const LONG_PADDING: u64 = 64 * 64;

pub(super) struct Writer<'a> {
    btf: &'a Btf,
    names: Names,
    layouts: Layouts,
    /// Anonymous enumerations that were written.
    enums: HashSet<TypeId>,
    /// Only the outline of anonymous types is shown.
    short: bool,
    /// How many more pieces all definitions, and this one, may have.
    budget: usize,
    pieces: usize,
    gave_up: bool,
}

/// Where something is written.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    indent: usize,
    depth: usize,
    /// Among parameters, where the constants of an enumeration would be lost.
    in_params: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(btf: &'a Btf) -> Writer<'a> {
        Writer { names: Names::new(btf), short: false, ..Writer::short(btf) }
    }

    /// A writer of single declarations that leaves out the inside of anonymous types.
    pub(super) fn short(btf: &'a Btf) -> Writer<'a> {
        Writer {
            btf,
            names: Names::default(),
            layouts: Layouts::default(),
            enums: HashSet::new(),
            short: true,
            // Every type and member is written once, or some more times where anonymous ones are shared.
            budget: btf.total_len().saturating_add(MAX_PIECES),
            pieces: MAX_PIECES,
            gave_up: false,
        }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Something was left out.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up || self.names.ran_out()
    }

    /// A declaration on its own.
    pub(super) fn declaration(&mut self, ty: TypeId, name: &str) -> String {
        self.declare(ty, name.to_owned(), At::default())
    }

    /// `struct name;`
    pub(super) fn forward(&mut self, ty: &Type<'a>) -> String {
        format!("{};\n\n", self.tag(ty))
    }

    /// The definition of a structure, union or enumeration that has a name.
    pub(super) fn definition(&mut self, ty: &Type<'a>) -> String {
        self.pieces = MAX_PIECES;
        let text = match ty.kind.enumeration() {
            Some(enumeration) => self.enumeration(ty, &enumeration, At::default()),
            None => self.composite(ty, At::default()),
        };
        format!("{text};\n\n")
    }

    /// The definition of a typedef.
    pub(super) fn typedef(&mut self, ty: &Type<'a>) -> String {
        self.pieces = MAX_PIECES;
        let Some(of) = ty.kind.alias_of() else {
            return String::new();
        };
        if is_builtin(ty) {
            return String::new();
        }
        // Old compilers lose what it stands for.
        if ty.name() == "__gnuc_va_list" && of == TypeId::VOID {
            return "typedef __builtin_va_list __gnuc_va_list;\n\n".to_owned();
        }
        let name = self.names.of(ty).into_owned();
        format!("typedef {};\n\n", self.declare(of, name, At::default()))
    }

    /// A typedef for an integer or floating point type that C does not have.
    pub(super) fn odd_base(&mut self, ty: &Type<'a>) -> String {
        let name = self.names.of(ty);
        match ty.kind {
            Kind::Int(int) => match int_name(int.size, int.encoding.is_signed(), int.encoding.is_bool()) {
                Some(base) => format!("typedef {base} {name};\n\n"),
                None => format!("typedef struct {{ unsigned char bytes[{}]; }} {name};\n\n", int.size),
            },
            Kind::Float { size } => format!("typedef struct {{ unsigned char bytes[{size}]; }} {name};\n\n"),
            _ => String::new(),
        }
    }

    /// An anonymous enumeration that nothing used yet.
    pub(super) fn lone_enum(&mut self, ty: &Type<'a>) -> Option<String> {
        let enumeration = ty.kind.enumeration().filter(|enumeration| !enumeration.values.is_empty())?;
        self.enums
            .insert(ty.id)
            .then(|| format!("{};\n\n", self.enumeration(ty, &enumeration, At::default())))
    }

    /// Assertions about the layout of a structure or union, or of a typedef for one without a name.
    pub(super) fn asserts(&mut self, ty: &Type<'a>) -> String {
        self.pieces = MAX_PIECES;
        let (id, name) = match ty.kind {
            Kind::Typedef(of) => (of, self.names.of(ty).into_owned()),
            _ => (ty.id, self.tag(ty)),
        };
        let Some(target) = self.btf.ty(id) else {
            return String::new();
        };
        let Some(composite) = target.kind.composite() else {
            return String::new();
        };
        if matches!(ty.kind, Kind::Typedef(_)) && !target.name().is_empty() {
            return String::new();
        }
        let mut text = format!("_Static_assert(sizeof({name}) == {}, \"{name}\");\n", composite.size);
        self.assert_members(&mut text, &name, &composite, 0, 0);
        text.push('\n');
        text
    }

    fn assert_members(
        &mut self,
        text: &mut String,
        name: &str,
        composite: &Composite<'a>,
        start: u64,
        depth: usize,
    ) {
        for member in composite.members.iter().filter(|member| self.btf.bitfield(member).is_none()) {
            let off = start.saturating_add(u64::from(member.bit_off) / 8);
            let inner = self.btf.resolve(member.ty).and_then(|ty| ty.kind.composite());
            if !self.spend(member.name()) {
                return;
            }
            match inner {
                Some(inner) if member.name().is_empty() && depth < MAX_DEPTH => {
                    self.assert_members(text, name, &inner, off, depth + 1);
                }
                _ if member.name().is_empty() => {}
                _ => {
                    let member = identifier(member.name());
                    let offset = format!("__builtin_offsetof({name}, {member}) == {off}");
                    push(text, format_args!("_Static_assert({offset}, \"{name}.{member}\");\n"));
                }
            }
        }
    }

    /// Declares `inner`, which is a name or what was already wrapped around it, to be of a type.
    fn declare(&mut self, id: TypeId, mut inner: String, at: At) -> String {
        let mut words = Qualifiers::default();
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.btf.ty(id).filter(|ty| self.spend(ty.name())) else {
                break;
            };
            match ty.kind {
                Kind::Typedef(of) if is_builtin(&ty) => id = of,
                Kind::Const(of) => id = words.add("const", of),
                Kind::Volatile(of) => id = words.add("volatile", of),
                Kind::Restrict(of) => id = words.add("restrict", of),
                Kind::TypeTag(tag) => id = words.tag(ty.name(), tag.attribute, tag.ty),
                Kind::Ptr(to) => {
                    inner = std::mem::take(&mut words).pointer(&inner);
                    let target = self.btf.skip_qualifiers(to).map(|ty| ty.kind);
                    if matches!(target, Some(Kind::Array(_) | Kind::FuncProto(_))) {
                        inner = format!("({inner})");
                    }
                    id = to;
                }
                Kind::Array(array) => {
                    push(&mut inner, format_args!("[{}]", array.count));
                    id = array.elem;
                }
                Kind::FuncProto(proto) => {
                    words = Qualifiers::default();
                    let params = self.params(&proto, at);
                    push(&mut inner, format_args!("({params})"));
                    id = proto.ret;
                }
                _ => return words.base(&self.base(&ty, at), &inner),
            }
        }
        words.base("void", &inner)
    }

    /// What is not made from other types, or has a name of its own.
    fn base(&mut self, ty: &Type<'a>, at: At) -> String {
        match ty.kind {
            Kind::Struct(_) | Kind::Union(_) if ty.name().is_empty() => {
                self.composite(ty, At { depth: at.depth + 1, ..at })
            }
            Kind::Enum(enumeration) | Kind::Enum64(enumeration) if ty.name().is_empty() => {
                if self.short {
                    return "enum {...}".to_owned();
                }
                if !at.in_params && !enumeration.values.is_empty() && self.enums.insert(ty.id) {
                    return self.enumeration(ty, &enumeration, at);
                }
                int_name(enumeration.size, enumeration.signed, false).unwrap_or("int").to_owned()
            }
            Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_) => self.tag(ty),
            Kind::Typedef(_) => self.names.of(ty).into_owned(),
            Kind::Int(_) | Kind::Float { .. } => match base_type(self.btf, ty) {
                Some(name) => name.to_owned(),
                None => self.names.of(ty).into_owned(),
            },
            Kind::Void
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => "void".to_owned(),
        }
    }

    /// Keyword and name.
    fn tag(&self, ty: &Type<'a>) -> String {
        let ty = self.btf.ty(self.names.definition(ty.id)).unwrap_or(*ty);
        let keyword = match ty.kind {
            Kind::Union(_) | Kind::Fwd(FwdKind::Union) => "union",
            Kind::Enum(_) | Kind::Enum64(_) => "enum",
            _ => "struct",
        };
        format!("{keyword} {}", self.names.of(&ty)).trim_end().to_owned()
    }

    fn params(&mut self, proto: &FuncProto<'a>, at: At) -> String {
        let at = At { in_params: true, depth: at.depth + 1, ..at };
        if proto.params.is_empty() || at.depth > MAX_DEPTH {
            return "void".to_owned();
        }
        let last = proto.params.len() - 1;
        let mut text = String::new();
        for (index, param) in proto.params.iter().enumerate() {
            if self.spent() {
                break;
            }
            if index > 0 {
                text.push_str(", ");
            }
            match param.ty {
                // Only from C23 on `...` can stand alone.
                TypeId::VOID if index == last && last == 0 => {}
                TypeId::VOID if index == last => text.push_str("..."),
                ty => text.push_str(&self.declare(ty, String::new(), at)),
            }
        }
        text
    }

    fn enumeration(&mut self, ty: &Type<'a>, enumeration: &Enum<'a>, at: At) -> String {
        let mut text = self.tag(ty);
        if enumeration.values.is_empty() {
            // Its length is all that is known.
            if let Some(base) = int_name(enumeration.size, enumeration.signed, false) {
                push(&mut text, format_args!(" : {base}"));
            }
            return text;
        }
        text.push_str(" {\n");
        for constant in enumeration.values {
            if !self.spend(constant.name()) {
                break;
            }
            let name = self.names.constant(constant.name());
            indent(&mut text, at.indent + 1);
            push(&mut text, format_args!("{name} = {},\n", number(constant.value)));
        }
        indent(&mut text, at.indent);
        text.push('}');
        let all_short = |constant: i128| i32::try_from(constant).is_ok() || u32::try_from(constant).is_ok();
        match enumeration.size {
            1 => text.push_str(" __attribute__((mode(QI)))"),
            2 => text.push_str(" __attribute__((mode(HI)))"),
            8 if enumeration.values.iter().all(|constant| all_short(constant.value)) => {
                text.push_str(" __attribute__((mode(DI)))");
            }
            _ => {}
        }
        text
    }

    fn composite(&mut self, ty: &Type<'a>, at: At) -> String {
        let mut text = self.tag(ty);
        let Some(composite) = ty.kind.composite() else {
            return text;
        };
        if self.short {
            text.push_str(" {...}");
            return text;
        }
        text.push_str(" {");
        let layout = self.layouts.of(self.btf, ty.id);
        if at.depth <= MAX_DEPTH {
            let inside = At { indent: at.indent + 1, ..at };
            let mut body = String::new();
            match ty.kind {
                Kind::Union(_) => self.union_members(&mut body, &composite, layout, inside),
                _ => self.struct_members(&mut body, &composite, layout, inside),
            }
            if !body.is_empty() {
                text.push('\n');
                text.push_str(&body);
                indent(&mut text, at.indent);
            }
        }
        text.push('}');
        if layout.packed {
            text.push_str(" __attribute__((packed))");
        }
        text
    }

    fn struct_members(&mut self, text: &mut String, composite: &Composite<'a>, layout: Layout, at: At) {
        let mut pos = 0;
        for member in composite.members {
            if self.spent() {
                return;
            }
            let place = self.layouts.place(self.btf, &member);
            let placed = layout.place(pos, &place);
            if placed < place.off {
                pad(text, layout, pos, place.off, at);
            } else if placed > place.off {
                indent(text, at.indent);
                push(text, format_args!("/* overlaps: recorded at bit {} */\n", place.off));
            }
            self.member(text, &member, at);
            pos = place.off.saturating_add(place.len);
        }
        let size = u64::from(composite.size) * 8;
        if layout.end(pos) < size {
            pad(text, layout, pos, size, at);
        }
    }

    fn union_members(&mut self, text: &mut String, composite: &Composite<'a>, layout: Layout, at: At) {
        let mut longest = 0;
        for member in composite.members {
            if self.spent() {
                return;
            }
            longest = longest.max(self.layouts.place(self.btf, &member).len);
            self.member(text, &member, at);
        }
        if layout.end(longest) < u64::from(composite.size) * 8 {
            indent(text, at.indent);
            push(text, format_args!("unsigned char __pad[{}];\n", composite.size));
        }
    }

    fn member(&mut self, text: &mut String, member: &Member<'a>, at: At) {
        if !self.spend(member.name()) {
            return;
        }
        indent(text, at.indent);
        let ty = self.btf.resolve(member.ty);
        let unnamed = ty.filter(|ty| member.name().is_empty() && ty.kind.composite().is_some());
        if let Some(ty) = unnamed {
            // C has unnamed members only of types without a name.
            let body = self.composite(&ty, At { depth: at.depth + 1, ..at });
            let keyword = if matches!(ty.kind, Kind::Union(_)) { "union" } else { "struct" };
            let body = body.find('{').and_then(|start| body.get(start..)).unwrap_or("{}");
            push(text, format_args!("{keyword} {body};\n"));
            return;
        }
        let name = identifier(member.name());
        let inner = match self.btf.bitfield(member) {
            Some((_, bits)) => format!("{name}: {bits}"),
            None if name.is_empty() => format!("__unnamed_{}", member.bit_off),
            None => name.into_owned(),
        };
        let text_of_member = self.declare(member.ty, inner, at);
        push(text, format_args!("{text_of_member};\n"));
    }

    /// Takes a piece, and those of a name, from the budgets; whether there was enough.
    fn spend(&mut self, name: &str) -> bool {
        let pieces = (name.len() / PIECE_LEN).saturating_add(1);
        self.budget = self.budget.saturating_sub(pieces);
        self.pieces = self.pieces.saturating_sub(pieces);
        self.gave_up |= self.spent();
        !self.spent()
    }

    fn spent(&self) -> bool {
        self.budget == 0 || self.pieces == 0
    }
}

/// Compilers have it built in, so that it cannot be declared, and for BPF with another layout than for the target.
pub(super) fn is_builtin(ty: &Type<'_>) -> bool {
    ty.name() == "__builtin_va_list"
}

/// Qualifiers and tags that wait for the type they belong to.
#[derive(Debug, Default)]
struct Qualifiers {
    before: String,
    after: String,
}

impl Qualifiers {
    fn add(&mut self, word: &str, next: TypeId) -> TypeId {
        // Each once, however often it is recorded.
        if !self.before.split(' ').any(|known| known == word) {
            self.before.push_str(word);
            self.before.push(' ');
        }
        next
    }

    fn tag(&mut self, value: &str, attribute: bool, next: TypeId) -> TypeId {
        // The value goes into what will be compiled: nothing that could end the attribute.
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_(), :.-".contains(&byte);
        if value.bytes().all(harmless) {
            let text = if attribute { value.to_owned() } else { format!("btf_type_tag(\"{value}\")") };
            push(&mut self.after, format_args!("__attribute__(({text})) "));
        }
        next
    }

    /// A pointer that these qualify.
    fn pointer(self, inner: &str) -> String {
        let qualified = format!("*{}{}{inner}", self.before, self.after);
        qualified.trim_end().to_owned()
    }

    /// A type that these qualify; only pointers can be restricted.
    fn base(self, base: &str, inner: &str) -> String {
        let before = self.before.replace("restrict ", "");
        format!("{before}{base} {}{inner}", self.after).trim_end().to_owned()
    }
}

/// The integer type of a length in bytes.
fn int_name(size: u32, signed: bool, is_bool: bool) -> Option<&'static str> {
    Some(match (size, signed) {
        (1, _) if is_bool => "_Bool",
        (1, true) => "signed char",
        (1, false) => "unsigned char",
        (2, true) => "short",
        (2, false) => "unsigned short",
        (4, true) => "int",
        (4, false) => "unsigned int",
        (8, true) => "long long",
        (8, false) => "unsigned long long",
        (16, true) => "__int128",
        (16, false) => "unsigned __int128",
        _ => return None,
    })
}

/// A constant in C.
fn number(value: i128) -> String {
    if value == i128::from(i64::MIN) {
        // C has no negative literals, and the positive one does not fit.
        format!("({}LL - 1)", value + 1)
    } else if i32::try_from(value).is_ok() {
        value.to_string()
    } else if u32::try_from(value).is_ok() {
        format!("{value}U")
    } else if i64::try_from(value).is_ok() {
        format!("{value}LL")
    } else {
        format!("{value}ULL")
    }
}

fn pad(text: &mut String, layout: Layout, mut pos: u64, off: u64, at: At) {
    if off.saturating_sub(pos) > LONG_PADDING && off.is_multiple_of(8) {
        let start = pos.next_multiple_of(8);
        indent(text, at.indent);
        push(text, format_args!("unsigned char __pad_{}[{}];\n", start / 8, (off - start) / 8));
        return;
    }
    while pos < off {
        let ((name, bits), end): (Padding, u64) = layout.padding(pos, off);
        indent(text, at.indent);
        push(text, format_args!("{name}: {bits};\n"));
        pos = end;
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n('\t', depth));
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
}
