//! The ELF file as tables: sections, symbols, relocations. Knows nothing of eBPF but its machine number.
//!
//! The only file that names the `object` crate. Every offset and size of the file is checked here, once; what the other
//! files get are slices of the input. Mirrors elf(5) and the relocation table of `Documentation/bpf/llvm_reloc.rst`.

use mimic_abi::ByteOrder;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, Rel as _, Rela as _, SectionHeader as _, Sym as _};
use object::{Endianness, SectionIndex};

use crate::error::{LoadError, LoadErrors, warn};
use crate::limits::{MAX_DATA_LEN, MAX_NAME_LEN, MAX_OBJECT_LEN};

type Header = FileHeader64<Endianness>;

/// How many times over a file's bytes may be names of symbols. Linkers share the ends of strings; names are copied.
const MAX_NAME_SHARING: usize = 2;

/// Relocation types of eBPF, `R_BPF_*`.
pub(crate) mod reloc {
    /// The oldest clangs write this one, with an addend, for everything.
    pub(crate) const NONE: u32 = 0;
    /// `ld_imm64`.
    pub(crate) const BPF_64_64: u32 = 1;
    /// A 64-bit word of data.
    pub(crate) const ABS64: u32 = 2;
    /// A 32-bit word of data.
    pub(crate) const ABS32: u32 = 3;
    /// A 32-bit word of BTF that a dynamic linker leaves alone.
    pub(crate) const NODYLD32: u32 = 4;
    /// `call`.
    pub(crate) const BPF_64_32: u32 = 10;
}

/// An object file, taken apart.
pub(crate) struct Elf<'d> {
    pub(crate) order: ByteOrder,
    /// By section index; 0 is the null section.
    pub(crate) sections: Vec<Section<'d>>,
    /// By symbol index; 0 is the null symbol.
    pub(crate) symbols: Vec<Symbol<'d>>,
}

#[derive(Clone, Default)]
pub(crate) struct Section<'d> {
    pub(crate) name: &'d str,
    /// `SHT_*`.
    pub(crate) kind: u32,
    /// `SHF_*`.
    pub(crate) flags: u64,
    /// In bytes; larger than `data` only without bits in the file.
    pub(crate) len: u64,
    /// Empty for sections without bits.
    pub(crate) data: &'d [u8],
    /// Relocations against this section, by rising offset.
    pub(crate) relocs: Vec<Reloc>,
}

#[derive(Clone, Copy)]
pub(crate) struct Symbol<'d> {
    pub(crate) name: &'d str,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    /// Not visible outside the object that it was linked into.
    pub(crate) hidden: bool,
    pub(crate) place: Place,
    /// Offset in the section, in bytes.
    pub(crate) value: u64,
    /// In bytes; 0 is unknown.
    pub(crate) len: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    None,
    Object,
    Func,
    Section,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    Local,
    Global,
    Weak,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In another object, or nowhere.
    Undefined,
    /// In this section.
    Section(usize),
    /// An uninitialised variable of the old kind (`-fcommon`), to which no room was given.
    Common,
    /// A number, or in a reserved place.
    Absolute,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reloc {
    /// In bytes from the start of the section.
    pub(crate) off: u64,
    /// `R_BPF_*`.
    pub(crate) kind: u32,
    /// Index into the symbols; checked.
    pub(crate) symbol: usize,
    /// The addend of a RELA entry; REL entries keep theirs in the code or data.
    pub(crate) addend: Option<i64>,
}

