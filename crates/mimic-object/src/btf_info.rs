//! `.BTF` and `.BTF.ext` of an object, sorted by the code that they speak of.
//!
//! Compilers leave the places of variables to relocations and the sizes of sections to the loader; both are filled in here, so that whoever
//! prints a variable finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mimic_abi::btf::ext::{BtfExt, CoreKind, Section as ExtSection};
use mimic_abi::btf::{Btf, Kind};
use mimic_abi::{ByteOrder, SLOT_LEN};

use crate::code::{Code, FuncSpan};
use crate::core_relo::CoreRelo;
use crate::elf::Elf;
use crate::error::{LoadError, LoadErrors, warn};
use crate::limits::{MAX_LINE_TEXT, MAX_LINES_TEXT, MAX_NAME_LEN};
use crate::object::Object;
use crate::program::{Func, Line, ProgramSpec};
use crate::target::Target;
use crate::types::Types;

/// What BTF says of an object's code.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BtfInfo {
    /// By code section.
    sections: Vec<SectionInfo>,
    /// Programs that name the function that catches their exceptions, and its name.
    exception_callbacks: Vec<(String, String)>,
}

/// Records of one code section, each kind by rising pc.
#[derive(Clone, Debug, Default, PartialEq)]
struct SectionInfo {
    core: Vec<CoreRelo>,
    /// First slot and the BTF id of the `FUNC`.
    funcs: Vec<(u32, u32)>,
    lines: Vec<LineRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct LineRecord {
    pc: u32,
    /// Offsets in the strings.
    file: u32,
    text: u32,
    line: u32,
    column: u32,
}

impl BtfInfo {
    /// Reads the two sections. BTF that is broken is left out with a warning; what needs it says so itself.
    pub(crate) fn read(elf: &Elf<'_>, code: &Code, warnings: &mut Vec<LoadError>) -> (Option<Btf>, BtfInfo) {
        let mut info =
            BtfInfo { sections: vec![SectionInfo::default(); code.sections.len()], ..BtfInfo::default() };
        let Some((_, section)) = elf.section_named(".BTF").filter(|(_, section)| !section.data.is_empty())
        else {
            return (None, info);
        };
        let broken = |section: &str, why: String| LoadError::new(why + "; left out").in_section(section);
        let btf = match Btf::parse(complete(elf, section.data, &section.relocs)) {
            Ok(btf) => btf,
            Err(error) => {
                warn(warnings, broken(".BTF", error.to_string()));
                return (None, info);
            }
        };
        if let Some((_, section)) =
            elf.section_named(".BTF.ext").filter(|(_, section)| !section.data.is_empty())
        {
            match BtfExt::parse(section.data, &btf) {
                Ok(ext) => info.sort(&btf, code, &ext),
                Err(error) => warn(warnings, broken(".BTF.ext", error.to_string())),
            }
        }
        info.exception_callbacks = exception_callbacks(&btf);
        (Some(btf), info)
    }

    fn sort(&mut self, btf: &Btf, code: &Code, ext: &BtfExt) {
        const LEN: u32 = SLOT_LEN as u32;
        let index: BTreeMap<&str, usize> = code
            .sections
            .iter()
            .enumerate()
            .rev()
            .map(|(index, section)| (section.name.as_str(), index))
            .collect();
        let section_of = |off: u32| index.get(btf.str_within(off, MAX_NAME_LEN)?).copied();
        each(&section_of, &ext.core_relos, |index, relo| {
            let relo = CoreRelo {
                pc: relo.insn_off / LEN,
                type_id: relo.ty.0,
                kind: relo.kind,
                access_off: relo.access_off,
            };
            self.sections[index].core.push(relo);
        });
        each(&section_of, &ext.funcs, |index, func| {
            self.sections[index].funcs.push((func.insn_off / LEN, func.ty.0))
        });
        each(&section_of, &ext.lines, |index, line| {
            let record = LineRecord {
                pc: line.insn_off / LEN,
                file: line.file_name_off,
                text: line.line_off,
                line: line.line(),
                column: line.column(),
            };
            self.sections[index].lines.push(record);
        });
        for section in &mut self.sections {
            section.core.sort_by_key(|relo| relo.pc);
            section.funcs.sort_by_key(|(pc, _)| *pc);
            section.lines.sort_by_key(|line| line.pc);
        }
    }

    /// The CO-RE records that tell where a field is.
    pub(crate) fn core_places(&self) -> impl Iterator<Item = &CoreRelo> {
        let records = self.sections.iter().flat_map(|section| &section.core);
        records.filter(|relo| relo.kind == CoreKind::FieldByteOffset as u32)
    }

    /// The CO-RE records of a function.
    pub(crate) fn core_of(&self, span: &FuncSpan) -> &[CoreRelo] {
        self.sections.get(span.section).map_or(&[], |section| within(&section.core, span, |relo| relo.pc))
    }

