//! `MapDump`: all that a map holds, with the types that its object's BTF gives it, for people (text) and machines (JSON).
//!
//! What a dump takes out of a map is gone: records of ring buffers, elements of queues and stacks.

use crate::error::Error;
use crate::map::MapHandle;
use crate::pretty::Pretty;
use mimic_abi::btf::{Btf, Kind, KindCode, TypeId};
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_linux::maps::{LinuxMap, PerfEventArray};
use serde_json::{Value, json};
use std::any::Any;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapContents {
    /// Keys and their values: one, or one for each CPU.
    Entries(Vec<Entry>),
    /// What a user would read from it, first things first: records of a ring buffer, elements of a queue or stack.
    Records(Vec<Vec<u8>>),
    /// It cannot be looked into; why.
    Opaque(String),
}

/// A key with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// Its value, or those of all CPUs.
    pub values: Vec<Vec<u8>>,
}

impl Entry {
    /// No bit of its values is set.
    pub fn is_zero(&self) -> bool {
        self.values.iter().flatten().all(|byte| *byte == 0)
    }
}

/// Bytes of a map with the type that they are shown as.
#[derive(Clone, Copy)]
pub struct Typed<'a> {
    btf: Option<(&'a Btf, TypeId)>,
    bytes: &'a [u8],
    order: ByteOrder,
    is_prefix: bool,
}

impl<'a> MapHandle<'a> {
    /// All that it holds. Takes records and queued elements out.
    pub fn contents(&self) -> Result<MapContents, Error> {
        let Ok(kind) = self.spec().kind() else {
            return Ok(MapContents::Opaque(format!("map type {} is not known", self.spec().map_type)));
        };
        match kind {
            MapType::Ringbuf | MapType::PerfEventArray => Ok(MapContents::Records(self.take_records())),
            MapType::Queue | MapType::Stack => {
                let pop = || self.map().lookup_and_delete(&[], 0).ok();
                Ok(MapContents::Records(std::iter::from_fn(pop).collect()))
            }
            MapType::BloomFilter => Ok(MapContents::Opaque("a Bloom filter does not list its values".into())),
            MapType::UserRingbuf | MapType::Arena => {
                Ok(MapContents::Opaque(format!("maps of type {} have no keys to list", kind.word())))
            }
            _ => self.listed(kind),
        }
    }

    /// The records that programs have committed to a ring buffer, or put into perf event buffers, taken out. None of other maps.
    pub fn take_records(&self) -> Vec<Vec<u8>> {
        crate::tally::records(self.map(), None)
    }

    /// Gives each CPU's slot of a perf event array a buffer of so many bytes, as loaders do: without one programs cannot write to it. Does
    /// nothing to other maps.
    pub fn open_perf(&self, bytes_max: u64) {
        let map: &dyn Any = &*self.map().map;
        if let Some(perf) = map.downcast_ref::<LinuxMap<PerfEventArray>>() {
            perf.ops().open_all(bytes_max);
        }
    }

