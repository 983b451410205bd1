//! Lists types as they are recorded: in bpftool's `format raw`, and as JSON with the same words.

use core::fmt::{self, Write};

use super::json::write_str;
use super::{Btf, Enum, Kind, Type};

/// The types of a [`Btf`] without those of its base, a line for each type, member, value, parameter and variable.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'a>(&'a Btf);

/// The types of a [`Btf`] without those of its base as one JSON object: `{"types":[…]}`.
#[derive(Clone, Copy, Debug)]
pub struct RawJson<'a>(&'a Btf);

impl Btf {
    /// Lists the types as they are recorded, as `bpftool btf dump … format raw` does.
    pub fn raw_text(&self) -> RawText<'_> {
        RawText(self)
    }

    /// Lists the types as they are recorded, as `bpftool --json btf dump … format raw` does.
    pub fn raw_json(&self) -> RawJson<'_> {
        RawJson(self)
    }
}

impl fmt::Display for RawText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.types().try_for_each(|ty| text_type(f, self.0, &ty))
    }
}

impl fmt::Display for RawJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"types\":[")?;
        for (index, ty) in self.0.types().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            json_type(f, &ty)?;
        }
        f.write_str("]}")
    }
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "(anon)" } else { name }
}

fn encoding(signed: bool) -> &'static str {
    if signed { "SIGNED" } else { "UNSIGNED" }
}

fn text_type(f: &mut fmt::Formatter<'_>, btf: &Btf, ty: &Type<'_>) -> fmt::Result {
    write!(f, "[{}] {} '{}'", ty.id, ty.kind.code(), shown(ty.name()))?;
    match ty.kind {
        Kind::Void => {}
        Kind::Int(int) => write!(
            f,
            " size={} bits_offset={} nr_bits={} encoding={}",
            int.size,
            int.offset,
            int.bits,
            int.encoding.name()
        )?,
        Kind::Ptr(to) | Kind::Typedef(to) | Kind::Volatile(to) | Kind::Const(to) | Kind::Restrict(to) => {
            write!(f, " type_id={to}")?;
        }
        Kind::TypeTag(tag) => write!(f, " type_id={}", tag.ty)?,
        Kind::Array(array) => {
            write!(f, " type_id={} index_type_id={} nr_elems={}", array.elem, array.index, array.count)?;
        }
        Kind::Struct(composite) | Kind::Union(composite) => {
            write!(f, " size={} vlen={}", composite.size, composite.members.len())?;
            for member in composite.members {
                let (name, ty) = (shown(member.name()), member.ty);
                write!(f, "\n\t'{name}' type_id={ty} bits_offset={}", member.bit_off)?;
                if member.bits != 0 {
                    write!(f, " bitfield_size={}", member.bits)?;
                }
            }
        }
        Kind::Enum(enumeration) => text_enum(f, &enumeration, "")?,
        Kind::Enum64(enumeration) => {
            text_enum(f, &enumeration, if enumeration.signed { "LL" } else { "ULL" })?
        }
        Kind::Fwd(kind) => write!(f, " fwd_kind={}", kind.keyword())?,
        Kind::Func(func) => write!(f, " type_id={} linkage={}", func.proto, func.linkage.name())?,
        Kind::FuncProto(proto) => {
            write!(f, " ret_type_id={} vlen={}", proto.ret, proto.params.len())?;
            for param in proto.params {
                write!(f, "\n\t'{}' type_id={}", shown(param.name()), param.ty)?;
            }
        }
        Kind::Var(var) => write!(f, " type_id={}, linkage={}", var.ty, var.linkage.name())?,
        Kind::Datasec(section) => {
            write!(f, " size={} vlen={}", section.size, section.entries.len())?;
            for entry in section.entries {
                write!(f, "\n\ttype_id={} offset={} size={}", entry.ty, entry.off, entry.size)?;
                if let Some(var) = btf.ty(entry.ty) {
                    write!(f, " ({} '{}')", var.kind.code(), shown(var.name()))?;
                }
            }
        }
        Kind::Float { size } => write!(f, " size={size}")?,
        Kind::DeclTag(tag) => {
            let component = tag.component.map_or(-1, i64::from);
            write!(f, " type_id={} component_idx={component}", tag.ty)?;
        }
    }
    f.write_char('\n')
}