    /// The BTF id of the function; 0 if unknown.
    fn func_type(&self, span: &FuncSpan) -> u32 {
        let funcs =
            self.sections.get(span.section).map(|section| section.funcs.as_slice()).unwrap_or_default();
        funcs.binary_search_by_key(&span.start, |(pc, _)| *pc).map_or(0, |at| funcs[at].1)
    }

    fn lines_of(&self, span: &FuncSpan) -> &[LineRecord] {
        self.sections.get(span.section).map_or(&[], |section| within(&section.lines, span, |line| line.pc))
    }
}

/// Those of `records`, which are sorted, that lie in a function.
fn within<'a, T>(records: &'a [T], span: &FuncSpan, pc: impl Fn(&T) -> u32) -> &'a [T] {
    let from = records.partition_point(|record| pc(record) < span.start);
    let to = records.partition_point(|record| pc(record) < span.end);
    records.get(from..to).unwrap_or_default()
}

/// Hands out records with the index of their code section.
fn each<T>(
    section_of: &dyn Fn(u32) -> Option<usize>,
    sections: &[ExtSection<T>],
    mut take: impl FnMut(usize, &T),
) {
    for section in sections {
        let Some(index) = section_of(section.name_off) else { continue };
        section.records.iter().for_each(|record| take(index, record));
    }
}

/// The section's bytes with relocations applied and the sizes of data sections filled in.
fn complete(elf: &Elf<'_>, data: &[u8], relocs: &[crate::elf::Reloc]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    for reloc in relocs {
        let value = elf.symbols.get(reloc.symbol).map_or(0, |symbol| symbol.value);
        let off = usize::try_from(reloc.off).unwrap_or(usize::MAX);
        let value = value.wrapping_add_signed(reloc.addend.unwrap_or(0)) as u32;
        if let Some(word) = word(&bytes, off, elf.order) {
            put_word(&mut bytes, off, word.wrapping_add(value), elf.order);
        }
    }
    fill_section_sizes(elf, &mut bytes);
    bytes
}

/// Gives a section that no compiler lays out its length, and each of its variables its place.
pub(crate) fn lay_out(
    btf: &Btf,
    section: &str,
    len: u32,
    off_of: impl Fn(u32) -> Option<u32>,
) -> Option<Btf> {
    let (mut bytes, order) = (btf.bytes().to_vec(), btf.byte_order());
    let mut places = Vec::new();
    walk_datasecs(&bytes, order, |name, record, entries| {
        if name == section.as_bytes() {
            places.push((record, entries));
        }
    });
    for (record, entries) in places {
        put_word(&mut bytes, record + SIZE, len, order);
        for entry in (0..entries).map(|entry| record + RECORD_LEN + 12 * entry) {
            if let Some(off) = word(&bytes, entry, order).and_then(&off_of) {
                put_word(&mut bytes, entry + 4, off, order);
            }
        }
    }
    Btf::parse(bytes).ok()
}

fn fill_section_sizes(elf: &Elf<'_>, bytes: &mut [u8]) {
    let lens: BTreeMap<&[u8], u64> = elf.sections.iter().map(|s| (s.name.as_bytes(), s.len)).collect();
    let mut sizes = Vec::new();
    walk_datasecs(bytes, elf.order, |name, record, _| {
        let len = lens.get(name).and_then(|len| u32::try_from(*len).ok());
        sizes.extend(len.map(|len| (record + SIZE, len)));
    });
    for (off, len) in sizes {
        if word(bytes, off, elf.order) == Some(0) {
            put_word(bytes, off, len, elf.order);
        }
    }
}

/// Length of the common part of a record, and where in it the size is, in bytes.
const RECORD_LEN: usize = 12;
const SIZE: usize = 8;

/// Tells name, offset and number of entries of each `DATASEC`. Believes no record: what is broken is found by [`Btf::parse`].
fn walk_datasecs(bytes: &[u8], order: ByteOrder, mut tell: impl FnMut(&[u8], usize, usize)) -> Option<()> {
    const DATASEC: u32 = 15;
    let at = |off: usize| word(bytes, off, order);
    let header_len = at(4)? as usize;
    let types = header_len.checked_add(at(8)? as usize)?;
    let end = types.checked_add(at(12)? as usize)?.min(bytes.len());
    let strings = header_len.checked_add(at(16)? as usize)?;
    let mut off = types;
    while off < end {
        let (name, info) = (at(off)?, at(off + 4)?);
        let (kind, len) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == DATASEC {
            let name = bytes.get(strings.checked_add(name as usize)?..)?;
            let name = name.get(..MAX_NAME_LEN).unwrap_or(name);
            tell(name.split(|byte| *byte == 0).next()?, off, len);
        }
        let tail = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * len,
            6 | 13 => 8 * len,
            _ => 0,
        };
        off += RECORD_LEN + tail;
    }
    Some(())
}

