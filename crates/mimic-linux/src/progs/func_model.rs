//! `FuncModel`: a kernel function's prototype by BTF: how many arguments typed tracing programs get, and what the numbers among them are.
//!
//! Mirrors what `bpf(2)` asks of a function that programs are attached to: Documentation/bpf/prog_lsm.rst, btf.rst.

use super::{Arg, TracePoint, TracingContext};
use core::fmt;
use mimic_abi::btf::{Btf, FuncProto, Kind, KindCode, TypeId};

/// A function's prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuncModel {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub params: Vec<Value>,
    /// What it returns; none if nothing.
    pub ret: Option<Value>,
}

/// A parameter, or a return value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name; return values have none.
    pub name: String,
    /// Bytes: 1, 2, 4 or 8; structures by value up to 16.
    pub size: u32,
    /// It is a signed number.
    pub signed: bool,
    /// It is a pointer.
    pub pointer: bool,
    /// It is a boolean.
    pub boolean: bool,
}

/// Why programs cannot be attached to a function, or not get these arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError(pub String);

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ModelError {}

fn refuse<T>(what: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError(what.into()))
}

impl FuncModel {
    /// The prototype of a function of this name.
    pub fn of(btf: &Btf, name: &str) -> Result<FuncModel, ModelError> {
        let Some(func) = btf.find(name, KindCode::Func) else {
            return refuse(format!("the kernel's types have no function {name}"));
        };
        let Kind::Func(kind) = func.kind else { return refuse(format!("{name} is no function")) };
        FuncModel::of_proto(btf, name, kind.proto, 0)
    }

    /// The prototype of a tracepoint (`tp_btf`): its arguments are those behind the kernel's own first one.
    pub fn of_tracepoint(btf: &Btf, name: &str) -> Result<FuncModel, ModelError> {
        let typedef = btf.find(&format!("btf_trace_{name}"), KindCode::Typedef);
        let proto = typedef.and_then(|typedef| match btf.resolve(typedef.id)?.kind {
            Kind::Ptr(proto) => Some(proto),
            _ => None,
        });
        match proto {
            Some(proto) => FuncModel::of_proto(btf, name, proto, 1),
            None => refuse(format!("the kernel's types have no tracepoint {name}")),
        }
    }

    /// The prototype of an operation: a member of a kernel subsystem's structure that points at a function.
    pub fn of_member(btf: &Btf, structure: &str, member: &str) -> Result<FuncModel, ModelError> {
        let proto = btf.find(structure, KindCode::Struct).and_then(|structure| {
            let Kind::Ptr(proto) = btf.resolve(btf.member(structure.id, member)?.ty)?.kind else {
                return None;
            };
            Some(proto)
        });
        match proto {
            Some(proto) => FuncModel::of_proto(btf, member, proto, 0),
            None => refuse(format!("struct {structure} has no operation {member}")),
        }
    }

    pub(crate) fn of_proto(
        btf: &Btf,
        name: &str,
        proto: TypeId,
        skip: usize,
    ) -> Result<FuncModel, ModelError> {
        let Some(Kind::FuncProto(FuncProto { ret, params })) = btf.ty(proto).map(|ty| ty.kind) else {
            return refuse(format!("{name} has no prototype"));
        };
        if params.len() > TracingContext::ARGS_MAX {
            return refuse(format!("{name} has {} arguments: too many", params.len()));
        }
        let param = |param: mimic_abi::btf::Param<'_>| match value(btf, param.name(), param.ty) {
            Some(value) => Ok(value),
            None => refuse(format!(
                "argument {} of {name} is of a type that programs cannot be given",
                param.name()
            )),
        };
        let params = params.iter().skip(skip).map(param).collect::<Result<_, _>>()?;
        let ret = match btf.resolve(ret).map(|ty| ty.kind) {
            Some(Kind::Void) => None,
            _ => match value(btf, "", ret) {
                Some(value) => Some(value),
                None => return refuse(format!("{name} returns a type that programs cannot be given")),
            },
        };
        Ok(FuncModel { name: name.into(), params, ret })
    }

    /// Arguments for the function: as many as it has, numbers as wide as theirs.
    pub fn args(&self, args: impl IntoIterator<Item = Arg>) -> Result<Vec<Arg>, ModelError> {
        let args: Vec<Arg> = args.into_iter().collect();
        if args.len() != self.params.len() {
            let names: Vec<&str> = self.params.iter().map(|param| param.name.as_str()).collect();
            return refuse(format!(
                "{} has {} arguments ({}), not {}",
                self.name,
                self.params.len(),
                names.join(", "),
                args.len()
            ));
        }
        let fit = |(arg, param): (Arg, &Value)| match arg {
            Arg::Number(number) => Arg::Number(param.narrow(number)),
            other => other,
        };
        Ok(args.into_iter().zip(&self.params).map(fit).collect())
    }

    /// The context of a program at a point of the function, with these arguments and this return value.
    pub fn context(
        &self,
        point: TracePoint,
        args: impl IntoIterator<Item = Arg>,
        ret: u64,
    ) -> Result<TracingContext, ModelError> {
        let args = self.args(args)?;
        let ret = self.ret.as_ref().map_or(0, |value| value.narrow(ret));
        Ok(match point {
            TracePoint::Entry => TracingContext::entry(args),
            TracePoint::Exit => TracingContext::exit(args, ret),
            TracePoint::ModifyReturn => TracingContext::modify_return(args, ret),
        })
    }
}

impl Value {
    /// A number as wide as this, in 64 bits.
    pub fn narrow(&self, number: u64) -> u64 {
        match (self.size, self.signed) {
            (1, true) => number as i8 as u64,
            (2, true) => number as i16 as u64,
            (4, true) => number as i32 as u64,
            (1, false) => number as u8 as u64,
            (2, false) => number as u16 as u64,
            (4, false) => number as u32 as u64,
            _ => number,
        }
    }
}

fn value(btf: &Btf, name: &str, ty: TypeId) -> Option<Value> {
    let size = btf.size_of(ty)?;
    let kind = btf.resolve(ty)?.kind;
    let (signed, pointer, boolean) = match kind {
        Kind::Int(int) => (int.encoding.is_signed(), false, int.encoding.is_bool()),
        Kind::Enum(values) | Kind::Enum64(values) => (values.signed, false, false),
        Kind::Ptr(_) => (false, true, false),
        Kind::Struct(_) | Kind::Union(_) if size <= 16 => (false, false, false),
        _ => return None,
    };
    Some(Value { name: name.into(), size, signed, pointer, boolean })
}
