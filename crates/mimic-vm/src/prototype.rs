//! `Prototype`: what a kernel function of the user's own takes and returns, by BTF. Calls are checked and widened as it says before the closure
//! sees them.
//!
//! The meaning of parameters' types and of suffixes of their names is that of Documentation/bpf/kfuncs.rst.

use crate::call::{Call, HelperResult, Trap};
use core::fmt;
use mimic_abi::btf::{Btf, Kind, KindCode, TypeId};

/// A kernel function's prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    name: String,
    params: Vec<Param>,
    ret: Option<Int>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    name: String,
    kind: ParamKind,
    nullable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ParamKind {
    Int(Int),
    /// Memory, as long as the type it points at.
    Fixed {
        len: u32,
        write: bool,
    },
    /// Memory, as long as the next argument says (`__sz`, `__szk`).
    Sized {
        write: bool,
    },
    /// A text with a NUL at its end (`__str`).
    Text,
    /// A pointer that the closure makes something of.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Int {
    size: u32,
    signed: bool,
}

/// The longest text that is looked through for its end, in bytes.
const TEXT_MAX: u32 = 1 << 16;
/// Arguments that registers hold.
const PARAMS_MAX: usize = 5;

/// Why there is no prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrototypeError(String);

impl fmt::Display for PrototypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PrototypeError {}

impl Prototype {
    /// The prototype of the function of this name in a BTF: a kernel's, or of a program that declares it (`extern … __ksym`).
    pub fn of(btf: &Btf, name: &str) -> Result<Prototype, PrototypeError> {
        let refuse = |what: String| PrototypeError(what);
        let func = btf.find(name, KindCode::Func).and_then(|func| match func.kind {
            Kind::Func(kind) => btf.ty(kind.proto),
            _ => None,
        });
        let Some(Kind::FuncProto(proto)) = func.map(|proto| proto.kind) else {
            return Err(refuse(format!("the types have no function {name}")));
        };
        if proto.params.len() > PARAMS_MAX {
            return Err(refuse(format!(
                "{name} has {} arguments: programs can pass five",
                proto.params.len()
            )));
        }
        let types: Vec<(&str, TypeId)> = proto.params.iter().map(|param| (param.name(), param.ty)).collect();
        let mut params = Vec::new();
        for (at, (param, ty)) in types.iter().enumerate() {
            let sized = types.get(at + 1).is_some_and(|(next, _)| is_size_of(next, param));
            let kind = kind_of(btf, param, *ty, sized)
                .ok_or_else(|| refuse(format!("argument {param} of {name} does not fit a register")))?;
            let nullable = param.ends_with("__nullable") || param.ends_with("__opt");
            params.push(Param { name: (*param).into(), kind, nullable });
        }
        Ok(Prototype { name: name.into(), params, ret: int_of(btf, proto.ret) })
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments as the function's types have them; a fault if memory is not there.
    pub(crate) fn check(&self, call: &Call<'_>, regs: [u64; 5]) -> Result<[u64; 5], Trap> {
        let mut args = [0; PARAMS_MAX];
        for (at, param) in self.params.iter().enumerate() {
            let reg = regs[at];
            args[at] = reg;
            let len = match &param.kind {
                ParamKind::Int(int) => {
                    args[at] = int.widen(reg);
                    continue;
                }
                _ if reg == 0 && param.nullable => continue,
                ParamKind::Opaque => continue,
                ParamKind::Text => {
                    let text = call.view().read_cstr(reg, TEXT_MAX).ok().flatten();
                    text.ok_or_else(|| call.bad_argument(format!("{} is no text with an end", param.name)))?;
                    continue;
                }
                ParamKind::Fixed { len, .. } => u64::from(*len),
                ParamKind::Sized { .. } => u64::from(regs.get(at + 1).copied().unwrap_or(0) as u32),
            };
            let write =
                matches!(param.kind, ParamKind::Fixed { write: true, .. } | ParamKind::Sized { write: true });
            if len > 0 {
                call.check(reg, len, write)?;
            }
        }
        Ok(args)
    }

    /// r0 as the return type has it.
    pub(crate) fn answer(&self, result: HelperResult) -> HelperResult {
        result.map(|r0| self.ret.map_or(r0, |int| int.widen(r0)))
    }
}

impl Int {
    fn widen(self, value: u64) -> u64 {
        match (self.size, self.signed) {
            (1, false) => value as u8 as u64,
            (1, true) => value as i8 as u64,
            (2, false) => value as u16 as u64,
            (2, true) => value as i16 as u64,
            (4, false) => value as u32 as u64,
            (4, true) => value as i32 as u64,
            _ => value,
        }
    }
}

/// Whether a parameter is the length of the one before it.
fn is_size_of(name: &str, of: &str) -> bool {
    ["__sz", "__szk"].iter().any(|suffix| name.strip_suffix(suffix) == Some(of))
}

fn kind_of(btf: &Btf, name: &str, ty: TypeId, sized: bool) -> Option<ParamKind> {
    let Kind::Ptr(to) = btf.resolve(ty)?.kind else { return int_of(btf, ty).map(ParamKind::Int) };
    if name.ends_with("__str") {
        return Some(ParamKind::Text);
    }
    if name.ends_with("__ign") || name.ends_with("__map") {
        return Some(ParamKind::Opaque);
    }
    let write = !matches!(btf.ty(to)?.kind, Kind::Const(_));
    if sized {
        return Some(ParamKind::Sized { write });
    }
    Some(match btf.resolve(to)?.kind {
        Kind::Int(int) => ParamKind::Fixed { len: int.size, write },
        Kind::Struct(composite) | Kind::Union(composite) if composite.size > 0 => {
            ParamKind::Fixed { len: composite.size, write }
        }
        _ => ParamKind::Opaque,
    })
}

fn int_of(btf: &Btf, ty: TypeId) -> Option<Int> {
    let size = btf.size_of(ty).filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
    match btf.resolve(ty)?.kind {
        Kind::Int(int) => Some(Int { size, signed: int.encoding.is_signed() }),
        Kind::Enum(values) | Kind::Enum64(values) => Some(Int { size, signed: values.signed }),
        Kind::Ptr(_) => Some(Int { size: 8, signed: false }),
        _ => None,
    }
}