    /// The key as its type has it.
    pub fn key<'b>(&self, bytes: &'b [u8]) -> Typed<'b>
    where
        'a: 'b,
    {
        let is_prefix = self.spec().kind() == Ok(MapType::LpmTrie);
        Typed { is_prefix, ..self.typed(self.spec().key_type, bytes) }
    }

    /// The value as its type has it.
    pub fn typed_value<'b>(&self, bytes: &'b [u8]) -> Typed<'b>
    where
        'a: 'b,
    {
        self.typed(self.spec().value_type, bytes)
    }

    /// A record as the structure of this name, or by default as the one that is called like the map (`events`: `event` or `events`) and as
    /// long as the record.
    pub fn record<'b>(&self, bytes: &'b [u8], type_name: Option<&str>) -> Typed<'b>
    where
        'a: 'b,
    {
        let name = self.name();
        let names = match type_name {
            Some(name) => vec![name],
            None => vec![name, name.strip_suffix('s').unwrap_or(name)],
        };
        let btf = self.object().btf.as_deref();
        let find = |btf: &Btf, name: &str| {
            let kinds = [KindCode::Struct, KindCode::Union, KindCode::Typedef, KindCode::Int];
            let ty = kinds.iter().find_map(|kind| btf.find(name, *kind))?.id;
            (type_name.is_some() || btf.size_of(ty).is_some_and(|size| size as usize == bytes.len()))
                .then_some(ty)
        };
        let ty = btf.and_then(|btf| names.iter().find_map(|name| find(btf, name)));
        self.typed(ty.map_or(0, |ty| ty.0), bytes)
    }

    /// The variables of a data section with their values: names and bytes. Empty for other maps.
    pub fn variables<'b>(&self, bytes: &'b [u8]) -> Vec<(&'b str, Typed<'b>)>
    where
        'a: 'b,
    {
        let btf = self.object().btf.as_deref().filter(|_| self.spec().is_data());
        let section = btf.and_then(|btf| match btf.ty(TypeId(self.spec().value_type))?.kind {
            Kind::Datasec(section) => Some((btf, section)),
            _ => None,
        });
        let Some((btf, section)) = section else { return Vec::new() };
        let variable = |entry: mimic_abi::btf::DatasecEntry| {
            let name = btf.ty(entry.ty)?.name();
            let end = (entry.off as usize).checked_add(entry.size as usize)?;
            let bytes = bytes.get(entry.off as usize..end)?;
            Some((name, Typed { btf: Some((btf, entry.ty)), bytes, order: self.order(), is_prefix: false }))
        };
        section.entries.iter().filter_map(variable).collect()
    }

    /// The map as versioned JSON: `name`, `type`, sizes, and `entries` (`key`, `value` or per CPU `values`, each with its bytes as hex),
    /// `variables` of a data section, `records`, or `opaque` with the reason. At most `max` entries; `omitted` says how many more there are.
    pub fn to_json(&self, contents: &MapContents, max: usize) -> Value {
        let spec = self.spec();
        let kind = spec.kind().map_or_else(|_| spec.map_type.to_string(), |kind| kind.word().to_owned());
        let mut map = json!({
            "name": self.name(), "type": kind, "key_size": spec.key_size, "value_size": spec.value_size,
            "max_entries": spec.max_entries,
        });
        let mut omitted = 0;
        match contents {
            MapContents::Entries(entries) => {
                omitted = entries.len().saturating_sub(max);
                map["entries"] = entries.iter().take(max).map(|entry| self.entry_json(entry)).collect();
            }
            MapContents::Records(records) => {
                omitted = records.len().saturating_sub(max);
                let record = |record: &Vec<u8>| match spec.kind() {
                    Ok(MapType::Ringbuf | MapType::PerfEventArray) => self.record(record, None).to_json(),
                    _ => self.typed_value(record).to_json(),
                };
                map["records"] = records.iter().take(max).map(record).collect();
            }
            MapContents::Opaque(why) => map["opaque"] = json!(why),
        }
        if omitted > 0 {
            map["omitted"] = json!(omitted);
        }
        map
    }

    /// What is in a slot of a map of programs or of maps, whose values are ids: `program NAME` or `map NAME`, as presets take them.
    pub fn slot(&self, value: &[u8]) -> Option<String> {
        let id = <[u8; 4]>::try_from(value).ok()?;
        let id = match self.order() {
            ByteOrder::Little => u32::from_le_bytes(id),
            ByteOrder::Big => u32::from_be_bytes(id),
        };
        let vm = self.loaded().vm();
        match self.spec().kind().ok()? {
            MapType::ProgArray => Some(match vm.program(id) {
                Some(program) => format!("program {}", program.name()),
                None => format!("program with id {id}"),
            }),
            MapType::ArrayOfMaps | MapType::HashOfMaps => Some(match vm.map(id) {
                Some(inner) => format!("map {}", inner.spec().name),
                None => format!("map with id {id}"),
            }),
            _ => None,
        }
    }

    fn entry_json(&self, entry: &Entry) -> Value {
        let key = self.key(&entry.key).to_json();
        match entry.values.as_slice() {
            [value] if self.slot(value).is_some() => json!({ "key": key, "value": self.slot(value) }),
            [value] if !self.is_percpu() => {
                let variables = self.variables(value);
                if variables.is_empty() {
                    return json!({ "key": key, "value": self.typed_value(value).to_json() });
                }
                let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.to_json()));
                json!({ "key": key, "variables": Value::Object(variables.collect()) })
            }
            values => {
                let values: Vec<Value> =
                    values.iter().map(|value| self.typed_value(value).to_json()).collect();
                json!({ "key": key, "values": values })
            }
        }
    }

    /// It has a value for each CPU.
    pub fn is_percpu(&self) -> bool {
        self.spec().kind().is_ok_and(MapType::is_percpu)
    }

    fn typed<'b>(&self, ty: u32, bytes: &'b [u8]) -> Typed<'b>
    where
        'a: 'b,
    {
        let btf = self.object().btf.as_deref().filter(|_| ty != 0).map(|btf| (btf, TypeId(ty)));
        Typed { btf, bytes, order: self.order(), is_prefix: false }
    }

    fn listed(&self, kind: MapType) -> Result<MapContents, Error> {
        let entries = match self.entries() {
            Ok(entries) => entries,
            Err(error) => match error.errno() {
                Some(Errno::ENOTSUPP | Errno::EOPNOTSUPP | Errno::EINVAL) => {
                    return Ok(MapContents::Opaque(format!(
                        "maps of type {} have no keys to list",
                        kind.word()
                    )));
                }
                _ => return Err(error),
            },
        };
        let value_len = self.spec().value_size as usize;
        let split = |value: Vec<u8>| {
            if !kind.is_percpu() {
                return vec![value];
            }
            let stride = value_len.next_multiple_of(8).max(1);
            value.chunks_exact(stride).map(|value| value.get(..value_len).unwrap_or(value).to_vec()).collect()
        };
        let entry = |(key, value)| Entry { key, values: split(value) };
        Ok(MapContents::Entries(entries.into_iter().map(entry).collect()))
    }
}

