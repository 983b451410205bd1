//! An ELF object put together byte by byte, for what no compiler of today writes.
#![allow(dead_code, reason = "not every test uses all of it")]

use mimic_abi::{ByteOrder, RawInsn};

pub(crate) const FUNC: u8 = 2;
pub(crate) const OBJECT: u8 = 1;
pub(crate) const NOTYPE: u8 = 0;
pub(crate) const SECTION: u8 = 3;
pub(crate) const LOCAL: u8 = 0;
pub(crate) const GLOBAL: u8 = 1;
pub(crate) const WEAK: u8 = 2;
/// Section index of undefined symbols, and of common ones.
pub(crate) const UNDEFINED: u16 = 0;
pub(crate) const COMMON: u16 = 0xfff2;

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const NOBITS: u32 = 8;
const REL: u32 = 9;

pub(crate) struct ElfBuilder {
    order: ByteOrder,
    pub(crate) machine: u16,
    sections: Vec<Section>,
    symbols: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    data: Vec<u8>,
    len: u64,
    info: u32,
    entry: u64,
}

impl ElfBuilder {
    pub(crate) fn new(order: ByteOrder) -> ElfBuilder {
        let mut elf = ElfBuilder {
            order,
            machine: 247,
            sections: Vec::new(),
            symbols: Vec::new(),
            strings: vec![0],
            count: 0,
        };
        elf.add("", 0, 0, Vec::new());
        elf.symbol("", NOTYPE, LOCAL, 0, 0, 0);
        elf
    }

    pub(crate) fn little() -> ElfBuilder {
        ElfBuilder::new(ByteOrder::Little)
    }

    fn add(&mut self, name: &str, kind: u32, flags: u64, data: Vec<u8>) -> u16 {
        let len = data.len() as u64;
        self.sections.push(Section { name: name.into(), kind, flags, data, len, info: 0, entry: 0 });
        self.sections.len() as u16 - 1
    }

    pub(crate) fn code(&mut self, name: &str, insns: &[RawInsn]) -> u16 {
        self.add(name, PROGBITS, 6, RawInsn::write_all(insns, self.order))
    }

    pub(crate) fn data(&mut self, name: &str, data: &[u8]) -> u16 {
        self.add(name, PROGBITS, 3, data.to_vec())
    }

    /// A section that is not there at run time.
    pub(crate) fn info(&mut self, name: &str, data: &[u8]) -> u16 {
        self.add(name, PROGBITS, 0, data.to_vec())
    }

    pub(crate) fn bss(&mut self, name: &str, len: u64) -> u16 {
        let index = self.add(name, NOBITS, 3, Vec::new());
        self.sections[usize::from(index)].len = len;
        index
    }

