//! The code of an object: sections of instructions, the functions that tile them, and what each relocation refers to.
//!
//! Finds out and records; nothing is changed here. `link` puts programs together from it.

use mimic_abi::{ByteOrder, RawInsn, SLOT_LEN};

use crate::elf::{Binding, Elf, Place, Reloc, Section, Symbol, SymbolKind, reloc};
use crate::error::{LoadError, LoadErrors, warn};

/// `BPF_LD | BPF_IMM | BPF_DW`, the first slot of the only wide instruction.
pub(crate) const LD_IMM64: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
pub(crate) const CALL: u8 = 0x85;
/// `src` of a call to another function of the program.
pub(crate) const PSEUDO_CALL: u8 = 1;
/// `src` of a call to a kernel function.
pub(crate) const PSEUDO_KFUNC_CALL: u8 = 2;
/// `src` of a `ld_imm64` of a function's address.
pub(crate) const PSEUDO_FUNC: u8 = 4;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Code {
    pub(crate) sections: Vec<CodeSection>,
    /// By section, then by start.
    pub(crate) funcs: Vec<FuncSpan>,
}

/// A section of instructions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CodeSection {
    pub(crate) name: String,
    /// Index in the ELF file.
    pub(crate) elf_index: usize,
    pub(crate) insns: Vec<RawInsn>,
    /// Its functions in [`Code::funcs`].
    pub(crate) funcs: std::ops::Range<usize>,
    /// By rising pc; one for each at most.
    pub(crate) relocs: Vec<CodeReloc>,
}

/// A function: some slots of a section.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FuncSpan {
    /// Empty for code between functions.
    pub(crate) name: String,
    /// Index in [`Code::sections`].
    pub(crate) section: usize,
    /// First slot.
    pub(crate) start: u32,
    /// Slot after the last.
    pub(crate) end: u32,
    /// Visible to other objects, and so verified on its own by the kernel.
    pub(crate) global: bool,
    /// Declared `static`: no program, whatever its section.
    pub(crate) local: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CodeReloc {
    /// Slot in the section.
    pub(crate) pc: u32,
    pub(crate) target: CodeTarget,
}

/// What a relocated instruction refers to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CodeTarget {
    /// The function at this slot of this section, called or taken the address of.
    Func { section: usize, pc: u32 },
    /// A map itself.
    Map(usize),
    /// A byte in a map's only value.
    MapValue { map: usize, off: u32 },
    /// Something declared, not defined: index in `Object::externs`.
    Extern(usize),
    /// Cannot be resolved, for this reason; an error only if a program with it is linked.
    Bad(String),
}

/// Answers for symbols that are not code.
pub(crate) trait Symbols {
    /// The extern of this symbol.
    fn extern_of(&self, symbol: usize) -> Option<usize>;
    /// The map, or the byte in a data section, at this offset of this ELF section.
    fn data_at(&self, section: usize, off: u64) -> Option<CodeTarget>;
}

impl Code {
    /// Reads all sections of instructions and finds their functions.
    pub(crate) fn read(elf: &Elf<'_>, errors: &mut LoadErrors, warnings: &mut Vec<LoadError>) -> Code {
        let mut code = Code::default();
        let by_section = func_symbols(elf);
        for (elf_index, section) in elf.sections.iter().enumerate() {
            if !section.is_code() || section.data.is_empty() {
                continue;
            }
            let symbols = by_section.get(elf_index).map(Vec::as_slice).unwrap_or_default();
            code.read_section(elf_index, section, symbols, elf.order, errors, warnings);
        }
        code
    }

    fn read_section(
        &mut self,
        elf_index: usize,
        section: &Section<'_>,
        symbols: &[&Symbol<'_>],
        order: ByteOrder,
        errors: &mut LoadErrors,
        warnings: &mut Vec<LoadError>,
    ) {
        let insns = match RawInsn::parse_all(section.data, order) {
            Ok(insns) => insns,
            Err(error) => return errors.push(LoadError::new(error.to_string()).in_section(section.name)),
        };
        let first = self.funcs.len();
        let index = self.sections.len();
        self.funcs.extend(spans(index, section, symbols, insns.len(), warnings));
        self.sections.push(CodeSection {
            name: section.name.to_owned(),
            elf_index,
            insns,
            funcs: first..self.funcs.len(),
            relocs: Vec::new(),
        });
    }

    /// Finds out what each relocation of the code refers to.
    pub(crate) fn resolve_relocs(
        &mut self,
        elf: &Elf<'_>,
        symbols: &dyn Symbols,
        warnings: &mut Vec<LoadError>,
    ) {
        for index in 0..self.sections.len() {
            let section = &self.sections[index];
            let Some(elf_section) = elf.sections.get(section.elf_index) else { continue };
            let mut relocs: Vec<CodeReloc> = Vec::with_capacity(elf_section.relocs.len());
            for reloc in &elf_section.relocs {
                let pc = (reloc.off / SLOT_LEN as u64) as u32;
                let target = resolve(elf, self, section, reloc, symbols);
                let known = [
                    reloc::NONE,
                    reloc::BPF_64_64,
                    reloc::ABS64,
                    reloc::ABS32,
                    reloc::NODYLD32,
                    reloc::BPF_64_32,
                ];
                if !known.contains(&reloc.kind) {
                    let message =
                        format!("relocation type {} is none of eBPF's; taken by the instruction", reloc.kind);
                    warn(warnings, LoadError::new(message).in_section(&section.name).at(reloc.off));
                }
                match relocs.last_mut() {
                    Some(last) if last.pc == pc => {
                        last.target = CodeTarget::Bad("two relocations of the same instruction".to_owned());
                    }
                    _ => relocs.push(CodeReloc { pc, target }),
                }
            }
            self.sections[index].relocs = relocs;
        }
    }

    /// The index of the section with this index in the ELF file.
    pub(crate) fn section_at(&self, elf_index: usize) -> Option<usize> {
        self.sections.binary_search_by_key(&elf_index, |section| section.elf_index).ok()
    }

    /// The index of the section of this name.
    pub(crate) fn section_named(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|section| section.name == name)
    }

