//! BTF from files: the `.BTF` section of an object or executable, or BTF as the kernel shows it.

use mimic_abi::btf::Btf;
use object::read::elf::{ElfFile32, ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection};

/// Reads the BTF of a file's bytes. The error says what is wrong with them.
pub fn read_btf(bytes: &[u8]) -> Result<Btf, String> {
    let parse = |bytes: &[u8]| Btf::parse(bytes).map_err(|error| format!("BTF: {error}"));
    match bytes {
        [0x9f, 0xeb, ..] | [0xeb, 0x9f, ..] => parse(bytes),
        [0x7f, b'E', b'L', b'F', 2, ..] => {
            let file = ElfFile64::<Endianness>::parse(bytes).map_err(|error| format!("ELF: {error}"))?;
            parse(section(&file)?)
        }
        [0x7f, b'E', b'L', b'F', 1, ..] => {
            let file = ElfFile32::<Endianness>::parse(bytes).map_err(|error| format!("ELF: {error}"))?;
            parse(section(&file)?)
        }
        _ => Err("neither an ELF file nor BTF".into()),
    }
}

fn section<'a, Elf: FileHeader>(file: &object::read::elf::ElfFile<'a, Elf>) -> Result<&'a [u8], String> {
    let section = file.section_by_name(".BTF");
    let section = section.ok_or("it has no section .BTF: compile it with -g".to_owned())?;
    section.data().map_err(|error| format!("section .BTF: {error}"))
}
