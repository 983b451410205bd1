//! `Object`: an eBPF object file, read: programs, maps, externs, types. Nothing is resolved against a kernel.

use std::collections::BTreeSet;
use std::sync::Arc;

use mimic_abi::ByteOrder;
use mimic_abi::btf::Btf;
use mimic_abi::btf::ext::CoreKind;

use crate::btf_info::BtfInfo;
use crate::code::{Code, CodeTarget, Symbols};
use crate::core_relo::CoreRelo;
use crate::core_spec::Spec;
use crate::elf::{Elf, Section};
use crate::error::{LoadError, LoadErrors, warn};
use crate::externs::{Extern, Externs};
use crate::guess::guess_types;
use crate::legacy_maps::LegacyMaps;
use crate::limits::{MAX_ACCESS_LEN, MAX_PROGRAMS};
use crate::map::MapSpec;
use crate::map_table::MapTable;
use crate::program::ProgramSpec;
use crate::sec_def::SecDef;
use crate::struct_ops::StructOps;
use crate::target::Target;
use crate::types::{Types, essential_name};

/// An eBPF object file, read.
///
/// Deterministic and host-independent: the same bytes give the same object everywhere. Programs are linked from it for a
/// [`crate::Target`].
#[derive(Clone, Debug)]
pub struct Object {
    /// The byte order that it was compiled for.
    pub byte_order: ByteOrder,
    /// The licence, from the section `license`.
    pub license: Option<String>,
    /// The kernel version that old objects were made for, from the section `version`.
    pub version: Option<u32>,
    /// The programs in the order of the file.
    pub programs: Vec<ProgramSpec>,
    /// The maps: those of `maps` and `.maps`, then data sections, then `.kconfig`. Indices into this are what programs refer to.
    pub maps: Vec<MapSpec>,
    /// What the object declares and does not define.
    pub externs: Vec<Extern>,
    /// Variables of struct_ops types.
    pub struct_ops: Vec<StructOps>,
    /// Its types, with the places of variables filled in.
    pub btf: Option<Arc<Btf>>,
    /// What is odd in it but keeps nothing from working.
    pub warnings: Vec<LoadError>,
    pub(crate) code: Code,
    pub(crate) info: BtfInfo,
    /// Index of the map of `.kconfig`.
    pub(crate) kconfig_map: Option<usize>,
}

impl Object {
    /// Reads an object file.
    ///
    /// # Errors
    /// Everything that is wrong with the file's structure, at once. What is wrong with a single program (a function that is
    /// nowhere, say) comes when that program is linked.
    pub fn parse(bytes: &[u8]) -> Result<Object, LoadErrors> {
        let mut warnings = Vec::new();
        let elf = Elf::parse(bytes, &mut warnings)?;
        let mut errors = LoadErrors::default();
        let mut code = Code::read(&elf, &mut errors, &mut warnings);
        let (btf, info) = BtfInfo::read(&elf, &code, &mut warnings);
        let externs = Externs::read(&elf, btf.as_ref(), &mut errors);
        let btf = externs.lay_out_kconfig(btf).map(Arc::new);
        let mut programs = programs(&code);
        if programs.len() > MAX_PROGRAMS {
            errors.push(LoadError::new(format!(
                "{} programs; at most {MAX_PROGRAMS} are taken",
                programs.len()
            )));
            programs.truncate(MAX_PROGRAMS);
        }

        let mut maps = MapTable::new(elf.sections.len());
        let legacy = LegacyMaps::read(&elf, &mut maps, &mut errors, &mut warnings);
        guess_types(&mut programs, &code, legacy.is_iproute2());
        legacy.fill_prog_arrays(&mut maps, programs.iter().map(|p| (p.section.as_str(), p.name.as_str())));
        maps.read_btf_maps(&elf, btf.as_deref(), &programs, &code, &mut errors, &mut warnings);
        maps.add_data_sections(&elf, btf.as_deref(), &mut errors, &mut warnings);
        let kconfig_map = externs.add_kconfig_map(&mut maps, btf.as_deref());
        let struct_ops = StructOps::read(&elf, btf.as_deref(), &code, &mut errors);

        code.resolve_relocs(&elf, &Place { maps: &maps, externs: &externs }, &mut warnings);
        errors.or(Object {
            byte_order: elf.order,
            license: license(&elf, &mut warnings),
            version: version(&elf, &mut warnings),
            programs,
            maps: maps.specs,
            externs: externs.list,
            struct_ops,
            btf,
            warnings,
            code,
            info,
            kconfig_map,
        })
    }