    pub(crate) fn words(&mut self, name: &str, words: &[u32]) -> u16 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| self.w32(*word)).collect();
        self.data(name, &bytes)
    }

    pub(crate) fn symbol(
        &mut self,
        name: &str,
        kind: u8,
        binding: u8,
        section: u16,
        value: u64,
        len: u64,
    ) -> u32 {
        let name_off = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        let name_off = if name.is_empty() { 0 } else { name_off };
        let head = self.w32(name_off);
        self.symbols.extend(head);
        self.symbols.extend([binding << 4 | kind, 0]);
        let (section, value, len) = (self.w16(section), self.w64(value), self.w64(len));
        self.symbols.extend(section);
        self.symbols.extend(value);
        self.symbols.extend(len);
        self.count += 1;
        self.count - 1
    }

    /// Relocations of `section`: offset, type, symbol.
    pub(crate) fn rel(&mut self, section: u16, relocs: &[(u64, u32, u32)]) {
        let bytes: Vec<u8> = relocs
            .iter()
            .flat_map(|(off, kind, symbol)| {
                [self.w64(*off), self.w64(u64::from(*symbol) << 32 | u64::from(*kind))].concat()
            })
            .collect();
        self.relocations(REL, 16, section, bytes);
    }

    /// The same with addends.
    pub(crate) fn rela(&mut self, section: u16, relocs: &[(u64, u32, u32, i64)]) {
        let bytes: Vec<u8> = relocs
            .iter()
            .flat_map(|(off, kind, symbol, addend)| {
                let info = u64::from(*symbol) << 32 | u64::from(*kind);
                [self.w64(*off), self.w64(info), self.w64(*addend as u64)].concat()
            })
            .collect();
        self.relocations(RELA, 24, section, bytes);
    }

    fn relocations(&mut self, kind: u32, entry: u64, section: u16, bytes: Vec<u8>) {
        let index = self.add(".rel", kind, 0, bytes);
        let added = &mut self.sections[usize::from(index)];
        (added.info, added.entry) = (u32::from(section), entry);
    }

    pub(crate) fn build(mut self) -> Vec<u8> {
        let symbols = std::mem::take(&mut self.symbols);
        let strings = std::mem::take(&mut self.strings);
        let symtab = self.add(".symtab", SYMTAB, 0, symbols);
        self.sections[usize::from(symtab)].entry = 24;
        let strtab = self.add(".strtab", STRTAB, 0, strings);
        let mut names = vec![0];
        let name_offs: Vec<u32> = self
            .sections
            .iter()
            .map(|section| {
                let off = names.len() as u32;
                names.extend(section.name.bytes());
                names.push(0);
                off
            })
            .collect();
        let shstrtab = self.add("", STRTAB, 0, names);
        let mut out = vec![0; 64];
        let mut headers = Vec::new();
        for (index, section) in self.sections.iter().enumerate() {
            out.resize(out.len().next_multiple_of(8), 0);
            let name = name_offs.get(index).copied().unwrap_or(0);
            let link = match section.kind {
                SYMTAB => u32::from(strtab),
                REL | RELA => u32::from(symtab),
                _ => 0,
            };
            headers.extend([self.w32(name), self.w32(section.kind)].concat());
            headers.extend([self.w64(section.flags), self.w64(0), self.w64(out.len() as u64)].concat());
            headers.extend(self.w64(section.len));
            headers.extend([self.w32(link), self.w32(section.info)].concat());
            headers.extend([self.w64(8), self.w64(section.entry)].concat());
            out.extend(&section.data);
        }
        out.resize(out.len().next_multiple_of(8), 0);
        let shoff = out.len() as u64;
        out.extend(headers);
        let data = if self.order == ByteOrder::Little { 1 } else { 2 };
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header.extend([self.w16(1), self.w16(self.machine)].concat());
        header.extend([self.w32(1).to_vec(), self.w64(0).to_vec(), self.w64(0).to_vec()].concat());
        header.extend([self.w64(shoff).to_vec(), self.w32(0).to_vec()].concat());
        header.extend([self.w16(64), self.w16(0), self.w16(0), self.w16(64)].concat());
        header.extend([self.w16(self.sections.len() as u16), self.w16(shstrtab)].concat());
        out[..64].copy_from_slice(&header);
        out
    }

    fn w16(&self, value: u16) -> [u8; 2] {
        if self.order == ByteOrder::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub(crate) fn w32(&self, value: u32) -> [u8; 4] {
        if self.order == ByteOrder::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn w64(&self, value: u64) -> [u8; 8] {
        if self.order == ByteOrder::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }
}

/// One instruction.
pub(crate) fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    RawInsn { opcode, dst, src, off, imm }
}

/// `ld_imm64`, two slots.
pub(crate) fn ld64(dst: u8, src: u8, imm: i32) -> [RawInsn; 2] {
    [insn(0x18, dst, src, 0, imm), RawInsn::default()]
}

/// `call` of a function, `imm` slots on.
pub(crate) fn call(imm: i32) -> RawInsn {
    insn(0x85, 0, 1, 0, imm)
}

pub(crate) const EXIT: RawInsn = RawInsn { opcode: 0x95, dst: 0, src: 0, off: 0, imm: 0 };

/// `.BTF.ext` with CO-RE records for one section: offset in bytes, type, access string's offset, kind.
pub(crate) fn btf_ext(elf: &ElfBuilder, section_name_off: u32, core: &[(u32, u32, u32, u32)]) -> Vec<u8> {
    let magic = if elf.w32(1)[0] == 1 { [0x9f, 0xeb] } else { [0xeb, 0x9f] };
    let mut words = vec![16, section_name_off, core.len() as u32];
    words.extend(core.iter().flat_map(|(off, ty, access, kind)| [*off, *ty, *access, *kind]));
    let len = words.len() as u32 * 4;
    let mut out = magic.to_vec();
    out.extend([1, 0]);
    let head = [32, 0, 0, 0, 0, 0, len];
    head.iter().chain(&words).for_each(|word| out.extend(elf.w32(*word)));
    out
}
