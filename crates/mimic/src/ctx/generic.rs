//! The `generic` context: memory items and the registers that point at them, for any program type.

use super::base64;
use super::reader::{At, CtxError};
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::{Access, Bounds, Layout, Part};
use mimic_vm::{Context, ContextError, RawContext, Setup};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// A generic context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenericCtx {
    /// Names of memory items by register, r1 to r5.
    pub registers: [Option<String>; 5],
    /// The items.
    pub memory: Vec<MemoryItem>,
    /// `memory` was null.
    memory_is_null: bool,
    /// The world, as it was given; unknown keys are kept.
    pub emulator: Map<String, Value>,
    others: Map<String, Value>,
}

/// A piece of memory with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryItem {
    /// Its name; of several with the same the first counts.
    pub name: String,
    /// What it is.
    pub value: MemoryValue,
}

/// What a piece of memory is.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryValue {
    /// Bytes. The byte order is kept but means nothing: memory has none.
    Block {
        /// The bytes.
        bytes: Vec<u8>,
        /// As it was given.
        byte_order: Option<String>,
    },
    /// A pointer to a byte of a block or structure.
    Ptr {
        /// The item's name.
        memory: String,
        /// The byte.
        off: u32,
        /// 32 or 64 bits.
        bits: u32,
    },
    /// Members one after the other, without padding: names and the items that they are.
    Struct(Vec<(String, String)>),
    /// A number.
    Int {
        /// The number, signed or not.
        value: i128,
        /// 8, 16, 32 or 64 bits.
        bits: u32,
    },
}

/// How deep structures nest at most.
const DEPTH_MAX: u32 = 32;
/// Addresses between two items, which no program can touch.
const GAP: u32 = 64;

impl GenericCtx {
    pub(super) fn read(ctx: &At<'_>) -> Result<GenericCtx, CtxError> {
        let mut generic = GenericCtx {
            memory_is_null: ctx.value.get("memory").is_some_and(Value::is_null),
            others: ctx.others(&["registers", "memory", "emulator"]),
            ..GenericCtx::default()
        };
        ctx.object()?;
        if let Some(emulator) = ctx.get("emulator") {
            generic.emulator = emulator.object()?.clone();
        }
        if let Some(memory) = ctx.get("memory") {
            generic.memory = memory.list()?.iter().map(read_item).collect::<Result<_, _>>()?;
        }
        if let Some(registers) = ctx.get("registers") {
            for (name, at) in registers.members()? {
                let index = ["r1", "r2", "r3", "r4", "r5"].iter().position(|known| *known == name);
                let index = index.ok_or_else(|| at.error("there are the registers r1 to r5"))?;
                let item = at.text()?;
                if !item.is_empty() && generic.item(item).is_none() {
                    return Err(at.error(format!("there is no memory {item:?}")));
                }
                generic.registers[index] = Some(item.to_owned());
            }
        }
        if let Some(memory) = ctx.get("memory") {
            for (item, at) in generic.memory.iter().zip(memory.list()?) {
                generic.check(item).map_err(|what| at.error(what))?;
            }
        }
        Ok(generic)
    }

    /// A context of plain bytes in r1, with what r2 to r5 hold.
    pub(crate) fn of(raw: &RawContext) -> GenericCtx {
        let mut generic = GenericCtx::default();
        let mut put = |register: usize, name: String, value: MemoryValue| {
            generic.registers[register] = Some(name.clone());
            generic.memory.push(MemoryItem { name, value });
        };
        if !raw.bytes.is_empty() {
            put(0, "data".into(), MemoryValue::Block { bytes: raw.bytes.clone(), byte_order: None });
        }
        for (at, arg) in raw.args.iter().enumerate().filter(|(_, arg)| **arg != 0) {
            let value = MemoryValue::Int { value: i128::from(*arg), bits: 64 };
            put(at + 1, format!("r{}", at + 2), value);
        }
        generic
    }

