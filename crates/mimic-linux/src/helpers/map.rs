//! Access to map elements, tail calls, and walks over maps. bpf-helpers(7).

use super::sockmap;
use crate::maps::{LinuxMap, ProgArray, socket_map};
use mimic_abi::uapi::map_flags::{BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, MapType, RetType, Size, arg, arg_or_null};
use mimic_vm::{Call, ElemKey, Helper, HelperResult, Known, MapRef, Next, Trap};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(1, "map_lookup_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("key", ArgType::MapKey)])
            .returns(RetType::MapValueOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19),
        map_lookup_elem,
    )
    .known(Known::MapLookup),
    Helper::new(
        HelperSpec::new(2, "map_update_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19),
        map_update_elem,
    ),
    Helper::new(
        HelperSpec::new(3, "map_delete_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("key", ArgType::MapKey)])
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19),
        map_delete_elem,
    ),
    Helper::new(
        HelperSpec::new(12, "tail_call")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("prog_array_map", ArgType::ConstMapPtr),
                arg("index", ArgType::Anything),
            ])
            .returns(RetType::Void)
            .since(4, 2),
        tail_call,
    ),
    Helper::new(
        HelperSpec::new(87, "map_push_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 20),
        map_push_elem,
    ),
    Helper::new(
        HelperSpec::new(88, "map_pop_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("value", ArgType::UninitMapValue)])
            .since(4, 20),
        map_pop_elem,
    ),
    Helper::new(
        HelperSpec::new(89, "map_peek_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("value", ArgType::UninitMapValue)])
            .since(4, 20),
        map_peek_elem,
    ),
    Helper::new(
        HelperSpec::new(164, "for_each_map_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("callback_fn", ArgType::Func),
                arg_or_null("callback_ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 13),
        for_each_map_elem,
    ),
    Helper::new(
        HelperSpec::new(195, "map_lookup_percpu_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("cpu", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .since(5, 19),
        map_lookup_percpu_elem,
    ),
];

fn map_lookup_elem(call: &mut Call<'_>, map: u64, key: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    match lookup(call, map, key, call.cpu())? {
        0 => sockmap::lookup(call, map, key),
        addr => Ok(addr),
    }
}

fn map_lookup_percpu_elem(call: &mut Call<'_>, map: u64, key: u64, cpu: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    if !map.spec().kind().is_ok_and(MapType::is_percpu) {
        return Err(wrong_type(call, map));
    }
    // The kernel takes the low half of the register.
    let cpu = cpu as u32;
    if cpu >= call.vm().cpus() { Ok(0) } else { lookup(call, map, key, cpu) }
}

fn map_update_elem(call: &mut Call<'_>, map: u64, key: u64, value: u64, flags: u64, _: u64) -> HelperResult {
    let map = writable(call, map)?;
    if let Some(sockets) = socket_map(map) {
        return sockmap::put(call, sockets, (key, map.key_size), value, flags);
    }
    with_bytes(call, key, map.key_size, |key| {
        with_bytes(call, value, map.spec().value_size, |value| {
            map.update(call.cpu(), key, value, flags)?;
            Ok(0)
        })
    })
}

fn map_delete_elem(call: &mut Call<'_>, map: u64, key: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = writable(call, map)?;
    with_bytes(call, key, map.key_size, |key| {
        map.delete(call.cpu(), key)?;
        Ok(0)
    })
}

fn tail_call(call: &mut Call<'_>, _ctx: u64, map: u64, index: u64, _: u64, _: u64) -> HelperResult {
    let array = call.map_as::<LinuxMap<ProgArray>>(map)?.ops();
    if !array.accepts(call.program()) {
        let what = "the program array holds programs of another type, which this one cannot go on as";
        return Err(call.bad_argument(what));
    }
    match array.program(index as u32) {
        Some(program) => Err(Trap::TailCall(program)),
        None => Err(Errno::ENOENT.into()),
    }
}

fn map_push_elem(call: &mut Call<'_>, map: u64, value: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let map = writable(call, map)?;
    with_bytes(call, value, map.spec().value_size, |value| {
        map.push(value, flags)?;
        Ok(0)
    })
}

fn map_pop_elem(call: &mut Call<'_>, map: u64, value: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = writable(call, map)?;
    let pop = |to: &mut [u8]| map.pop(to);
    copied(call, map, value, pop)
}

fn map_peek_elem(call: &mut Call<'_>, map: u64, value: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    if map.spec().kind() == Ok(MapType::BloomFilter) {
        let asked = &mut call.read_vec(value, u64::from(map.spec().value_size))?;
        map.peek(asked)?;
        return Ok(0);
    }
    copied(call, map, value, |to| map.peek(to))
}

fn for_each_map_elem(
    call: &mut Call<'_>,
    map: u64,
    func: u64,
    context: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    let (map_addr, map) = (map, call.map(map)?.clone());
    let func = call.func(func)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let cpu = call.cpu();
    let (mut cursor, mut count) = (0, 0);
    let Some(first) = next_elem(call, &map, cpu, &mut cursor)? else { return Ok(0) };
    let then = move |call: &mut Call<'_>, r0: u64| {
        count += 1;
        if r0 != 0 {
            return Ok(Next::Return(count));
        }
        Ok(match next_elem(call, &map, cpu, &mut cursor)? {
            Some((key, value)) => Next::Again([map_addr, key, value, context, 0]),
            None => Next::Return(count),
        })
    };
    Err(call.call_back(func, [map_addr, first.0, first.1, context, 0], then))
}

/// The addresses of the next element's key and value. An array's index is put where the callback can read it.
fn next_elem(
    call: &mut Call<'_>,
    map: &Arc<MapRef>,
    cpu: u32,
    cursor: &mut u64,
) -> Result<Option<(u64, u64)>, Trap> {
    let Some(elem) = map.walk(cpu, cursor)? else { return Ok(None) };
    let key = match elem.key {
        ElemKey::Addr(addr) => addr,
        ElemKey::Index(index) => {
            let room = call.scratch("index of an array", 4)?;
            room.store(0, Size::W, u64::from(index));
            room.base()
        }
    };
    Ok(Some((key, elem.value)))
}

#[inline]
fn lookup(call: &Call<'_>, map: &Arc<MapRef>, key: u64, cpu: u32) -> HelperResult {
    let word = |bytes: [u8; 8]| u64::from_ne_bytes(bytes);
    match map.key_size {
        4 => Ok(map.lookup_4(cpu, u32::from_ne_bytes(call.read_array(key)?))),
        8 => Ok(map.lookup_8(cpu, word(call.read_array(key)?))),
        16 => {
            let bytes: [u8; 16] = call.read_array(key)?;
            let (words, _) = bytes.as_chunks();
            Ok(map.lookup_16(cpu, [word(words[0]), word(words[1])]))
        }
        len => with_bytes(call, key, len, |key| Ok(map.lookup(cpu, key)?.unwrap_or(0))),
    }
}

/// The map at `addr`, for a change by the program.
#[inline]
fn writable<'a>(call: &Call<'a>, addr: u64) -> Result<&'a Arc<MapRef>, Trap> {
    let map = call.map(addr)?;
    if map.spec().map_flags & BPF_F_RDONLY_PROG != 0 {
        let name = &map.spec().name;
        return Err(call.bad_argument(format!("programs may only read map {name} (BPF_F_RDONLY_PROG)")));
    }
    Ok(map)
}