    /// The function that holds this slot of this section.
    pub(crate) fn func_at(&self, section: usize, pc: u32) -> Option<usize> {
        let range = self.sections.get(section)?.funcs.clone();
        let funcs = self.funcs.get(range.clone())?;
        let at = funcs.partition_point(|func| func.start <= pc).checked_sub(1)?;
        (pc < funcs[at].end).then_some(range.start + at)
    }
}

impl CodeSection {
    pub(crate) fn reloc_at(&self, pc: u32) -> Option<&CodeReloc> {
        let at = self.relocs.binary_search_by_key(&pc, |reloc| reloc.pc).ok()?;
        self.relocs.get(at)
    }
}

/// The symbols of functions by ELF section. Where a section has none of type `FUNC`, its global symbols without a type,
/// which the oldest clangs wrote; their local ones are labels.
fn func_symbols<'a, 'd>(elf: &'a Elf<'d>) -> Vec<Vec<&'a Symbol<'d>>> {
    let mut by_section: Vec<Vec<&Symbol<'_>>> = vec![Vec::new(); elf.sections.len()];
    for typed in [true, false] {
        let had: Vec<bool> = by_section.iter().map(|symbols| !symbols.is_empty()).collect();
        for symbol in &elf.symbols {
            let wanted = match symbol.kind {
                SymbolKind::Func => typed,
                SymbolKind::None => !typed && symbol.binding != Binding::Local,
                SymbolKind::Object | SymbolKind::Section | SymbolKind::Other => false,
            };
            let Place::Section(section) = symbol.place else { continue };
            let is_code = elf.sections.get(section).is_some_and(Section::is_code);
            if wanted && is_code && had.get(section) == Some(&false) {
                by_section[section].push(symbol);
            }
        }
    }
    by_section
}