impl<'d> Elf<'d> {
    pub(crate) fn parse(bytes: &'d [u8], warnings: &mut Vec<LoadError>) -> Result<Elf<'d>, LoadErrors> {
        if bytes.len() > MAX_OBJECT_LEN {
            let message = format!("the file has {} bytes; at most {MAX_OBJECT_LEN} are taken", bytes.len());
            return Err(LoadError::new(message).into());
        }
        let header = header(bytes)?;
        let endian = header.endian().map_err(|e| not_elf(&e))?;
        let order = match endian {
            Endianness::Little => ByteOrder::Little,
            Endianness::Big => ByteOrder::Big,
        };
        let mut reader = Reader { bytes, header, endian, errors: LoadErrors::default() };
        let mut sections = reader.sections()?;
        let symbols = reader.symbols(&sections, warnings);
        reader.relocations(&mut sections, symbols.len());
        reader.errors.or(Elf { order, sections, symbols })
    }

    pub(crate) fn section_named(&self, name: &str) -> Option<(usize, &Section<'d>)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    /// The section that a symbol lies in.
    pub(crate) fn section_of(&self, symbol: &Symbol<'_>) -> Option<(usize, &Section<'d>)> {
        match symbol.place {
            Place::Section(index) => Some((index, self.sections.get(index)?)),
            Place::Undefined | Place::Common | Place::Absolute => None,
        }
    }
}

impl Section<'_> {
    /// Holds instructions.
    pub(crate) fn is_code(&self) -> bool {
        self.kind == elf::SHT_PROGBITS && self.flags & u64::from(elf::SHF_EXECINSTR) != 0
    }

    /// Takes room at run time without being code.
    pub(crate) fn is_alloc_data(&self) -> bool {
        matches!(self.kind, elf::SHT_PROGBITS | elf::SHT_NOBITS)
            && self.flags & u64::from(elf::SHF_ALLOC) != 0
            && self.flags & u64::from(elf::SHF_EXECINSTR) == 0
    }

    /// What a relocation adds to its symbol where it changes a pointer: its addend, or what stands in the data.
    pub(crate) fn pointer_addend(&self, reloc: &Reloc, order: ByteOrder) -> i64 {
        let in_place = || {
            let off = usize::try_from(reloc.off).ok()?;
            let bytes = *self.data.get(off..)?.first_chunk::<8>()?;
            Some(match order {
                ByteOrder::Little => i64::from_le_bytes(bytes),
                ByteOrder::Big => i64::from_be_bytes(bytes),
            })
        };
        reloc.addend.or_else(in_place).unwrap_or(0)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags & u64::from(elf::SHF_WRITE) != 0
    }

    /// Takes no room in the file: zeroes.
    pub(crate) fn is_nobits(&self) -> bool {
        self.kind == elf::SHT_NOBITS
    }
}

impl<'d> Symbol<'d> {
    /// The name, or for section symbols that have none, the section's.
    pub(crate) fn display_name<'a>(&'a self, elf: &'a Elf<'d>) -> &'a str {
        match elf.section_of(self) {
            Some((_, section)) if self.name.is_empty() => section.name,
            _ => self.name,
        }
    }
}

fn not_elf(error: &object::read::Error) -> LoadError {
    LoadError::new(format!("not an ELF object: {error}"))
}

fn header(bytes: &[u8]) -> Result<&Header, LoadError> {
    let header = Header::parse(bytes).map_err(|e| not_elf(&e))?;
    let endian = header.endian().map_err(|e| not_elf(&e))?;
    let (kind, machine) = (header.e_type(endian), header.e_machine(endian));
    if kind != elf::ET_REL {
        return Err(LoadError::new(format!(
            "ELF type {kind}; expected a relocatable object (type {}), as `clang -target bpf -c` makes",
            elf::ET_REL
        )));
    }
    // Clangs before the machine number was assigned wrote 0.
    if machine != elf::EM_BPF && machine != elf::EM_NONE {
        return Err(LoadError::new(format!(
            "compiled for ELF machine {machine}; expected eBPF (machine {}): compile with `clang -target bpf`",
            elf::EM_BPF
        )));
    }
    Ok(header)
}

struct Reader<'d> {
    bytes: &'d [u8],
    header: &'d Header,
    endian: Endianness,
    errors: LoadErrors,
}

