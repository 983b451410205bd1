//! `MapField`: what lies in map values that is not plain data: locks, timers, kernel pointers.
//!
//! Found in the BTF of the value type, by the names of types, as the kernel does (`btf_parse_fields`).

use mimic_abi::btf::Btf;

use crate::types::{Kind, Types};

/// The most fields of a value.
pub const FIELDS_MAX: usize = 64;
/// The deepest that structures are looked into.
const DEPTH_MAX: u32 = 32;
/// The most members that are looked at: hostile types nest without end.
const MEMBERS_MAX: u32 = 1 << 16;

/// A field of a map's value that programs and users do not copy as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapField {
    /// What it is.
    pub kind: FieldKind,
    /// Its offset in the value, in bytes.
    pub off: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// What a field is. The names are the kernel's types'.
#[allow(missing_docs, reason = "the types' own names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    SpinLock,
    ResSpinLock,
    Timer,
    Wq,
    TaskWork,
    ListHead,
    ListNode,
    RbRoot,
    RbNode,
    Refcount,
    /// A pointer with the type tag `kptr`: it owns what it leads to.
    Kptr,
    /// With the type tag `kptr_untrusted`: it owns nothing.
    KptrUntrusted,
    /// With the type tag `percpu_kptr`: it owns an object that each CPU has one of.
    PercpuKptr,
    /// With the type tag `uptr`: it leads to a user's memory.
    Uptr,
}

impl FieldKind {
    fn of_struct(name: &str) -> Option<FieldKind> {
        Some(match name {
            "bpf_spin_lock" => FieldKind::SpinLock,
            "bpf_res_spin_lock" => FieldKind::ResSpinLock,
            "bpf_timer" => FieldKind::Timer,
            "bpf_wq" => FieldKind::Wq,
            "bpf_task_work" => FieldKind::TaskWork,
            "bpf_list_head" => FieldKind::ListHead,
            "bpf_list_node" => FieldKind::ListNode,
            "bpf_rb_root" => FieldKind::RbRoot,
            "bpf_rb_node" => FieldKind::RbNode,
            "bpf_refcount" => FieldKind::Refcount,
            _ => return None,
        })
    }

    fn of_tag(name: &str) -> Option<FieldKind> {
        Some(match name {
            "kptr" => FieldKind::Kptr,
            "kptr_untrusted" => FieldKind::KptrUntrusted,
            "percpu_kptr" => FieldKind::PercpuKptr,
            "uptr" => FieldKind::Uptr,
            _ => return None,
        })
    }

    /// Whether objects of a program's can hang on it, which go with the value that it is in.
    pub const fn owns(self) -> bool {
        matches!(self, FieldKind::Kptr | FieldKind::PercpuKptr | FieldKind::ListHead | FieldKind::RbRoot)
    }

    /// Bytes that it takes.
    const fn len(self) -> u32 {
        match self {
            FieldKind::SpinLock | FieldKind::ResSpinLock | FieldKind::Refcount => 4,
            FieldKind::TaskWork
            | FieldKind::Kptr
            | FieldKind::KptrUntrusted
            | FieldKind::PercpuKptr
            | FieldKind::Uptr => 8,
            FieldKind::Timer | FieldKind::Wq | FieldKind::ListHead | FieldKind::RbRoot => 16,
            FieldKind::ListNode => 24,
            FieldKind::RbNode => 32,
        }
    }
}

/// The fields of a structure: of what a program allocates (`bpf_obj_new`), or keeps in a map.
pub fn special_fields(btf: &Btf, type_id: u32) -> Vec<MapField> {
    find(Types(btf), type_id)
}

/// The fields of a value of this type, or of the variables of a section, by rising offset.
pub(crate) fn find(types: Types<'_>, value_type: u32) -> Vec<MapField> {
    let mut search = Search { types, fields: Vec::new(), members: 0 };
    match types.skip(value_type).and_then(|id| Some((id, types.kind(id)?))) {
        Some((id, Kind::Struct)) => search.structure(id, 0, 0),
        Some((id, Kind::Datasec)) => {
            for var in types.vars(id) {
                if let Some(Kind::Var { type_id, .. }) = types.kind(var.type_id) {
                    search.value(type_id, u64::from(var.off), 0);
                }
            }
        }
        _ => {}
    }
    search.fields.sort_by_key(|field| field.off);
    search.fields
}

struct Search<'a> {
    types: Types<'a>,
    fields: Vec<MapField>,
    members: u32,
}

impl Search<'_> {
    fn structure(&mut self, id: u32, off: u64, depth: u32) {
        if depth >= DEPTH_MAX {
            return;
        }
        let types = self.types;
        for member in types.members(id) {
            self.members += 1;
            if self.members > MEMBERS_MAX {
                return;
            }
            self.value(member.type_id, off + u64::from(member.bit_off / 8), depth);
        }
    }

    /// Looks at a value of a type: a field itself, a pointer, or what is inside of it.
    fn value(&mut self, id: u32, off: u64, depth: u32) {
        let Some(id) = self.types.skip(id) else { return };
        match self.types.kind(id) {
            Some(Kind::Struct) => match FieldKind::of_struct(self.types.name(id)) {
                Some(kind) => self.add(kind, off),
                None => self.structure(id, off, depth + 1),
            },
            Some(Kind::Array { elem, len }) => {
                let Some(size) = self.types.size(elem) else { return };
                // An element that has no field ends it: the others have none either.
                for index in 0..u64::from(len) {
                    let found = self.fields.len();
                    if found >= FIELDS_MAX || depth >= DEPTH_MAX {
                        return;
                    }
                    self.value(elem, off + index * size, depth + 1);
                    if self.fields.len() == found {
                        return;
                    }
                }
            }
            Some(Kind::Ptr { to }) => {
                let tag = (self.types.kind(to) == Some(Kind::Qualifier)).then(|| self.types.name(to));
                if let Some(kind) = tag.and_then(FieldKind::of_tag) {
                    self.add(kind, off);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, kind: FieldKind, off: u64) {
        if let Ok(off) = u32::try_from(off)
            && self.fields.len() < FIELDS_MAX
        {
            self.fields.push(MapField { kind, off, len: kind.len() });
        }
    }
}
