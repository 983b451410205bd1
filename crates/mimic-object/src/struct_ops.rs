//! Variables of struct_ops types: structures of a kernel interface whose function members are programs.
//!
//! Found, not registered: what the kernel makes of them is the loader's business. Mirrors the struct_ops part of libbpf's documentation.

use std::collections::BTreeSet;

use mimic_abi::SLOT_LEN;
use mimic_abi::btf::Btf;

use crate::code::Code;
use crate::elf::{Elf, Section};
use crate::error::{LoadError, LoadErrors};
use crate::types::{Kind, Types};

/// A variable of a struct_ops type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOps {
    /// Its name.
    pub name: String,
    /// The name of its type, flavour included.
    pub type_name: String,
    /// Its type in the object's BTF.
    pub type_id: u32,
    /// Attached by a link (`.struct_ops.link`).
    pub link: bool,
    /// Registered without being asked for: no `?` before the section's name.
    pub autocreate: bool,
    /// Its bytes as the compiler left them; function members are zeros.
    pub data: Vec<u8>,
    /// Function members that have a program.
    pub funcs: Vec<StructOpsFunc>,
}

/// A function member of a struct_ops variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOpsFunc {
    /// The member's name.
    pub member: String,
    /// Its index in the structure.
    pub index: u32,
    /// Its offset in the structure, in bytes.
    pub off: u32,
    /// The name of the program.
    pub program: String,
}

impl StructOps {
    pub(crate) fn read(
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        code: &Code,
        errors: &mut LoadErrors,
    ) -> Vec<StructOps> {
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        for section in &elf.sections {
            let plain = section.name.strip_prefix('?');
            let (link, autocreate) = match plain.unwrap_or(section.name) {
                ".struct_ops" => (false, plain.is_none()),
                ".struct_ops.link" => (true, plain.is_none()),
                _ => continue,
            };
            if !seen.insert(section.name) {
                errors.push(LoadError::new("a second section of this name").in_section(section.name));
                continue;
            }
            let types = btf.map(Types);
            let mut room = section.data.len();
            let Some((types, datasec)) = types.and_then(|types| Some((types, types.datasec(section.name)?)))
            else {
                errors.push(LoadError::new("struct_ops need BTF: compile with -g").in_section(section.name));
                continue;
            };
            for var in types.vars(datasec) {
                let reader = Reader { elf, code, types, section };
                match reader.variable(var.type_id, u64::from(var.off), u64::from(var.size), errors) {
                    // Otherwise a small section could be the data of thousands of variables.
                    Ok((name, _, data, _)) if data.len() > room => {
                        let message = "it overlaps with another variable";
                        errors.push(LoadError::new(message).in_section(section.name).at_symbol(&name));
                        break;
                    }
                    Ok((name, type_id, data, funcs)) => {
                        room -= data.len();
                        all.push(StructOps {
                            name,
                            type_name: types.name(type_id).to_owned(),
                            type_id,
                            link,
                            autocreate,
                            data,
                            funcs,
                        })
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        all
    }
}

struct Reader<'a, 'd> {
    elf: &'a Elf<'d>,
    code: &'a Code,
    types: Types<'a>,
    section: &'a Section<'d>,
}

type Variable = (String, u32, Vec<u8>, Vec<StructOpsFunc>);

impl Reader<'_, '_> {
    fn variable(&self, var: u32, off: u64, len: u64, errors: &mut LoadErrors) -> Result<Variable, LoadError> {
        let name = self.types.name(var);
        let place = |message: &str| LoadError::new(message).in_section(self.section.name).at_symbol(name);
        let type_id = self.types.var_type(var).and_then(|id| self.types.skip(id));
        let type_id = type_id.filter(|id| self.types.kind(*id) == Some(Kind::Struct));
        let type_id = type_id.ok_or_else(|| place("a struct_ops variable must be a structure"))?;
        let range = off as usize..off.saturating_add(len) as usize;
        let data =
            self.section.data.get(range).ok_or_else(|| place("it reaches beyond its section").at(off))?;
        let mut funcs = Vec::new();
        let (relocs, end) = (&self.section.relocs, off.saturating_add(len));
        let first = relocs.partition_point(|reloc| reloc.off < off);
        for reloc in relocs.iter().skip(first).take_while(|reloc| reloc.off < end) {
            let addend = self.section.pointer_addend(reloc, self.elf.order);
            match self.func(type_id, reloc.off - off, reloc.symbol, addend) {
                Ok(func) => funcs.push(func),
                Err(message) => errors.push(place(&message).at(reloc.off)),
            }
        }
        Ok((name.to_owned(), type_id, data.to_vec(), funcs))
    }

    fn func(&self, type_id: u32, off: u64, symbol: usize, addend: i64) -> Result<StructOpsFunc, String> {
        let symbol = self.elf.symbols.get(symbol).ok_or("a relocation without a symbol")?;
        let mut members = self.types.members(type_id).enumerate();
        let (index, member) = members
            .find(|(_, member)| u64::from(member.bit_off) == off * 8)
            .ok_or_else(|| format!("no member begins at byte {off}"))?;
        let place = self.elf.section_of(symbol).and_then(|(elf_index, _)| {
            let section = self.code.section_at(elf_index)?;
            let pc = u32::try_from(symbol.value.wrapping_add_signed(addend) / SLOT_LEN as u64).ok()?;
            self.code.funcs.get(self.code.func_at(section, pc)?)
        });
        let func = place
            .ok_or_else(|| format!("member '{}' is set to something that is no program", member.name))?;
        Ok(StructOpsFunc {
            member: member.name.to_owned(),
            index: index as u32,
            off: off as u32,
            program: func.name.clone(),
        })
    }
}