/// Lets `from` fill a value and copies it to guest memory, which is zeroed when there is none.
fn copied(
    call: &Call<'_>,
    map: &Arc<MapRef>,
    addr: u64,
    from: impl FnOnce(&mut [u8]) -> Result<(), Errno>,
) -> HelperResult {
    if map.spec().map_flags & BPF_F_WRONLY_PROG != 0 {
        let name = &map.spec().name;
        return Err(call.bad_argument(format!("programs may only write map {name} (BPF_F_WRONLY_PROG)")));
    }
    let len = map.spec().value_size;
    call.check(addr, u64::from(len), true)?;
    let mut value = vec![0; len as usize];
    let result = from(&mut value);
    if !matches!(result, Err(Errno::EINVAL | Errno::EOPNOTSUPP)) {
        call.write(addr, &value)?;
    }
    result?;
    Ok(0)
}

fn wrong_type(call: &Call<'_>, map: &Arc<MapRef>) -> Trap {
    let spec = map.spec();
    let kind = spec.kind().map_or("unknown", MapType::word);
    call.bad_argument(format!("map {} is of type {kind}, which cannot be used here", spec.name))
}

/// Copies `len` guest bytes where `then` can use them; without an allocation up to a page.
#[inline]
pub(super) fn with_bytes<T>(
    call: &Call<'_>,
    addr: u64,
    len: u32,
    then: impl FnOnce(&[u8]) -> Result<T, Trap>,
) -> Result<T, Trap> {
    match len {
        4 => then(&call.read_array::<4>(addr)?),
        8 => then(&call.read_array::<8>(addr)?),
        16 => then(&call.read_array::<16>(addr)?),
        0..=64 => on_stack::<64, T>(call, addr, len, then),
        65..=512 => on_stack::<512, T>(call, addr, len, then),
        513..=4096 => on_stack::<4096, T>(call, addr, len, then),
        _ => then(&call.read_vec(addr, u64::from(len))?),
    }
}

fn on_stack<const MAX: usize, T>(
    call: &Call<'_>,
    addr: u64,
    len: u32,
    then: impl FnOnce(&[u8]) -> Result<T, Trap>,
) -> Result<T, Trap> {
    let mut bytes = [0; MAX];
    let bytes = &mut bytes[..len as usize];
    call.read(addr, bytes)?;
    then(bytes)
}