fn text_enum(f: &mut fmt::Formatter<'_>, enumeration: &Enum<'_>, suffix: &str) -> fmt::Result {
    let (size, vlen) = (enumeration.size, enumeration.values.len());
    write!(f, " encoding={} size={size} vlen={vlen}", encoding(enumeration.signed))?;
    enumeration
        .values
        .iter()
        .try_for_each(|value| write!(f, "\n\t'{}' val={}{suffix}", shown(value.name()), value.value))
}

fn json_type(f: &mut fmt::Formatter<'_>, ty: &Type<'_>) -> fmt::Result {
    write!(f, "{{\"id\":{},\"kind\":\"{}\",\"name\":", ty.id, ty.kind.code())?;
    write_str(f, shown(ty.name()))?;
    match ty.kind {
        Kind::Void => {}
        Kind::Int(int) => write!(
            f,
            ",\"size\":{},\"bits_offset\":{},\"nr_bits\":{},\"encoding\":\"{}\"",
            int.size,
            int.offset,
            int.bits,
            int.encoding.name()
        )?,
        Kind::Ptr(to) | Kind::Typedef(to) | Kind::Volatile(to) | Kind::Const(to) | Kind::Restrict(to) => {
            write!(f, ",\"type_id\":{to}")?;
        }
        Kind::TypeTag(tag) => write!(f, ",\"type_id\":{}", tag.ty)?,
        Kind::Array(array) => {
            let (elem, index, count) = (array.elem, array.index, array.count);
            write!(f, ",\"type_id\":{elem},\"index_type_id\":{index},\"nr_elems\":{count}")?;
        }
        Kind::Struct(composite) | Kind::Union(composite) => {
            write!(f, ",\"size\":{},\"vlen\":{}", composite.size, composite.members.len())?;
            json_list(f, "members", composite.members.iter(), |f, member| {
                json_name(f, member.name())?;
                write!(f, ",\"type_id\":{},\"bits_offset\":{}", member.ty, member.bit_off)?;
                if member.bits != 0 { write!(f, ",\"bitfield_size\":{}", member.bits) } else { Ok(()) }
            })?;
        }
        Kind::Enum(enumeration) | Kind::Enum64(enumeration) => {
            let (size, vlen) = (enumeration.size, enumeration.values.len());
            let encoding = encoding(enumeration.signed);
            write!(f, ",\"encoding\":\"{encoding}\",\"size\":{size},\"vlen\":{vlen}")?;
            json_list(f, "values", enumeration.values.iter(), |f, value| {
                json_name(f, value.name())?;
                write!(f, ",\"val\":{}", value.value)
            })?;
        }
        Kind::Fwd(kind) => write!(f, ",\"fwd_kind\":\"{}\"", kind.keyword())?,
        Kind::Func(func) => {
            write!(f, ",\"type_id\":{},\"linkage\":\"{}\"", func.proto, func.linkage.name())?;
        }
        Kind::FuncProto(proto) => {
            write!(f, ",\"ret_type_id\":{},\"vlen\":{}", proto.ret, proto.params.len())?;
            json_list(f, "params", proto.params.iter(), |f, param| {
                json_name(f, param.name())?;
                write!(f, ",\"type_id\":{}", param.ty)
            })?;
        }
        Kind::Var(var) => write!(f, ",\"type_id\":{},\"linkage\":\"{}\"", var.ty, var.linkage.name())?,
        Kind::Datasec(section) => {
            write!(f, ",\"size\":{},\"vlen\":{}", section.size, section.entries.len())?;
            json_list(f, "vars", section.entries.iter(), |f, entry| {
                write!(f, "\"type_id\":{},\"offset\":{},\"size\":{}", entry.ty, entry.off, entry.size)
            })?;
        }
        Kind::Float { size } => write!(f, ",\"size\":{size}")?,
        Kind::DeclTag(tag) => {
            let component = tag.component.map_or(-1, i64::from);
            write!(f, ",\"type_id\":{},\"component_idx\":{component}", tag.ty)?;
        }
    }
    f.write_char('}')
}

fn json_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    f.write_str("\"name\":")?;
    write_str(f, shown(name))
}

fn json_list<T>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    entries: impl Iterator<Item = T>,
    write_entry: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    write!(f, ",\"{name}\":[")?;
    for (index, entry) in entries.enumerate() {
        f.write_str(if index == 0 { "{" } else { ",{" })?;
        write_entry(f, entry)?;
        f.write_char('}')?;
    }
    f.write_char(']')
}
