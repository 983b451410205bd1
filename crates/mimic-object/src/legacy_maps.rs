//! Maps of the time before BTF: words in a section `maps`, a structure per map, as each loader's own header declared it.
//!
//! Four or five words everywhere (type, key size, value size, entries, flags); then what the kernel's samples, cilium, gobpf and iproute2
//! added. Today's libbpf refuses such objects; much of what exists in the wild is like that.

use std::ops::Range;

use mimic_abi::ByteOrder;
use mimic_abi::MapType;
use mimic_abi::uapi::map_flags::BPF_F_NUMA_NODE;

use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::error::{LoadError, LoadErrors, warn};
use crate::limits::{MAX_INIT_SLOTS, MAX_MAPS};
use crate::map::{Contents, Init, MapOrigin, MapSpec, Slot};
use crate::map_table::MapTable;

/// Legacy maps that others refer to by number.
#[derive(Default)]
pub(crate) struct LegacyMaps {
    /// In the order of the section.
    maps: Vec<Legacy>,
    /// Bytes of the longest definition.
    longest_len: u64,
}

struct Legacy {
    /// Index in `Object::maps`.
    map: usize,
    /// The number that iproute2's definitions know it by; 0 is none.
    id: u32,
    inner: Inner,
}

#[derive(Clone, Copy)]
enum Inner {
    None,
    /// The kernel's samples: the template is the map of this index in the section.
    Index(u32),
    /// iproute2: the template is the map with this id; maps with it go to the slot that they name.
    Id(u32),
    /// iproute2: the slot of this map in the maps of maps that ask for its id.
    Slot(u32),
}