fn word(bytes: &[u8], off: usize, order: ByteOrder) -> Option<u32> {
    let word: [u8; 4] = bytes.get(off..off.checked_add(4)?)?.try_into().ok()?;
    Some(match order {
        ByteOrder::Little => u32::from_le_bytes(word),
        ByteOrder::Big => u32::from_be_bytes(word),
    })
}

fn put_word(bytes: &mut [u8], off: usize, value: u32, order: ByteOrder) {
    let value = match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    if let Some(word) = bytes.get_mut(off..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *word = value;
    }
}

fn exception_callbacks(btf: &Btf) -> Vec<(String, String)> {
    let callback = |ty: mimic_abi::btf::Type<'_>| {
        let Kind::DeclTag(tag) = ty.kind else { return None };
        let name = ty.name().strip_prefix("exception_callback:")?;
        let program = btf.ty(tag.ty).filter(|_| tag.component.is_none())?;
        Some((program.name().to_owned(), name.to_owned()))
    };
    btf.types().filter_map(callback).collect()
}

impl Object {
    /// The function that a program's exceptions go to.
    pub(crate) fn exception_callback(&self, spec: &ProgramSpec, errors: &mut LoadErrors) -> Option<usize> {
        let mut named = self.info.exception_callbacks.iter().filter(|(program, _)| *program == spec.name);
        let (_, name) = named.next()?;
        // With two of them the verifier has its say; libbpf appends neither.
        if named.next().is_some() {
            return None;
        }
        let found = self.code.funcs.iter().position(|func| func.name == *name && func.global);
        if found.is_none() {
            let message = format!("exception callback '{name}' is no global function of the object");
            errors.push(LoadError::new(message).in_section(&spec.section).at_symbol(&spec.name));
        }
        found
    }

    /// A function as it stands in linked code.
    pub(crate) fn linked_func(&self, func: usize, pc: u32) -> Func {
        match self.code.funcs.get(func) {
            Some(span) => {
                Func { pc, name: span.name.clone(), type_id: self.info.func_type(span), global: span.global }
            }
            None => Func { pc, name: String::new(), type_id: 0, global: false },
        }
    }

    /// The source lines of functions where they were placed.
    pub(crate) fn linked_lines(&self, order: &[(usize, u32)]) -> Vec<Line> {
        let Some(btf) = self.btf.as_deref() else { return Vec::new() };
        let mut strings: hashbrown::HashMap<u32, Arc<str>> = hashbrown::HashMap::new();
        let (mut room, nothing) = (MAX_LINES_TEXT, Arc::<str>::from(""));
        let mut string = |off: u32| -> Arc<str> {
            if let Some(known) = strings.get(&off) {
                return Arc::clone(known);
            }
            let text = btf.str_within(off, MAX_LINE_TEXT).unwrap_or_default().trim_start();
            let Some(left) = room.checked_sub(text.len()) else { return Arc::clone(&nothing) };
            room = left;
            Arc::clone(strings.entry(off).or_insert_with(|| text.into()))
        };
        let mut lines = Vec::new();
        for (func, base) in order {
            let Some(span) = self.code.funcs.get(*func) else { continue };
            lines.extend(self.info.lines_of(span).iter().map(|record| Line {
                pc: base + (record.pc - span.start),
                file: string(record.file),
                line: record.line,
                column: record.column,
                text: string(record.text),
            }));
        }
        lines
    }

    /// What a program attaches to, by its section's name: the text, and the BTF id in the target; 0 if that is unknown.
    pub(crate) fn attach_point(&self, spec: &ProgramSpec, target: &Target) -> (Option<String>, u32) {
        use mimic_abi::AttachType::{LsmCgroup, LsmMac, TraceIter, TraceRawTp};
        use mimic_abi::btf::KindCode::{Func, Typedef};
        let Some(text) = spec.sec.target.clone() else { return (None, 0) };
        let Some(btf) = self.kernel_btf(target).filter(|_| spec.sec.attach_btf) else {
            return (Some(text), 0);
        };
        let (prefix, kind) = match spec.sec.attach_type {
            Some(TraceRawTp) => ("btf_trace_", Typedef),
            Some(LsmMac | LsmCgroup) => ("bpf_lsm_", Func),
            Some(TraceIter) => ("bpf_iter_", Func),
            // An extension replaces a function of another program, not of the kernel.
            None => return (Some(text), 0),
            Some(_) => ("", Func),
        };
        let name = text.split_once(':').map_or(text.as_str(), |(_, function)| function);
        let id = Types(btf).find(&format!("{prefix}{name}"), kind).unwrap_or(0);
        (Some(text), id)
    }
}