    pub(super) fn write(&self) -> Value {
        let registers = self
            .registers
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((format!("r{}", index + 1), Value::from(name.as_deref()?))));
        let memory = match self.memory_is_null && self.memory.is_empty() {
            true => Value::Null,
            false => self.memory.iter().map(write_item).collect(),
        };
        let mut ctx = Map::new();
        ctx.insert("registers".into(), Value::Object(registers.collect()));
        ctx.insert("memory".into(), memory);
        ctx.insert("emulator".into(), Value::Object(self.emulator.clone()));
        ctx.extend(self.others.clone());
        Value::Object(ctx)
    }

    fn item(&self, name: &str) -> Option<&MemoryItem> {
        self.memory.iter().find(|item| item.name == name)
    }

    /// What is wrong with an item's references.
    fn check(&self, item: &MemoryItem) -> Result<(), String> {
        let known = |name: &str| self.item(name).ok_or_else(|| format!("there is no memory {name:?}"));
        match &item.value {
            MemoryValue::Block { .. } | MemoryValue::Int { .. } => Ok(()),
            MemoryValue::Ptr { memory, .. } => match known(memory)?.value {
                MemoryValue::Block { .. } | MemoryValue::Struct(_) => Ok(()),
                MemoryValue::Ptr { .. } | MemoryValue::Int { .. } => {
                    Err(format!("a pointer points at a block or struct, and {memory:?} is neither"))
                }
            },
            MemoryValue::Struct(members) => {
                members.iter().try_for_each(|(_, memory)| known(memory).map(|_| ()))?;
                self.len(item, 0).map(|_| ())
            }
        }
    }

    fn len(&self, item: &MemoryItem, depth: u32) -> Result<u32, String> {
        if depth > DEPTH_MAX {
            return Err(format!(
                "structures nest at most {DEPTH_MAX} deep; does {:?} contain itself?",
                item.name
            ));
        }
        match &item.value {
            MemoryValue::Block { bytes, .. } => u32::try_from(bytes.len()).map_err(|_| "too long".into()),
            MemoryValue::Ptr { bits, .. } | MemoryValue::Int { bits, .. } => Ok(bits / 8),
            MemoryValue::Struct(members) => {
                let mut len = 0u32;
                for (_, name) in members {
                    let member = self.item(name).ok_or_else(|| format!("there is no memory {name:?}"))?;
                    len = len.saturating_add(self.len(member, depth + 1)?);
                    if len as usize > RawContext::LEN_MAX {
                        return Err(format!("longer than {} bytes", RawContext::LEN_MAX));
                    }
                }
                Ok(len)
            }
        }
    }

    /// The bytes of an item when blocks and structures begin at these addresses.
    fn bytes(&self, item: &MemoryItem, addrs: &HashMap<&str, u64>, order: ByteOrder, to: &mut Vec<u8>) {
        let mut put = |value: u64, bits: u32| {
            let len = (bits / 8) as usize;
            match order {
                ByteOrder::Little => to.extend_from_slice(&value.to_le_bytes()[..len]),
                ByteOrder::Big => to.extend_from_slice(&value.to_be_bytes()[8 - len..]),
            }
        };
        match &item.value {
            MemoryValue::Block { bytes, .. } => to.extend_from_slice(bytes),
            MemoryValue::Ptr { memory, off, bits } => {
                put(addrs.get(memory.as_str()).map_or(0, |addr| addr + u64::from(*off)), *bits);
            }
            MemoryValue::Int { value, bits } => put(*value as u64, *bits),
            MemoryValue::Struct(members) => {
                for member in members.iter().filter_map(|(_, name)| self.item(name)) {
                    self.bytes(member, addrs, order, to);
                }
            }
        }
    }
}

impl Context for GenericCtx {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let refused = |why: String| ContextError::Errno(Errno::EINVAL, why);
        let mut offs = Vec::new();
        let mut end = 0u32;
        for item in &self.memory {
            let len = self.len(item, 0).map_err(refused)?;
            offs.push((end, len));
            end = end.saturating_add(len).saturating_add(GAP).next_multiple_of(16);
            if end as usize > RawContext::LEN_MAX {
                return Err(refused(format!("the context has more than {} bytes", RawContext::LEN_MAX)));
            }
        }
        let layout = Layout::Custom(Arc::new(Items(offs.clone())));
        let region = setup.region("context", end.max(1), layout)?;
        region.set_bounds(0, end);
        let mut addrs = HashMap::new();
        for (item, (off, _)) in self.memory.iter().zip(&offs) {
            addrs.entry(item.name.as_str()).or_insert(region.base() + u64::from(*off));
        }
        let mut bytes = Vec::new();
        for (item, (off, _)) in self.memory.iter().zip(&offs) {
            bytes.clear();
            self.bytes(item, &addrs, region.order(), &mut bytes);
            region.write(*off, &bytes);
        }
        let mut registers = [0; 5];
        for (to, name) in registers.iter_mut().zip(&self.registers) {
            let Some(item) = name.as_deref().and_then(|name| self.item(name)) else { continue };
            *to = match &item.value {
                MemoryValue::Block { .. } | MemoryValue::Struct(_) => addrs[item.name.as_str()],
                MemoryValue::Ptr { memory, off, .. } => addrs[memory.as_str()] + u64::from(*off),
                MemoryValue::Int { value, .. } => *value as u64,
            };
        }
        Ok(registers)
    }
}