impl LegacyMaps {
    /// Reads the sections `maps` and `maps/…`.
    pub(crate) fn read(
        elf: &Elf<'_>,
        table: &mut MapTable,
        errors: &mut LoadErrors,
        warnings: &mut Vec<LoadError>,
    ) -> LegacyMaps {
        let mut legacy = LegacyMaps::default();
        for (index, section) in elf.sections.iter().enumerate() {
            if section.is_code() || !(section.name == "maps" || section.name.starts_with("maps/")) {
                continue;
            }
            for (symbol, range) in definitions(elf, index, section) {
                if table.specs.len() >= MAX_MAPS {
                    errors
                        .push(LoadError::new(format!("more than {MAX_MAPS} maps")).in_section(section.name));
                    break;
                }
                let len = range.end.saturating_sub(range.start);
                legacy.longest_len = legacy.longest_len.max(len);
                match read_map(elf.order, section, symbol.display_name(elf), &range, warnings) {
                    Ok((spec, id, inner)) => {
                        let map = table.define(index, range, spec);
                        legacy.maps.push(Legacy { map, id, inner });
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        legacy.resolve_inner(table, errors);
        legacy
    }

    /// Definitions are as long as iproute2's: they are for its loader.
    pub(crate) fn is_iproute2(&self) -> bool {
        const LEN: u64 = 4 * 9;
        self.longest_len == LEN
    }

    /// Gives maps of maps their templates and fills their slots.
    fn resolve_inner(&self, table: &mut MapTable, errors: &mut LoadErrors) {
        let mut filled = 0;
        for legacy in &self.maps {
            let template = match legacy.inner {
                Inner::None | Inner::Slot(_) => continue,
                Inner::Index(index) => self.maps.get(index as usize),
                Inner::Id(id) => self.maps.iter().find(|inner| inner.id == id),
            };
            let template = template.map(|inner| inner.map).filter(|map| *map != legacy.map);
            let Some(template) = template.and_then(|map| table.specs.get(map)).cloned() else {
                let name = table.specs[legacy.map].name.clone();
                let what = "the map that it says its inner maps are like is not there";
                errors.push(LoadError::new(what).in_section("maps").at_symbol(&name));
                continue;
            };
            // One level only, as in the kernel; this also keeps a chain of templates from growing.
            let inner = MapSpec { inner: None, contents: Contents::Empty, ..template };
            let spec = &mut table.specs[legacy.map];
            spec.inner = Some(Box::new(inner));
            let slots = self.slots_of(legacy);
            filled += slots.len();
            if filled > MAX_INIT_SLOTS {
                let message = format!("more than {MAX_INIT_SLOTS} slots are filled");
                return errors.push(LoadError::new(message).in_section("maps"));
            }
            if !slots.is_empty() {
                spec.contents = Contents::Slots(slots);
            }
        }
    }

    fn slots_of(&self, outer: &Legacy) -> Vec<Slot> {
        let Inner::Id(id) = outer.inner else { return Vec::new() };
        let slot = |inner: &Legacy| match inner.inner {
            Inner::Slot(index) if inner.id == id => Some(Slot { index, init: Init::Map(inner.map) }),
            Inner::None | Inner::Index(_) | Inner::Id(_) | Inner::Slot(_) => None,
        };
        self.maps.iter().filter_map(slot).collect()
    }

    /// Puts the programs of sections that iproute2 reads as `map id/slot` into the program arrays that they name.
    pub(crate) fn fill_prog_arrays<'a>(
        &self,
        table: &mut MapTable,
        programs: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        for (section, program) in programs {
            let Some((id, index)) =
                section.split_once('/').and_then(|(id, slot)| number(id).zip(number(slot)))
            else {
                continue;
            };
            let Some(legacy) = self.maps.iter().find(|legacy| legacy.id == id && id != 0) else { continue };
            let spec = &mut table.specs[legacy.map];
            if spec.map_type != MapType::ProgArray.id() {
                continue;
            }
            let slot = Slot { index, init: Init::Program(program.to_owned()) };
            match &mut spec.contents {
                Contents::Slots(slots) => slots.push(slot),
                Contents::Empty | Contents::Data { .. } => spec.contents = Contents::Slots(vec![slot]),
            }
        }
    }
}

/// A number as C writes it.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The symbols of the section by place, each with the bytes up to its end or to the next one.
fn definitions<'a, 'd>(
    elf: &'a Elf<'d>,
    index: usize,
    section: &Section<'_>,
) -> Vec<(&'a Symbol<'d>, Range<u64>)> {
    let is_definition = |symbol: &&Symbol<'_>| {
        matches!(symbol.kind, SymbolKind::Object | SymbolKind::None) && !symbol.name.is_empty()
    };
    let mut symbols: Vec<&Symbol<'_>> = elf
        .symbols
        .iter()
        .filter(is_definition)
        .filter(|symbol| {
            elf.section_of(symbol).is_some_and(|(at, _)| at == index) && symbol.value < section.len
        })
        .collect();
    symbols.sort_by_key(|symbol| symbol.value);
    symbols.dedup_by_key(|symbol| symbol.value);
    let ends: Vec<u64> = symbols.iter().skip(1).map(|next| next.value).chain([section.len]).collect();
    let range = |(symbol, next): (&'a Symbol<'d>, u64)| {
        let end = if symbol.len == 0 { next } else { symbol.value.saturating_add(symbol.len).min(next) };
        (symbol, symbol.value..end)
    };
    symbols.into_iter().zip(ends).map(range).collect()
}

fn read_map(
    order: ByteOrder,
    section: &Section<'_>,
    name: &str,
    range: &Range<u64>,
    warnings: &mut Vec<LoadError>,
) -> Result<(MapSpec, u32, Inner), LoadError> {
    let place =
        |message: String| LoadError::new(message).in_section(section.name).at_symbol(name).at(range.start);
    let bytes = section.data.get(range.start as usize..range.end as usize).unwrap_or_default();
    let words: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| match order {
            ByteOrder::Little => u32::from_le_bytes(*word),
            ByteOrder::Big => u32::from_be_bytes(*word),
        })
        .collect();
    let [map_type, key_size, value_size, max_entries, ref rest @ ..] = words[..] else {
        let len = bytes.len();
        return Err(place(format!("a map definition of {len} bytes; expected at least four 32-bit words")));
    };
    let mut spec = MapSpec {
        name: name.to_owned(),
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags: rest.first().copied().unwrap_or(0),
        origin: MapOrigin::Legacy,
        ..MapSpec::default()
    };
    let of_maps = spec.kind().is_ok_and(MapType::is_map_of_maps);
    let (mut id, mut inner) = (0, Inner::None);
    match *rest {
        [] | [_] => {}
        // The kernel's samples: an index, since 4.14 also a NUMA node.
        [_, index] | [_, index, _] if of_maps => inner = Inner::Index(index),
        [flags, _, node] if flags & BPF_F_NUMA_NODE != 0 => spec.numa_node = Some(node),
        // iproute2 before maps of maps, and gobpf with a path behind.
        [_, number, pinning] => (id, spec.pinning) = (number, pinning),
        [_, number, pinning, inner_id, inner_slot] => {
            (id, spec.pinning) = (number, pinning);
            inner = match (of_maps, inner_id, inner_slot) {
                (true, 0, index) => Inner::Index(index),
                (true, inner_id, _) => Inner::Id(inner_id),
                (false, _, u32::MAX) => Inner::None,
                (false, _, slot) if number != 0 => Inner::Slot(slot),
                (false, _, _) => Inner::None,
            };
        }
        [_, pinning, ..] if section.name.starts_with("maps/") => spec.pinning = pinning,
        [_, ref unknown @ ..] => {
            if unknown.iter().any(|word| *word != 0) {
                let words = words.len();
                warn(
                    warnings,
                    place(format!(
                        "a map definition of {words} words is nobody's that is known; the first five are used"
                    )),
                );
            }
        }
    }
    Ok((spec, id, inner))
}
