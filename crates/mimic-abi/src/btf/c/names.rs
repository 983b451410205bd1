//! What types and constants are called in C: unique, and made of letters that C allows.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::btf::{Btf, FwdKind, Kind, KindCode, Type, TypeId};

/// The names in C's two name spaces.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Structures, unions and enumerations: the kind of each name and the first type that has it.
    tags: HashMap<String, (KindCode, TypeId)>,
    /// Typedefs and constants.
    idents: HashSet<String>,
    /// What types are called whose own name is taken or not C.
    renamed: HashMap<TypeId, String>,
    /// The definitions of types that are only declared.
    definitions: HashMap<TypeId, TypeId>,
    /// How often a name was taken, where the search for a free one goes on.
    counts: HashMap<String, u32>,
    /// How many more bytes of names may be kept: bounds what long names that share their bytes take.
    room: usize,
    /// How many names were replaced by short ones for want of room.
    lost: u32,
}

const KEYWORDS: [&str; 37] = [
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
    "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return",
    "short", "signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void",
    "volatile", "while", "asm", "typeof", "_Bool",
];

impl Names {
    pub(super) fn new(btf: &Btf) -> Names {
        let mut names = Names { room: btf.total_len().saturating_mul(4), ..Names::default() };
        let ids = || (1..btf.type_count()).filter_map(|id| btf.ty(TypeId(id)));
        for ty in ids().filter(|ty| !ty.name().is_empty()) {
            match ty.kind {
                Kind::Struct(_) | Kind::Union(_) => names.define(&ty),
                Kind::Enum(e) | Kind::Enum64(e) if !e.values.is_empty() => names.define(&ty),
                Kind::Typedef(_) => names.reserve(&ty),
                Kind::Int(_) | Kind::Float { .. } if base_type(btf, &ty).is_none() => names.reserve(&ty),
                _ => {}
            }
        }
        // Declarations come last, so that each finds its definition.
        for ty in ids().filter(|ty| !ty.name().is_empty()) {
            match ty.kind {
                Kind::Fwd(FwdKind::Union) => names.declare(&ty, KindCode::Union),
                Kind::Fwd(_) => names.declare(&ty, KindCode::Struct),
                Kind::Enum(e) | Kind::Enum64(e) if e.values.is_empty() => names.declare(&ty, KindCode::Enum),
                _ => {}
            }
        }
        names
    }

    /// The name in C, without the keyword in front.
    pub(super) fn of<'a>(&'a self, ty: &Type<'a>) -> Cow<'a, str> {
        match self.renamed.get(&ty.id) {
            Some(name) => Cow::Borrowed(name),
            None => identifier(ty.name()),
        }
    }

    /// The definition of a type, if this one is only declared but there is one, else the type.
    pub(super) fn definition(&self, id: TypeId) -> TypeId {
        self.definitions.get(&id).copied().unwrap_or(id)
    }

    /// There were so many bytes of names that not all could be kept.
    pub(super) fn ran_out(&self) -> bool {
        self.lost > 0
    }

    /// A name for a constant.
    pub(super) fn constant(&mut self, name: &str) -> String {
        let name = self.free(&identifier(name), |names, name| names.idents.contains(name));
        self.idents.insert(name.clone());
        name
    }

    fn define(&mut self, ty: &Type<'_>) {
        let name = identifier(ty.name());
        let free = self.free(&name, |names, name| names.tags.contains_key(name));
        if free != ty.name() {
            self.renamed.insert(ty.id, free.clone());
        }
        self.tags.insert(free, (tag_kind(ty), ty.id));
    }

    fn declare(&mut self, ty: &Type<'_>, kind: KindCode) {
        match self.tags.get(&*identifier(ty.name())) {
            Some(&(defined, id)) if defined == kind => {
                self.definitions.insert(ty.id, id);
            }
            _ => {
                self.define(ty);
            }
        }
    }

    fn reserve(&mut self, ty: &Type<'_>) {
        let name = self.constant(ty.name());
        if name != ty.name() {
            self.renamed.insert(ty.id, name);
        }
    }

    fn free(&mut self, name: &str, taken: impl Fn(&Names, &str) -> bool) -> String {
        // A name is kept up to twice, in a map.
        let Some(room) = self.room.checked_sub(name.len().saturating_mul(2).saturating_add(16)) else {
            self.lost = self.lost.saturating_add(1);
            return format!("__lost_{}", self.lost);
        };
        self.room = room;
        if !taken(self, name) {
            return name.to_owned();
        }
        let mut count = self.counts.get(name).copied().unwrap_or(1);
        loop {
            count = count.saturating_add(1);
            let candidate = format!("{name}___{count}");
            if !taken(self, &candidate) || count == u32::MAX {
                self.counts.insert(name.to_owned(), count);
                return candidate;
            }
        }
    }
}

/// The kind that a tag is of: declarations are of what they declare, enumerations of all lengths are one.
fn tag_kind(ty: &Type<'_>) -> KindCode {
    match ty.kind {
        Kind::Fwd(FwdKind::Struct) => KindCode::Struct,
        Kind::Fwd(FwdKind::Union) => KindCode::Union,
        Kind::Enum64(_) => KindCode::Enum,
        kind => kind.code(),
    }
}

/// The name, changed so that C takes it.
pub(super) fn identifier(name: &str) -> Cow<'_, str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
    if name.bytes().all(is_good) && starts_well {
        let keyword = KEYWORDS.contains(&name);
        return if keyword { Cow::Owned(format!("{name}_")) } else { Cow::Borrowed(name) };
    }
    let changed = name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' });
    Cow::Owned(if starts_well { changed.collect() } else { "_".chars().chain(changed).collect() })
}

/// C's name of an integer or floating point type, if C (for BPF) has it in this length.
pub(super) fn base_type<'a>(btf: &Btf, ty: &Type<'a>) -> Option<&'a str> {
    let name = ty.name();
    let (size, long) = match ty.kind {
        Kind::Int(int) => (int.size, btf.ptr_size()),
        Kind::Float { size } => (size, 0),
        _ => return None,
    };
    let expected = match name {
        "char" | "signed char" | "unsigned char" | "_Bool" => 1,
        "short" | "short int" | "unsigned short" | "short unsigned int" => 2,
        "int" | "signed int" | "unsigned" | "unsigned int" => 4,
        // Where `long` has 4 bytes the program is for another machine, and its loader adapts it.
        "long" | "long int" | "unsigned long" | "long unsigned int" => long,
        "long long" | "long long int" | "unsigned long long" | "long long unsigned int" => 8,
        "__int128" | "unsigned __int128" | "__int128 unsigned" => 16,
        "float" => 4,
        "double" => 8,
        _ => return None,
    };
    (size == expected).then_some(name)
}
