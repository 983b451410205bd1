//! Maps defined by BTF: variables in `.maps`, whose structure's members say by their types what the map is to be.
//!
//! `int (*max_entries)[16]` is 16, `struct flow *key` a key type, `__ulong(map_extra, …)` an enumerator's value. Relocations of the section
//! fill the slots of maps of maps and of program arrays. Mirrors the "BTF-defined maps" of libbpf's documentation.

use std::collections::BTreeMap;
use std::ops::Range;

use mimic_abi::btf::{Btf, Linkage};
use mimic_abi::{MapType, SLOT_LEN};

use crate::code::Code;
use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::error::{LoadError, LoadErrors, warn};
use crate::fields;
use crate::limits::{MAX_INIT_SLOTS, MAX_MAPS};
use crate::map::{Contents, Init, MapOrigin, MapSpec, Slot};
use crate::map_table::MapTable;
use crate::program::ProgramSpec;
use crate::types::{Kind, Member, SectionVar, Types};

const MAPS: &str = ".maps";
const ARENA: &str = ".addr_space.1";
/// A pointer of BPF, in bytes.
const PTR_LEN: u64 = 8;
/// The kernel's page on the machines that objects are written for; ring buffers are rounded up to it.
const PAGE_LEN: u32 = 4096;

impl MapTable {
    /// Reads the definitions in `.maps`, and what the section's relocations put into slots.
    pub(crate) fn read_btf_maps(
        &mut self,
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        programs: &[ProgramSpec],
        code: &Code,
        errors: &mut LoadErrors,
        warnings: &mut Vec<LoadError>,
    ) {
        let Some((index, section)) = elf.section_named(MAPS) else { return };
        let Some(types) = btf.map(Types) else {
            errors.push(LoadError::new("maps need BTF: compile with -g").in_section(MAPS));
            return;
        };
        let Some(datasec) = types.datasec(MAPS) else {
            errors.push(LoadError::new("BTF says nothing of this section: compile with -g").in_section(MAPS));
            return;
        };
        let mut slots_off = BTreeMap::new();
        let places = places(elf, index);
        for var in types.vars(datasec) {
            if self.specs.len() >= MAX_MAPS {
                return errors.push(LoadError::new(format!("more than {MAX_MAPS} maps")).in_section(MAPS));
            }
            // Declared here, defined in another object: an error only where code refers to it.
            if matches!(types.kind(var.type_id), Some(Kind::Var { linkage: Linkage::Extern, .. })) {
                continue;
            }
            let name = types.name(var.type_id);
            let place = |message: String| LoadError::new(message).in_section(MAPS).at_symbol(name);
            let mut reader = MapReader { types, name, slots_off: None, warnings: &mut *warnings };
            match reader.read(var.type_id) {
                Ok(spec) => {
                    let slots = reader.slots_off;
                    match range(places.get(name).copied(), section, &var) {
                        Some(range) => {
                            self.define(index, range, spec);
                            slots_off.insert(self.specs.len() - 1, slots);
                        }
                        None => errors.push(place(format!(
                            "its definition is beyond the section's {} bytes",
                            section.len
                        ))),
                    }
                }
                Err(message) => errors.push(place(message)),
            }
        }
        let by_func: BTreeMap<usize, &str> =
            programs.iter().map(|program| (program.func, program.name.as_str())).collect();
        let find_program = |section: usize, off: u64| {
            let pc = u32::try_from(off / SLOT_LEN as u64).ok()?;
            let func = code.func_at(code.section_at(section)?, pc)?;
            let starts = code.funcs.get(func)?.start == pc && off.is_multiple_of(SLOT_LEN as u64);
            by_func.get(&func).filter(|_| starts).map(|name| (*name).to_owned())
        };
        self.fill_slots(elf, index, &slots_off, &find_program, errors);
        self.hold_arena(elf, errors);
    }