    /// The target's BTF as a list of what its kernel has: not if it is this object's own.
    pub(crate) fn kernel_btf<'a>(&self, target: &'a Target) -> Option<&'a Btf> {
        let btf = target.btf.as_ref()?;
        let is_own = self.btf.as_ref().is_some_and(|own| Arc::ptr_eq(own, btf));
        (!is_own).then_some(&**btf)
    }

    /// The fields that programs find by CO-RE: the structure's name without its flavour, and the names on the way: `("task_struct",
    /// "se.vruntime")`. Elements of arrays have no names.
    pub fn core_fields(&self) -> BTreeSet<(String, String)> {
        let Some(btf) = self.btf.as_deref() else { return BTreeSet::new() };
        let types = Types(btf);
        let field = |relo: &CoreRelo| {
            let access = btf.str_within(relo.access_off, MAX_ACCESS_LEN)?;
            let spec = Spec::parse(types, CoreKind::FieldByteOffset, relo.type_id, access).ok()?;
            let path: Vec<&str> = spec.steps.iter().filter_map(|step| step.name).collect();
            let name = essential_name(types.name(types.skip(relo.type_id)?));
            (!name.is_empty() && !path.is_empty()).then(|| (name.to_owned(), path.join(".")))
        };
        self.info.core_places().filter_map(field).collect()
    }

    /// The kernel's structures whose fields programs find by CO-RE, by name. Linked for no kernel in particular, such fields are where the object's own
    /// declarations have them, which need not be complete. Contexts are not among them: their layout is the same everywhere.
    pub fn core_structs(&self) -> Vec<String> {
        let Some(btf) = self.btf.as_deref() else { return Vec::new() };
        let ids: BTreeSet<u32> = self.info.core_places().map(|relo| relo.type_id).collect();
        let name = |id| Types(btf).skip(id).map(|id| Types(btf).name(id));
        let names: BTreeSet<String> =
            ids.into_iter().filter_map(name).map(|name| essential_name(name).to_owned()).collect();
        let is_context = |name: &str| name == "__sk_buff" || name == "xdp_md" || name.starts_with("bpf_");
        names.into_iter().filter(|name| !name.is_empty() && !is_context(name)).collect()
    }

    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<&ProgramSpec> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The map of this name, and its index.
    pub fn map(&self, name: &str) -> Option<(usize, &MapSpec)> {
        self.maps.iter().enumerate().find(|(_, map)| map.name == name)
    }
}

/// Where symbols that are not code lead.
struct Place<'a> {
    maps: &'a MapTable,
    externs: &'a Externs,
}

impl Symbols for Place<'_> {
    fn extern_of(&self, symbol: usize) -> Option<usize> {
        self.externs.of_symbol(symbol)
    }

    fn data_at(&self, section: usize, off: u64) -> Option<CodeTarget> {
        self.maps.target_at(section, off)
    }
}

/// The programs: functions that are not static, outside `.text`. Where there are none, those of `.text`.
fn programs(code: &Code) -> Vec<ProgramSpec> {
    let text = code.section_named(".text");
    let candidates = |in_text: bool| -> Vec<ProgramSpec> {
        let is_program = |(_, func): &(usize, &crate::code::FuncSpan)| {
            !func.local && func.start < func.end && (Some(func.section) == text) == in_text
        };
        let spec = |(index, func): (usize, &crate::code::FuncSpan)| {
            let name =
                code.sections.get(func.section).map(|section| section.name.as_str()).unwrap_or_default();
            ProgramSpec {
                name: func.name.clone(),
                section: name.strip_prefix('?').unwrap_or(name).to_owned(),
                sec: SecDef::parse(name),
                off: u64::from(func.start) * 8,
                slots: func.end - func.start,
                func: index,
            }
        };
        code.funcs.iter().enumerate().filter(is_program).map(spec).collect()
    };
    let programs = candidates(false);
    if programs.is_empty() { candidates(true) } else { programs }
}

fn license(elf: &Elf<'_>, warnings: &mut Vec<LoadError>) -> Option<String> {
    let (_, section) = elf.section_named("license")?;
    let text = section.data.split(|byte| *byte == 0).next().unwrap_or_default();
    match str::from_utf8(text) {
        Ok(text) => Some(text.to_owned()),
        Err(_) => {
            warn(warnings, LoadError::new("the licence is not text; taken as none").in_section("license"));
            None
        }
    }
}

fn version(elf: &Elf<'_>, warnings: &mut Vec<LoadError>) -> Option<u32> {
    let (_, section): (_, &Section<'_>) = elf.section_named("version")?;
    match <[u8; 4]>::try_from(section.data) {
        Ok(bytes) => Some(match elf.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }),
        Err(_) => {
            let message = format!("{} bytes; expected a 32-bit version", section.data.len());
            warn(warnings, LoadError::new(message).in_section("version"));
            None
        }
    }
}