/// Tiles a section: a function per symbol, a nameless one for each gap, the whole section where there are no symbols.
fn spans(
    index: usize,
    section: &Section<'_>,
    symbols: &[&Symbol<'_>],
    slots: usize,
    warnings: &mut Vec<LoadError>,
) -> Vec<FuncSpan> {
    let mut symbols: Vec<&Symbol<'_>> = symbols.to_vec();
    // Of two names for the same code, the global one is found by its place.
    symbols.sort_by_key(|symbol| (symbol.value, symbol.binding != Binding::Local));
    let slots = slots as u32;
    let span = |name: &str, start: u32, end: u32, global: bool, local: bool| FuncSpan {
        name: name.to_owned(),
        section: index,
        start,
        end,
        global,
        local,
    };
    if symbols.is_empty() {
        return vec![span(section.name.trim_start_matches('?'), 0, slots, true, false)];
    }
    let mut spans = Vec::with_capacity(symbols.len());
    let mut covered = 0;
    for (symbol, next) in symbols.iter().zip(next_starts(&symbols)) {
        let odd = |message: String| {
            LoadError::new(message).in_section(section.name).at_symbol(symbol.name).at(symbol.value)
        };
        let len = SLOT_LEN as u64;
        let start = symbol.value / len;
        if !symbol.value.is_multiple_of(len) || start >= u64::from(slots) {
            warn(warnings, odd(format!("no function can begin here, in {slots} slots of 8 bytes; left out")));
            continue;
        }
        let room_end = next.unwrap_or(u64::from(slots)).min(u64::from(slots));
        let end = match symbol.len {
            0 => room_end,
            bytes => start.saturating_add(bytes.div_ceil(len)),
        };
        if end > u64::from(slots) {
            warn(warnings, odd(format!("the function's {} bytes reach beyond the section; cut", symbol.len)));
        }
        let (start, end) = (start as u32, end.min(u64::from(slots)) as u32);
        if start > covered {
            spans.push(span("", covered, start, false, true));
        }
        let local = symbol.binding == Binding::Local;
        spans.push(span(symbol.name, start, end, !local && !symbol.hidden, local));
        covered = covered.max(end);
    }
    if covered < slots {
        spans.push(span("", covered, slots, false, true));
    }
    spans
}

/// For each of the symbols, which are sorted by place: the slot of the next one that is elsewhere.
fn next_starts(symbols: &[&Symbol<'_>]) -> Vec<Option<u64>> {
    let mut nexts = vec![None; symbols.len()];
    let mut later: Option<(u64, Option<u64>)> = None;
    for (next, symbol) in nexts.iter_mut().zip(symbols).rev() {
        let start = symbol.value / SLOT_LEN as u64;
        *next = match later {
            Some((at, beyond)) if at == start => beyond,
            Some((at, _)) => Some(at),
            None => None,
        };
        later = Some((start, *next));
    }
    nexts
}

/// What one relocation refers to, by the instruction that it changes.
fn resolve(
    elf: &Elf<'_>,
    code: &Code,
    section: &CodeSection,
    reloc: &Reloc,
    symbols: &dyn Symbols,
) -> CodeTarget {
    let pc = (reloc.off / SLOT_LEN as u64) as usize;
    let Some((insn, symbol)) = section.insns.get(pc).zip(elf.symbols.get(reloc.symbol)) else {
        return CodeTarget::Bad("relocation of an instruction that is not there".to_owned());
    };
    // Old clangs point at the immediate, four bytes into the instruction, for data they take for 32-bit words.
    if !matches!(reloc.off % SLOT_LEN as u64, 0 | 4) || !matches!(insn.opcode, LD_IMM64 | CALL) {
        let name = symbol.display_name(elf);
        return CodeTarget::Bad(format!(
            "relocation against '{name}' of the instruction with opcode {:#04x}: only ld_imm64 and call can be relocated",
            insn.opcode
        ));
    }
    if insn.opcode == LD_IMM64 && section.insns.get(pc + 1).is_none() {
        return CodeTarget::Bad("ld_imm64 without its second half".to_owned());
    }
    match symbol.place {
        Place::Undefined => match symbols.extern_of(reloc.symbol) {
            Some(index) => CodeTarget::Extern(index),
            None => CodeTarget::Bad(undefined(symbol.name, insn)),
        },
        Place::Common => CodeTarget::Bad(format!(
            "variable '{}' has no place (a common symbol): initialise it or compile with -fno-common",
            symbol.name
        )),
        Place::Absolute => CodeTarget::Bad(format!("'{}' is in no section", symbol.name)),
        Place::Section(target) => {
            let to = Offset::of(insn, symbol, reloc);
            match code.section_at(target) {
                Some(section) => to.func(section),
                None => to.data(elf, target, symbols),
            }
        }
    }
}

fn undefined(name: &str, insn: &RawInsn) -> String {
    match insn.opcode {
        CALL => format!(
            "call of '{name}', which is defined nowhere: link the object that has it (`bpftool gen object`), declare it \
             __ksym if it is a kernel function, or make it a static inline function"
        ),
        _ => format!(
            "'{name}' is defined nowhere: declare it __ksym or __kconfig, or link the object that has it"
        ),
    }
}

/// A place in a section, put together from the symbol, the addend of RELA and the instruction's own immediate.
struct Offset<'a> {
    insn: &'a RawInsn,
    symbol: &'a Symbol<'a>,
    addend: i64,
}

impl<'a> Offset<'a> {
    fn of(insn: &'a RawInsn, symbol: &'a Symbol<'a>, reloc: &Reloc) -> Offset<'a> {
        Offset { insn, symbol, addend: reloc.addend.unwrap_or(0) }
    }

    fn bytes(&self) -> u64 {
        self.symbol.value.wrapping_add_signed(self.addend)
    }

    fn func(&self, section: usize) -> CodeTarget {
        let slots = match self.insn.opcode {
            // The immediate of a call counts slots from the next one: -1 is the symbol itself.
            CALL => (self.bytes() / SLOT_LEN as u64).wrapping_add_signed(i64::from(self.insn.imm) + 1),
            _ => self.bytes().wrapping_add_signed(i64::from(self.insn.imm)) / SLOT_LEN as u64,
        };
        match u32::try_from(slots) {
            Ok(pc) => CodeTarget::Func { section, pc },
            Err(_) => CodeTarget::Bad(format!("'{}' plus the offset is in no section", self.symbol.name)),
        }
    }

    fn data(&self, elf: &Elf<'_>, section: usize, symbols: &dyn Symbols) -> CodeTarget {
        let name = self.symbol.display_name(elf);
        if self.insn.opcode == CALL {
            return CodeTarget::Bad(format!("call of '{name}', which is no function"));
        }
        let off = self.bytes().wrapping_add_signed(i64::from(self.insn.imm));
        symbols.data_at(section, off).unwrap_or_else(|| {
            let section = elf.sections.get(section).map(|section| section.name).unwrap_or_default();
            CodeTarget::Bad(format!("'{name}' in section '{section}' is no map, variable or function"))
        })
    }
}