    /// Puts what the relocations of `.maps` point at into the slots of maps.
    fn fill_slots(
        &mut self,
        elf: &Elf<'_>,
        index: usize,
        slots_off: &BTreeMap<usize, Option<u32>>,
        find_program: &dyn Fn(usize, u64) -> Option<String>,
        errors: &mut LoadErrors,
    ) {
        let Some(section) = elf.sections.get(index) else { return };
        if section.relocs.len() > MAX_INIT_SLOTS {
            let message =
                format!("{} slots are filled; at most {MAX_INIT_SLOTS} are taken", section.relocs.len());
            return errors.push(LoadError::new(message).in_section(MAPS));
        }
        for reloc in &section.relocs {
            let Some(symbol) = elf.symbols.get(reloc.symbol) else { continue };
            let Some((map, off)) = self.defined_at(index, reloc.off) else {
                errors.push(LoadError::new("a relocation that is in no map").in_section(MAPS).at(reloc.off));
                continue;
            };
            let start = slots_off.get(&map).copied().flatten();
            let (name, kind) = (self.specs[map].name.clone(), self.specs[map].kind());
            let target = symbol.display_name(elf);
            let mut fail = |message: String| {
                errors.push(LoadError::new(message).in_section(MAPS).at_symbol(&name).at(reloc.off));
            };
            let Some(slot) = start.and_then(|start| off.checked_sub(u64::from(start))) else {
                fail(format!(
                    "'{target}' is put into something that is no slot: only `values` can be filled"
                ));
                continue;
            };
            let to = symbol.value.wrapping_add_signed(section.pointer_addend(reloc, elf.order));
            let place = elf.section_of(symbol).map(|(section, _)| section);
            let init = match kind {
                Ok(MapType::ProgArray) => {
                    place.and_then(|section| find_program(section, to)).map(Init::Program)
                }
                _ => place.and_then(|section| self.defined_at(section, to)).map(|(map, _)| Init::Map(map)),
            };
            match init {
                Some(init) if slot.is_multiple_of(PTR_LEN) => {
                    self.add_slot(map, Slot { index: (slot / PTR_LEN) as u32, init });
                }
                Some(_) => fail(format!("'{target}' is put between two slots")),
                None => fail(format!("'{target}' is no map or program that fits into a slot")),
            }
        }
    }

    fn add_slot(&mut self, map: usize, slot: Slot) {
        match &mut self.specs[map].contents {
            Contents::Slots(slots) => slots.push(slot),
            contents @ (Contents::Empty | Contents::Data { .. }) => *contents = Contents::Slots(vec![slot]),
        }
    }

    /// Gives the variables of an arena's address space to the arena.
    fn hold_arena(&mut self, elf: &Elf<'_>, errors: &mut LoadErrors) {
        let Some((index, section)) = elf.section_named(ARENA) else { return };
        let arena = self.specs.iter().position(|spec| spec.kind() == Ok(MapType::Arena));
        let Some(arena) = arena else {
            let message = "variables of an arena, but no map is one: define a BPF_MAP_TYPE_ARENA map";
            return errors.push(LoadError::new(message).in_section(ARENA));
        };
        let spec = &mut self.specs[arena];
        let room = u64::from(spec.max_entries) * u64::from(PAGE_LEN);
        if section.len > room {
            let message = format!("{} bytes of variables; arena '{}' has {room}", section.len, spec.name);
            return errors.push(LoadError::new(message).in_section(ARENA));
        }
        if !section.is_nobits() {
            spec.contents = Contents::Data { bytes: section.data.to_vec(), frozen: false };
        }
        self.hold(index, section.len, arena);
    }
}

/// Where the symbols of `.maps` lie, by name.
fn places<'d>(elf: &Elf<'d>, index: usize) -> BTreeMap<&'d str, u64> {
    let is_definition = |symbol: &&Symbol<'_>| {
        symbol.kind != SymbolKind::Section && elf.section_of(symbol).is_some_and(|(at, _)| at == index)
    };
    elf.symbols.iter().filter(is_definition).map(|symbol| (symbol.name, symbol.value)).collect()
}

/// Where a definition lies. Clang leaves offsets in BTF to relocations; the symbol has it for certain.
fn range(symbol: Option<u64>, section: &Section<'_>, var: &SectionVar) -> Option<Range<u64>> {
    let start = symbol.unwrap_or(u64::from(var.off));
    let end = start.checked_add(u64::from(var.size))?;
    (end <= section.len).then_some(start..end)
}

/// Reads the definition of one map.
struct MapReader<'a> {
    types: Types<'a>,
    name: &'a str,
    /// Offset of `values` in the definition, in bytes.
    slots_off: Option<u32>,
    warnings: &'a mut Vec<LoadError>,
}