impl<'d> Reader<'d> {
    fn sections(&mut self) -> Result<Vec<Section<'d>>, LoadErrors> {
        let (bytes, endian) = (self.bytes, self.endian);
        let headers = self.header.section_headers(endian, bytes).map_err(|e| not_elf(&e))?;
        let names = match self.header.section_strings_index(endian, bytes) {
            Ok(SectionIndex(index)) => {
                headers.get(index).and_then(|h| h.data(endian, bytes).ok()).unwrap_or_default()
            }
            Err(e) => return Err(not_elf(&e).into()),
        };
        let mut sections = Vec::with_capacity(headers.len());
        let mut total = 0u64;
        for (index, header) in headers.iter().enumerate() {
            let name = string(names, header.sh_name(endian)).unwrap_or_else(|message| {
                self.errors.push(LoadError::new(format!("name of section {index}: {message}")));
                ""
            });
            let (kind, len) = (header.sh_type(endian), header.sh_size(endian));
            let data = match header.data(endian, bytes) {
                Ok(data) if kind != elf::SHT_NULL => data,
                Ok(_) => &[],
                Err(_) => {
                    let message = format!("its {len} bytes reach beyond the end of the file");
                    self.errors.push(LoadError::new(message).in_section(name));
                    &[]
                }
            };
            if kind == elf::SHT_NOBITS && len > MAX_DATA_LEN {
                let message = format!("{len} bytes; at most {MAX_DATA_LEN} are taken");
                self.errors.push(LoadError::new(message).in_section(name));
            }
            total = total.saturating_add(data.len() as u64);
            let flags = header.sh_flags(endian);
            sections.push(Section { name, kind, flags, len, data, relocs: Vec::new() });
        }
        if total > bytes.len() as u64 {
            // Otherwise a small file could claim the same bytes as code a thousand times.
            let message =
                format!("the sections have {total} bytes in all, the file {}: they overlap", bytes.len());
            self.errors.push(LoadError::new(message));
        }
        if self.errors.is_empty() { Ok(sections) } else { Err(std::mem::take(&mut self.errors)) }
    }

    fn symbols(&mut self, sections: &[Section<'d>], warnings: &mut Vec<LoadError>) -> Vec<Symbol<'d>> {
        let (bytes, endian) = (self.bytes, self.endian);
        let Ok(headers) = self.header.section_headers(endian, bytes) else { return Vec::new() };
        let Some(table) = headers.iter().position(|h| h.sh_type(endian) == elf::SHT_SYMTAB) else {
            warn(warnings, LoadError::new("no symbol table: a stripped object has no program or map names"));
            return Vec::new();
        };
        let raw = match headers[table].data_as_array::<elf::Sym64<Endianness>, _>(endian, bytes) {
            Ok(raw) => raw,
            Err(e) => {
                self.errors.push(LoadError::new(e.to_string()).in_section(sections[table].name));
                return Vec::new();
            }
        };
        let strings =
            sections.get(headers[table].sh_link(endian) as usize).map(|s| s.data).unwrap_or_default();
        let mut symbols = Vec::with_capacity(raw.len());
        let mut total = 0usize;
        for (index, symbol) in raw.iter().enumerate() {
            let name = string(strings, symbol.st_name(endian)).unwrap_or_else(|message| {
                let message = format!("name of symbol {index}: {message}");
                self.errors.push(LoadError::new(message).in_section(sections[table].name));
                ""
            });
            total = total.saturating_add(name.len());
            symbols.push(self.symbol(name, index, symbol, sections));
        }
        if total > bytes.len().saturating_mul(MAX_NAME_SHARING) {
            let message = format!("the symbols' names have {total} bytes in all: they overlap");
            self.errors.push(LoadError::new(message).in_section(sections[table].name));
        }
        symbols
    }

    fn symbol(
        &mut self,
        name: &'d str,
        index: usize,
        symbol: &elf::Sym64<Endianness>,
        sections: &[Section<'d>],
    ) -> Symbol<'d> {
        let endian = self.endian;
        let place = match symbol.st_shndx(endian) {
            elf::SHN_UNDEF => Place::Undefined,
            elf::SHN_COMMON => Place::Common,
            shndx if shndx >= elf::SHN_LORESERVE => Place::Absolute,
            shndx if usize::from(shndx) < sections.len() => Place::Section(usize::from(shndx)),
            shndx => {
                let message =
                    format!("symbol {index} lies in section {shndx}, of {} that there are", sections.len());
                self.errors.push(LoadError::new(message).at_symbol(name));
                Place::Absolute
            }
        };
        let kind = match symbol.st_type() {
            elf::STT_NOTYPE => SymbolKind::None,
            elf::STT_OBJECT => SymbolKind::Object,
            elf::STT_FUNC => SymbolKind::Func,
            elf::STT_SECTION => SymbolKind::Section,
            _ => SymbolKind::Other,
        };
        let binding = match symbol.st_bind() {
            elf::STB_LOCAL => Binding::Local,
            elf::STB_WEAK => Binding::Weak,
            _ => Binding::Global,
        };
        let hidden = matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
        let (value, len) = (symbol.st_value(endian), symbol.st_size(endian));
        Symbol { name, kind, binding, hidden, place, value, len }
    }

    /// Hangs each relocation on the section that it changes.
    fn relocations(&mut self, sections: &mut [Section<'d>], symbols: usize) {
        let (bytes, endian) = (self.bytes, self.endian);
        let Ok(headers) = self.header.section_headers(endian, bytes) else { return };
        for (index, header) in headers.iter().enumerate() {
            let relocs: Vec<Reloc> = match header.sh_type(endian) {
                elf::SHT_REL => match header.data_as_array::<elf::Rel64<Endianness>, _>(endian, bytes) {
                    Ok(rels) => rels.iter().map(|rel| self.rel(rel)).collect(),
                    Err(e) => {
                        return self
                            .errors
                            .push(LoadError::new(e.to_string()).in_section(sections[index].name));
                    }
                },
                elf::SHT_RELA => match header.data_as_array::<elf::Rela64<Endianness>, _>(endian, bytes) {
                    Ok(relas) => relas.iter().map(|rela| self.rela(rela)).collect(),
                    Err(e) => {
                        return self
                            .errors
                            .push(LoadError::new(e.to_string()).in_section(sections[index].name));
                    }
                },
                _ => continue,
            };
            let name = sections[index].name;
            let Some(target) = sections.get_mut(header.sh_info(endian) as usize) else {
                let message = format!("relocates section {}, which is not there", header.sh_info(endian));
                self.errors.push(LoadError::new(message).in_section(name));
                continue;
            };
            for reloc in relocs {
                if reloc.symbol >= symbols {
                    let message =
                        format!("relocation against symbol {}, of {symbols} that there are", reloc.symbol);
                    self.errors.push(LoadError::new(message).in_section(target.name).at(reloc.off));
                } else if reloc.off >= target.len {
                    let message = format!("relocation beyond the section's {} bytes", target.len);
                    self.errors.push(LoadError::new(message).in_section(target.name).at(reloc.off));
                } else {
                    target.relocs.push(reloc);
                }
            }
            target.relocs.sort_by_key(|reloc| reloc.off);
        }
    }

    fn rel(&self, rel: &elf::Rel64<Endianness>) -> Reloc {
        let endian = self.endian;
        Reloc {
            off: rel.r_offset(endian),
            kind: rel.r_type(endian),
            symbol: rel.r_sym(endian) as usize,
            addend: None,
        }
    }

    fn rela(&self, rela: &elf::Rela64<Endianness>) -> Reloc {
        let endian = self.endian;
        Reloc {
            off: rela.r_offset(endian),
            kind: rela.r_type(endian, false),
            symbol: rela.r_sym(endian, false) as usize,
            addend: Some(rela.r_addend(endian)),
        }
    }
}

/// The NUL-terminated string at `off` of a string table.
fn string(table: &[u8], off: u32) -> Result<&str, String> {
    if off == 0 {
        return Ok("");
    }
    let tail = table.get(off as usize..).ok_or_else(|| format!("offset {off} is beyond the string table"))?;
    let window = &tail[..tail.len().min(MAX_NAME_LEN + 1)];
    match window.iter().position(|byte| *byte == 0) {
        Some(len) => str::from_utf8(&window[..len]).map_err(|e| e.to_string()),
        None => Err(format!("no end within {MAX_NAME_LEN} bytes")),
    }
}