impl<'a> Typed<'a> {
    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its type, if there is one.
    pub(crate) fn btf(&self) -> Option<(&'a Btf, TypeId)> {
        self.btf
    }

    /// An LPM trie's key with an address of 4 or 16 bytes, as people write it.
    fn prefix(&self) -> Option<String> {
        let (len, addr) = self.bytes.split_first_chunk::<4>().filter(|_| self.is_prefix)?;
        let len = match self.order {
            ByteOrder::Little => u32::from_le_bytes(*len),
            ByteOrder::Big => u32::from_be_bytes(*len),
        };
        let addr = match (<[u8; 4]>::try_from(addr), <[u8; 16]>::try_from(addr)) {
            (Ok(addr), _) => Ipv4Addr::from(addr).to_string(),
            (_, Ok(addr)) => Ipv6Addr::from(addr).to_string(),
            _ => return None,
        };
        Some(format!("{addr}/{len}"))
    }

    /// As JSON: what the type makes of it; the bytes as hex if there is no type.
    pub fn to_json(&self) -> Value {
        let Some((btf, ty)) = self.btf else { return json!({ "hex": hex(self.bytes) }) };
        let text = btf.value(ty, self.bytes).with_order(self.order).json().to_string();
        serde_json::from_str(&text).unwrap_or_else(|_| json!({ "hex": hex(self.bytes) }))
    }
}

/// On one line: as an initialiser in C's manner, with addresses understood; bytes in hex if there is no type.
impl std::fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(prefix) = self.prefix() {
            return f.write_str(&prefix);
        }
        if let Some((btf, ty)) = self.btf {
            return Pretty { btf, ty, bytes: self.bytes, order: self.order }.fmt(f);
        }
        match <[u8; 4]>::try_from(self.bytes) {
            Ok(bytes) if self.order == ByteOrder::Little => write!(f, "{}", u32::from_le_bytes(bytes)),
            Ok(bytes) => write!(f, "{}", u32::from_be_bytes(bytes)),
            Err(_) => {
                let shown = self.bytes.get(..BYTES_SHOWN_MAX).unwrap_or(self.bytes);
                let words: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&words.join(" "))?;
                match self.bytes.len() - shown.len() {
                    0 => Ok(()),
                    more => write!(f, " … {more} more bytes"),
                }
            }
        }
    }
}

/// Bytes of a value without a type that text shows.
const BYTES_SHOWN_MAX: usize = 64;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal digits, two each; white space, colons and a leading `0x` do not matter. The error says what is wrong.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for (at, char) in text.char_indices().filter(|(_, char)| !char.is_whitespace() && *char != ':') {
        let digit =
            char.to_digit(16).ok_or_else(|| format!("{char:?} at {at} is not a hexadecimal digit"))?;
        digits.push(digit as u8);
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err(format!("{} hexadecimal digits: half a byte is left over", digits.len())),
    }
}