impl MapReader<'_> {
    fn read(&mut self, var: u32) -> Result<MapSpec, String> {
        let def = match self.types.kind(var) {
            Some(Kind::Var { type_id, .. }) => self.types.skip(type_id),
            _ => None,
        };
        match def.and_then(|def| Some((def, self.types.kind(def)?))) {
            Some((def, Kind::Struct)) => self.read_def(def, self.name.to_owned(), false),
            _ => Err("a map must be defined by a structure".to_owned()),
        }
    }

    fn read_def(&mut self, def: u32, name: String, is_inner: bool) -> Result<MapSpec, String> {
        let mut spec = MapSpec { name, origin: MapOrigin::Btf, ..MapSpec::default() };
        let (mut key_given, mut value_given) = (None, None);
        let types = self.types;
        for member in types.members(def) {
            let number = || self.number(&member);
            match member.name {
                "type" => spec.map_type = number()?,
                "max_entries" => spec.max_entries = number()?,
                "map_flags" => spec.map_flags = number()?,
                "numa_node" => spec.numa_node = Some(number()?),
                "map_extra" => spec.map_extra = self.long(&member)?,
                "key_size" => size(&mut key_given, number()?, "key")?,
                "value_size" => size(&mut value_given, number()?, "value")?,
                "key" => {
                    spec.key_type = self.pointee(&member)?;
                    size(&mut key_given, self.size_of(spec.key_type)?, "key")?;
                }
                "value" => {
                    spec.value_type = self.pointee(&member)?;
                    size(&mut value_given, self.size_of(spec.value_type)?, "value")?;
                }
                "values" if is_inner => return Err("a map of maps cannot be inside another one".to_owned()),
                "values" => {
                    size(&mut value_given, 4, "value")?;
                    self.slots_off = Some(member.bit_off / 8);
                    spec.inner = self.inner(&member, &spec)?;
                }
                "pinning" if is_inner => return Err("an inner map cannot be pinned".to_owned()),
                "pinning" => spec.pinning = number()?,
                unknown => {
                    let message = format!("unknown member '{unknown}' of the definition, passed over");
                    warn(self.warnings, LoadError::new(message).in_section(MAPS).at_symbol(self.name));
                }
            }
        }
        spec.fields = fields::find(types, spec.value_type);
        (spec.key_size, spec.value_size) = (key_given.unwrap_or(0), value_given.unwrap_or(0));
        if spec.map_type == MapType::Unspec.id() {
            return Err("it has no type: add __uint(type, BPF_MAP_TYPE_…)".to_owned());
        }
        if matches!(spec.kind(), Ok(MapType::Ringbuf | MapType::UserRingbuf)) {
            spec.max_entries = ringbuf_len(spec.max_entries);
        }
        Ok(spec)
    }

    /// `int (*name)[number]`.
    fn number(&self, member: &Member<'_>) -> Result<u32, String> {
        let expected = || format!("'{}' must be declared by __uint()", member.name);
        let pointer = self.types.skip(member.type_id).ok_or_else(expected)?;
        let Some(Kind::Ptr { to }) = self.types.kind(pointer) else { return Err(expected()) };
        match self.types.kind(to) {
            Some(Kind::Array { len, .. }) => Ok(len),
            _ => Err(expected()),
        }
    }

    /// `enum { number } name`, or as [`MapReader::number`].
    fn long(&self, member: &Member<'_>) -> Result<u64, String> {
        let id = self.types.skip(member.type_id);
        match id.and_then(|id| Some((id, self.types.kind(id)?))) {
            Some((id, Kind::Enum { .. })) => {
                let mut enumerators = self.types.enumerators(id);
                match (enumerators.next(), enumerators.next()) {
                    (Some((_, value)), None) => Ok(value),
                    _ => Err(format!("'{}' must be declared by __ulong()", member.name)),
                }
            }
            _ => self.number(member).map(u64::from),
        }
    }

    /// `type *name`.
    fn pointee(&self, member: &Member<'_>) -> Result<u32, String> {
        match self.types.kind(member.type_id) {
            Some(Kind::Ptr { to }) => Ok(to),
            _ => Err(format!("'{}' must be declared by __type()", member.name)),
        }
    }

    fn size_of(&self, id: u32) -> Result<u32, String> {
        let size = self.types.size(id).and_then(|size| u32::try_from(size).ok());
        size.ok_or_else(|| format!("type [{id}] has no size"))
    }

    /// `type *values[]`, the template of inner maps; none for programs.
    fn inner(&mut self, member: &Member<'_>, spec: &MapSpec) -> Result<Option<Box<MapSpec>>, String> {
        let expected = || "'values' must be declared by __array()".to_owned();
        let Some(Kind::Array { elem, len: 0 }) = self.types.kind(member.type_id) else {
            return Err(expected());
        };
        let elem = self.types.skip(elem).ok_or_else(expected)?;
        let Some(Kind::Ptr { to }) = self.types.kind(elem) else { return Err(expected()) };
        let to = self.types.skip(to).ok_or_else(expected)?;
        match (spec.kind(), self.types.kind(to)) {
            (Ok(MapType::ProgArray), Some(Kind::FuncProto { .. })) => Ok(None),
            (Ok(map_type), Some(Kind::Struct)) if map_type.is_map_of_maps() => {
                let name = format!("{}.inner", self.name);
                self.read_def(to, name, true).map(|inner| Some(Box::new(inner)))
            }
            _ => Err("'values' is for program arrays and maps of maps, after 'type'".to_owned()),
        }
    }
}

/// Notes a size; said twice, it must be the same.
fn size(given: &mut Option<u32>, size: u32, what: &str) -> Result<(), String> {
    match given {
        Some(known) if *known != 0 && *known != size => Err(format!("two {what} sizes, {known} and {size}")),
        _ => {
            *given = Some(size);
            Ok(())
        }
    }
}

/// A ring buffer's size as libbpf corrects it: a power of two, of pages.
fn ringbuf_len(len: u32) -> u32 {
    if len == 0 || (len.is_multiple_of(PAGE_LEN) && (len / PAGE_LEN).is_power_of_two()) {
        return len;
    }
    len.checked_next_power_of_two().map_or(len, |rounded| rounded.max(PAGE_LEN))
}