/// Where the items are: offset and length.
struct Items(Vec<(u32, u32)>);

impl Bounds for Items {
    fn object_at(&self, at: u32) -> Option<Part> {
        let index = self.0.partition_point(|(off, _)| *off <= at).checked_sub(1)?;
        let (off, len) = *self.0.get(index)?;
        (at - off < len).then_some(Part { off, len, access: Access::ReadWrite })
    }
}

fn read_item(at: &At<'_>) -> Result<MemoryItem, CtxError> {
    let name = at.need("name")?.text()?.to_owned();
    let kind = at.need("type")?;
    let value = at.need("value")?;
    let bits = |default: u32, allowed: &[u32]| -> Result<u32, CtxError> {
        let Some(at) = value.get("size") else { return Ok(default) };
        let bits = at.int()?;
        let words: Vec<String> = allowed.iter().map(u32::to_string).collect();
        match allowed.contains(&bits) {
            true => Ok(bits),
            false => Err(at.error(format!("expected a size of {} bits, not {bits}", words.join(", ")))),
        }
    };
    let value = match kind.text()? {
        "block" => MemoryValue::Block {
            bytes: value.need("value")?.base64()?,
            byte_order: value.get("byteorder").map(|order| byte_order(&order)).transpose()?,
        },
        "ptr" => MemoryValue::Ptr {
            memory: value.need("memory")?.text()?.to_owned(),
            off: value.int_or("offset", 0)?,
            bits: bits(64, &[32, 64])?,
        },
        "int" => {
            let number: i128 = value.need("value")?.int()?;
            MemoryValue::Int { value: number, bits: bits(64, &[8, 16, 32, 64])? }
        }
        "struct" => {
            let member = |at: &At<'_>| {
                let name = at.get("name").map_or(Ok(""), |name| name.text())?;
                Ok((name.to_owned(), at.need("memory")?.text()?.to_owned()))
            };
            MemoryValue::Struct(value.list()?.iter().map(member).collect::<Result<_, _>>()?)
        }
        other => return Err(kind.error(format!("expected block, ptr, struct or int, not {other:?}"))),
    };
    Ok(MemoryItem { name, value })
}

fn byte_order(at: &At<'_>) -> Result<String, CtxError> {
    let text = at.text()?;
    let known = ["be", "bigendian", "big-endian", "le", "littleendian", "little-endian"];
    match known.contains(&text.to_lowercase().as_str()) {
        true => Ok(text.to_owned()),
        false => Err(at.error(format!("expected be, big-endian, le or little-endian, not {text:?}"))),
    }
}

fn write_item(item: &MemoryItem) -> Value {
    let (kind, value) = match &item.value {
        MemoryValue::Block { bytes, byte_order } => {
            let mut value = json!({ "value": base64::encode(bytes) });
            if let Some(order) = byte_order {
                value["byteorder"] = json!(order);
            }
            ("block", value)
        }
        MemoryValue::Ptr { memory, off, bits } => {
            ("ptr", json!({ "memory": memory, "offset": off, "size": bits }))
        }
        MemoryValue::Struct(members) => {
            let member = |(name, memory): &(String, String)| json!({ "name": name, "memory": memory });
            ("struct", members.iter().map(member).collect())
        }
        MemoryValue::Int { value, bits } => {
            let number = i64::try_from(*value).map_or_else(|_| json!(*value as u64), |value| json!(value));
            ("int", json!({ "value": number, "size": bits }))
        }
    };
    json!({ "name": item.name, "type": kind, "value": value })
}
