//! The maps of an object while it is read, and where in the ELF file each of them lies; maps of data sections.

use std::collections::BTreeSet;
use std::ops::Range;

use mimic_abi::MapType;
use mimic_abi::btf::{Btf, Linkage};
use mimic_abi::uapi::map_flags::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};

use crate::code::CodeTarget;
use crate::elf::{Elf, Section, Symbol};
use crate::error::{LoadError, LoadErrors, warn};
use crate::fields;
use crate::limits::MAX_MAPS;
use crate::map::{Contents, MapOrigin, MapSpec};
use crate::types::{Kind, SectionVar, Types};

#[derive(Default)]
pub(crate) struct MapTable {
    pub(crate) specs: Vec<MapSpec>,
    /// By ELF section.
    places: Vec<Vec<Place>>,
}

/// Where a map's definition or data lie in a section.
struct Place {
    /// In bytes.
    range: Range<u64>,
    map: usize,
    /// The section is the map's data rather than its definition.
    data: bool,
}

impl MapTable {
    pub(crate) fn new(sections: usize) -> MapTable {
        MapTable { specs: Vec::new(), places: (0..sections).map(|_| Vec::new()).collect() }
    }

    /// Adds a map whose definition is at `range` of `section`.
    pub(crate) fn define(&mut self, section: usize, range: Range<u64>, spec: MapSpec) -> usize {
        let map = self.specs.len();
        self.specs.push(spec);
        self.put(section, Place { range, map, data: false });
        map
    }

    /// Says that a section holds the data of a map.
    pub(crate) fn hold(&mut self, section: usize, len: u64, map: usize) {
        self.put(section, Place { range: 0..len, map, data: true });
    }

    fn put(&mut self, section: usize, place: Place) {
        if let Some(places) = self.places.get_mut(section) {
            let at = places.partition_point(|known| known.range.start <= place.range.start);
            places.insert(at, place);
        }
    }

    /// The map whose definition holds this byte, and the byte's offset in the definition.
    pub(crate) fn defined_at(&self, section: usize, off: u64) -> Option<(usize, u64)> {
        let place = self.place_at(section, off)?;
        (!place.data && place.range.contains(&off)).then_some((place.map, off - place.range.start))
    }

    /// What an instruction that loads the address of this byte refers to.
    pub(crate) fn target_at(&self, section: usize, off: u64) -> Option<CodeTarget> {
        let place = self.place_at(section, off)?;
        if place.data {
            // Negative and large offsets are the program's to answer for: pointers just outside an array are legal C.
            return Some(CodeTarget::MapValue { map: place.map, off: off as u32 });
        }
        (place.range.start == off).then_some(CodeTarget::Map(place.map))
    }

    fn place_at(&self, section: usize, off: u64) -> Option<&Place> {
        let places = self.places.get(section)?;
        match places.first() {
            Some(only) if only.data => Some(only),
            _ => places.get(places.partition_point(|place| place.range.start <= off).checked_sub(1)?),
        }
    }

    /// Adds a map for each section of variables: those that libbpf knows by name, and others that code refers to.
    pub(crate) fn add_data_sections(
        &mut self,
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        errors: &mut LoadErrors,
        warnings: &mut Vec<LoadError>,
    ) {
        let referred = referred_sections(elf);
        let mut described = BTreeSet::new();
        let is_hidden = |symbol: &&Symbol<'_>| symbol.hidden;
        let hidden: BTreeSet<&str> = elf.symbols.iter().filter(is_hidden).map(|symbol| symbol.name).collect();
        for (index, section) in elf.sections.iter().enumerate() {
            if self.specs.len() >= MAX_MAPS {
                return errors
                    .push(LoadError::new(format!("more than {MAX_MAPS} maps")).in_section(section.name));
            }
            let taken = self.places.get(index).is_none_or(|places| !places.is_empty());
            if taken || section.len == 0 || !section.is_alloc_data() {
                continue;
            }
            let named = data_origin(section);
            let is_referred = referred.get(index) == Some(&true) && !is_special(section.name);
            let fallback = if section.is_writable() { MapOrigin::Data } else { MapOrigin::Rodata };
            let Some(origin) = named.or(is_referred.then_some(fallback)) else { continue };
            let map = self.specs.len();
            if let Some(reloc) = section.relocs.first() {
                let message = "pointers in initialised variables stay as they are in the file: nothing relocates data, \
                               neither here nor in libbpf";
                warn(warnings, LoadError::new(message).in_section(section.name).at(reloc.off));
            }
            let mut spec = data_map(section, origin);
            // BTF speaks of one section of a name.
            if let Some(types) = btf.map(Types).filter(|_| described.insert(section.name)) {
                describe(&mut spec, types, &|name| hidden.contains(name));
            }
            self.specs.push(spec);
            self.hold(index, section.len, map);
        }
    }
}

/// What libbpf takes a section of this name for.
fn data_origin(section: &Section<'_>) -> Option<MapOrigin> {
    let is = |name: &str| {
        section.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match section.is_nobits() {
        true => is(".bss").then_some(MapOrigin::Bss),
        false if is(".data") => Some(MapOrigin::Data),
        false if is(".rodata") => Some(MapOrigin::Rodata),
        false => None,
    }
}

/// Sections whose bytes are no variables of the program.
fn is_special(name: &str) -> bool {
    matches!(name, "license" | "version" | "maps" | ".maps" | ".BTF" | ".BTF.ext")
        || name.starts_with("maps/")
}

fn data_map(section: &Section<'_>, origin: MapOrigin) -> MapSpec {
    let frozen = origin == MapOrigin::Rodata;
    MapSpec {
        name: section.name.to_owned(),
        map_type: MapType::Array.id(),
        key_size: 4,
        value_size: section.len as u32,
        max_entries: 1,
        map_flags: if frozen { BPF_F_RDONLY_PROG } else { 0 },
        contents: match section.is_nobits() {
            true => Contents::Empty,
            false => Contents::Data { bytes: section.data.to_vec(), frozen },
        },
        origin,
        ..MapSpec::default()
    }
}

/// Which sections relocations of code point at.
fn referred_sections(elf: &Elf<'_>) -> Vec<bool> {
    let mut referred = vec![false; elf.sections.len()];
    for section in elf.sections.iter().filter(|section| section.is_code()) {
        for reloc in &section.relocs {
            let symbol = elf.symbols.get(reloc.symbol);
            if let Some((index, _)) = symbol.and_then(|symbol| elf.section_of(symbol)) {
                referred[index] = true;
            }
        }
    }
    referred
}

/// Adds what BTF says of a section: its type, and whether user space may map it. As libbpf has it, that is where a variable is
/// neither static nor hidden.
pub(crate) fn describe(spec: &mut MapSpec, types: Types<'_>, is_hidden: &dyn Fn(&str) -> bool) {
    let Some(datasec) = types.datasec(&spec.name) else { return };
    spec.value_type = datasec;
    spec.fields = fields::find(types, datasec);
    let is_visible = |var: SectionVar| match types.kind(var.type_id) {
        Some(Kind::Var { linkage, .. }) => linkage != Linkage::Static && !is_hidden(types.name(var.type_id)),
        _ => false,
    };
    if types.vars(datasec).any(is_visible) {
        spec.map_flags |= BPF_F_MMAPABLE;
    }
}
