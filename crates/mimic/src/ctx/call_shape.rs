//! What a helper's row says of a call's data: which arguments are numbers, which memory goes in, which comes out, how long it is.
//! Recording and replaying both read it, so that they agree.

use mimic_abi::{ArgType, HelperSpec, MemAccess, MemLen, RetType};
use mimic_vm::Call;

/// The most bytes of one argument or answer that are recorded or compared.
pub(super) const BYTES_MAX: u64 = 1 << 16;
/// Addresses begin here: a number below is no pointer.
const ADDR_MIN: u64 = 1 << 16;

/// What an argument is to someone who watches calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A number.
    Number,
    /// Memory of so many bytes: goes in, comes out.
    Memory { len: u64, input: bool, output: bool },
    /// An address that means nothing elsewhere: the context, a map, an object.
    Address,
}

/// The value of register `reg` (from 1).
pub(super) fn arg(args: [u64; 5], reg: u8) -> u64 {
    args.get(usize::from(reg).wrapping_sub(1)).copied().unwrap_or(0)
}

/// The arguments that the row of a call has, with their registers.
pub(super) fn args(call: &Call<'_>, args: [u64; 5]) -> Vec<(u8, Shape)> {
    let Some(spec) = call.spec() else { return Vec::new() };
    (0..spec.args.len().min(5)).map(|at| (at as u8 + 1, shape(call, spec, at, args))).collect()
}

fn shape(call: &Call<'_>, spec: &HelperSpec, at: usize, args: [u64; 5]) -> Shape {
    let value = args[at];
    let memory = |len: u64, input, output| match value {
        0 => Shape::Number,
        _ => Shape::Memory { len: len.min(BYTES_MAX), input, output },
    };
    let map = || map_of(call, spec, args);
    match spec.args[at].ty {
        ArgType::Size | ArgType::SizeOrZero | ArgType::AllocSize => Shape::Number,
        // Anything can be passed where anything is taken.
        ArgType::Anything if value >= ADDR_MIN && call.view().allows(value, 1, false) => Shape::Address,
        ArgType::Anything => Shape::Number,
        ArgType::Mem(access, len) => {
            let len = match len {
                MemLen::Fixed(len) => u64::from(len),
                MemLen::NextArg => args.get(at + 1).copied().unwrap_or(0) & u64::from(u32::MAX),
            };
            memory(len, access != MemAccess::Write, access != MemAccess::Read)
        }
        ArgType::MapKey => map().map_or(Shape::Address, |map| memory(map.0, true, false)),
        ArgType::MapValue => map().map_or(Shape::Address, |map| memory(map.1, true, false)),
        ArgType::UninitMapValue => map().map_or(Shape::Address, |map| memory(map.1, false, true)),
        _ => Shape::Address,
    }
}

/// The key's and the value's length of the map that a call is about.
fn map_of(call: &Call<'_>, spec: &HelperSpec, args: [u64; 5]) -> Option<(u64, u64)> {
    let at = spec.args.iter().position(|arg| arg.ty == ArgType::ConstMapPtr)?;
    let map = call.map(*args.get(at)?).ok()?.spec();
    Some((map.key_size.into(), map.value_size.into()))
}

/// What r0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// A number.
    Number,
    /// NULL or the address of so many bytes of a map's value.
    MapValue(u64),
    /// NULL or the address of an object.
    Object,
    /// NULL or the address of memory that holds nothing yet, or bytes that are known otherwise.
    Room,
}

/// What the row of a call says of r0.
pub(super) fn returned(call: &Call<'_>, args: [u64; 5]) -> Returned {
    let Some(spec) = call.spec() else { return Returned::Number };
    match spec.ret {
        RetType::Void | RetType::Integer => Returned::Number,
        RetType::MapValue | RetType::MapValueOrNull => {
            map_of(call, spec, args).map_or(Returned::Room, |(_, len)| Returned::MapValue(len.min(BYTES_MAX)))
        }
        RetType::RingbufMemOrNull | RetType::DynptrMemOrNull => Returned::Room,
        RetType::SocketOrNull
        | RetType::TcpSockOrNull
        | RetType::SockCommonOrNull
        | RetType::MemOrBtfId
        | RetType::MemOrBtfIdOrNull
        | RetType::BtfId(_)
        | RetType::BtfIdOrNull(_) => Returned::Object,
    }
}
