//! What an object declares and does not define: kernel configuration (`__kconfig`), kernel symbols and functions (`__ksym`).
//!
//! Declarations are found by their symbols and described by the BTF sections `.kconfig` and `.ksyms`. `docs.kernel.org/bpf/libbpf`
//! says what they mean; the layout of the `.kconfig` map is libbpf's.

use std::collections::BTreeMap;

use mimic_abi::btf::{Btf, Linkage};
use mimic_abi::uapi::map_flags::BPF_F_RDONLY_PROG;
use mimic_abi::{ByteOrder, KernelVersion, MapType};

use crate::btf_info::lay_out;
use crate::compare::Compare;
use crate::elf::{Binding, Elf, Place, SymbolKind};
use crate::error::{LoadError, LoadErrors};
use crate::limits::MAX_KCONFIG_LEN;
use crate::map::{Contents, MapOrigin, MapSpec};
use crate::map_table::{MapTable, describe};
use crate::object::Object;
use crate::program::RefTarget;
use crate::target::Target;
use crate::types::{Kind, Types, essential_name};

/// Something that an object declares and does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Its name.
    pub name: String,
    /// May be missing: 0 or NULL then.
    pub weak: bool,
    /// The BTF id of its `VAR` or `FUNC`.
    pub btf_id: u32,
    /// What it is.
    pub kind: ExternKind,
}

/// What an extern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// A value of the kernel's configuration, kept in the map `.kconfig`.
    Kconfig {
        /// How to read the value.
        value: KconfigKind,
        /// Offset in the map, in bytes.
        off: u32,
        /// Size in bytes.
        size: u32,
    },
    /// A kernel variable; `type_id` is its type in the object's BTF, 0 if only its address is wanted (`extern const void x`).
    Var {
        /// The type.
        type_id: u32,
    },
    /// A kernel function (kfunc); `type_id` is its prototype in the object's BTF.
    Func {
        /// The prototype.
        type_id: u32,
    },
}

/// The type of a `__kconfig` variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KconfigKind {
    /// `bool`: `y` or `n`.
    Bool,
    /// `enum libbpf_tristate`: 0 no, 1 yes, 2 module.
    Tristate,
    /// `char`: a number, or `y`, `n`, `m` as the letter.
    Char,
    /// An integer.
    Int {
        /// Negative values are allowed.
        signed: bool,
    },
    /// `char[]`: text.
    Text,
}

/// The externs while an object is read.
#[derive(Default)]
pub(crate) struct Externs {
    pub(crate) list: Vec<Extern>,
    /// Index in `list` by symbol.
    by_symbol: BTreeMap<usize, usize>,
}

/// What an instruction that refers to an extern becomes.
pub(crate) enum Resolution {
    Ref(RefTarget),
    /// The constant 0.
    Zero,
    /// A call of this helper, which nobody has.
    Poison(i32),
}

/// A call of a weak kernel function that the target does not have becomes one of this helper plus the extern's index, as libbpf has it.
pub const POISON_KFUNC_BASE: i32 = 2_002_000_000;

impl Externs {
    pub(crate) fn read(elf: &Elf<'_>, btf: Option<&Btf>, errors: &mut LoadErrors) -> Externs {
        let mut externs = Externs::default();
        let Some(types) = btf.map(Types) else { return externs };
        let declared = declared(types);
        for (index, symbol) in elf.symbols.iter().enumerate() {
            let is_extern = symbol.place == Place::Undefined
                && symbol.binding != Binding::Local
                && matches!(symbol.kind, SymbolKind::None | SymbolKind::Func | SymbolKind::Object)
                && !symbol.name.is_empty();
            // What other objects define, or BTF says nothing of, is an error only where code refers to it.
            let known = declared
                .get(symbol.name)
                .filter(|(_, section)| is_extern && matches!(*section, KCONFIG | KSYMS));
            let Some((btf_id, section)) = known else { continue };
            match kind(types, *btf_id, section) {
                Ok(kind) => {
                    let weak = symbol.binding == Binding::Weak;
                    externs.by_symbol.insert(index, externs.list.len());
                    externs.list.push(Extern { name: symbol.name.to_owned(), weak, btf_id: *btf_id, kind });
                }
                Err(message) => {
                    errors.push(LoadError::new(message).in_section(section).at_symbol(symbol.name))
                }
            }
        }
        externs.sort(types);
        if externs.kconfig_len().is_some_and(|len| len > MAX_KCONFIG_LEN) {
            let message = format!("more than {MAX_KCONFIG_LEN} bytes of configuration values");
            errors.push(LoadError::new(message).in_section(KCONFIG));
            externs = Externs::default();
        }
        externs
    }

    /// Writes the layout of `.kconfig` into the types, so that whoever prints the map finds its variables.
    pub(crate) fn lay_out_kconfig(&self, btf: Option<Btf>) -> Option<Btf> {
        let btf = btf?;
        let Some(len) = self.kconfig_len() else { return Some(btf) };
        let place = |external: &Extern| match external.kind {
            ExternKind::Kconfig { off, .. } => Some((external.btf_id, off)),
            ExternKind::Var { .. } | ExternKind::Func { .. } => None,
        };
        let places: BTreeMap<u32, u32> = self.list.iter().filter_map(place).collect();
        lay_out(&btf, KCONFIG, len, |id| places.get(&id).copied()).or(Some(btf))
    }

    fn kconfig_len(&self) -> Option<u32> {
        self.list.iter().filter_map(Extern::kconfig_end).max()
    }

    pub(crate) fn of_symbol(&self, symbol: usize) -> Option<usize> {
        self.by_symbol.get(&symbol).copied()
    }

    /// libbpf's order, which decides the layout of `.kconfig`: configuration first, by falling alignment, rising size and name.
    fn sort(&mut self, types: Types<'_>) {
        let key = |external: &Extern| match external.kind {
            ExternKind::Kconfig { size, .. } => {
                let align = types.var_type(external.btf_id).and_then(|id| types.align(id)).unwrap_or(1);
                (0, u32::MAX - align, size, external.name.clone())
            }
            ExternKind::Var { .. } | ExternKind::Func { .. } => (1, 0, 0, external.name.clone()),
        };
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        order.sort_by_cached_key(|index| key(&self.list[*index]));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        self.list = order.iter().map(|old| self.list[*old].clone()).collect();
        for index in self.by_symbol.values_mut() {
            *index = place[*index];
        }
        let mut end = 0u32;
        for external in &mut self.list {
            let align = types.var_type(external.btf_id).and_then(|id| types.align(id)).unwrap_or(1);
            if let ExternKind::Kconfig { off, size, .. } = &mut external.kind {
                *off = end.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX);
                end = off.saturating_add(*size);
            }
        }
    }

    /// Adds the map that holds the configuration values, if there are any.
    pub(crate) fn add_kconfig_map(&self, maps: &mut MapTable, btf: Option<&Btf>) -> Option<usize> {
        let len = self.kconfig_len()?;
        let mut spec = MapSpec {
            name: KCONFIG.to_owned(),
            map_type: MapType::Array.id(),
            key_size: 4,
            value_size: len,
            max_entries: 1,
            map_flags: BPF_F_RDONLY_PROG,
            contents: Contents::Data { bytes: vec![0; len as usize], frozen: true },
            origin: MapOrigin::Kconfig,
            ..MapSpec::default()
        };
        if let Some(types) = btf.map(Types) {
            describe(&mut spec, types, &|_| false);
        }
        maps.specs.push(spec);
        Some(maps.specs.len() - 1)
    }
}

const KCONFIG: &str = ".kconfig";
const KSYMS: &str = ".ksyms";

impl Extern {
    fn kconfig_end(&self) -> Option<u32> {
        match self.kind {
            ExternKind::Kconfig { off, size, .. } => Some(off.saturating_add(size)),
            ExternKind::Var { .. } | ExternKind::Func { .. } => None,
        }
    }

    /// The bytes of a configuration value for a target.
    fn kconfig_bytes(
        &self,
        value: KconfigKind,
        size: u32,
        target: &Target,
        order: ByteOrder,
    ) -> Result<Vec<u8>, String> {
        let size = size as usize;
        let text = match self.virtual_value(target) {
            Some(number) => Some(number.to_string()),
            None if self.name.starts_with("CONFIG_") => {
                target.kconfig.as_ref().and_then(|config| config.get(&self.name)).cloned()
            }
            None if self.name.starts_with("LINUX_") && self.weak => None,
            None => return Err("neither CONFIG_… nor a LINUX_… that is known".to_owned()),
        };
        match text {
            Some(text) => {
                let bytes = value.bytes(&text, size, order);
                bytes.ok_or_else(|| format!("the target's value {text} is none of its type or does not fit"))
            }
            None if self.weak => Ok(vec![0; size]),
            None if target.kconfig.is_none() => {
                Err("the target has no configuration: give it one (Target::kconfig, --kconfig), or declare the variable __weak".to_owned())
            }
            None => {
                Err("not set in the target's configuration: declare the variable __weak to get 0".to_owned())
            }
        }
    }

    /// Values that stand for the kernel rather than for its configuration.
    fn virtual_value(&self, target: &Target) -> Option<u64> {
        match self.name.as_str() {
            "LINUX_KERNEL_VERSION" => Some(u64::from(target.version.code())),
            "LINUX_HAS_BPF_COOKIE" => Some(u64::from(target.version >= KernelVersion::new(5, 15))),
            "LINUX_HAS_SYSCALL_WRAPPER" => Some(u64::from(target.syscall_wrapper)),
            _ => None,
        }
    }
}

impl KconfigKind {
    fn of(types: Types<'_>, id: u32) -> Option<KconfigKind> {
        let id = types.skip(id)?;
        match types.kind(id)? {
            Kind::Int { size: 1, is_bool: true, .. } => Some(KconfigKind::Bool),
            Kind::Int { is_bool: true, .. } => None,
            Kind::Int { size: 1, .. } => Some(KconfigKind::Char),
            Kind::Int { size: 2 | 4 | 8, signed, .. } => Some(KconfigKind::Int { signed }),
            Kind::Enum { .. } if types.name(id) == "libbpf_tristate" => Some(KconfigKind::Tristate),
            Kind::Array { elem, len } if len > 0 => {
                let elem = types.kind(types.skip(elem)?)?;
                matches!(elem, Kind::Int { size: 1, is_bool: false, .. }).then_some(KconfigKind::Text)
            }
            _ => None,
        }
    }

    /// A value of `.config` as `size` bytes of memory; none if it is no value of this type.
    fn bytes(self, text: &str, size: usize, order: ByteOrder) -> Option<Vec<u8>> {
        let number = |value: u64| {
            let bytes = match order {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            };
            match order {
                ByteOrder::Little => bytes.get(..size).map(<[u8]>::to_vec),
                ByteOrder::Big => bytes.get(8usize.checked_sub(size)?..).map(<[u8]>::to_vec),
            }
        };
        match (self, text) {
            (KconfigKind::Tristate, "n") | (KconfigKind::Bool, "n") => number(0),
            (KconfigKind::Tristate | KconfigKind::Bool, "y") => number(1),
            (KconfigKind::Tristate, "m") => number(2),
            (KconfigKind::Char, "y" | "n" | "m") => number(u64::from(text.as_bytes()[0])),
            (KconfigKind::Text, text) => {
                let text = text.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
                // As libbpf: what does not fit is cut, and the text ends with a NUL.
                let mut bytes = text[..text.len().min(size.checked_sub(1)?)].to_vec();
                bytes.resize(size, 0);
                Some(bytes)
            }
            (KconfigKind::Bool, text) => number(parse_number(text).filter(|value| *value <= 1)?),
            (KconfigKind::Char | KconfigKind::Int { .. }, text) => {
                let value = parse_number(text)?;
                let bits = size as u32 * 8;
                let signed = self == KconfigKind::Int { signed: true };
                let fits = match (bits, signed) {
                    (64, _) => true,
                    (_, false) => value >> bits == 0,
                    (_, true) => {
                        let half = 1u64 << (bits - 1);
                        value.wrapping_add(half) < half << 1
                    }
                };
                number(value).filter(|_| fits)
            }
            (KconfigKind::Tristate, _) => None,
        }
    }
}

/// A number as `.config` has it: decimal, hexadecimal or octal, perhaps negative.
fn parse_number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Names that BTF declares without defining them: the id and the section.
fn declared<'a>(types: Types<'a>) -> BTreeMap<&'a str, (u32, &'a str)> {
    let mut declared = BTreeMap::new();
    for id in 1..types.count() {
        let Some(Kind::Datasec) = types.kind(id) else { continue };
        let section = types.name(id);
        for var in types.vars(id) {
            let is_extern = match types.kind(var.type_id) {
                Some(Kind::Var { linkage, .. } | Kind::Func { linkage, .. }) => linkage == Linkage::Extern,
                _ => false,
            };
            if is_extern {
                declared.insert(types.name(var.type_id), (var.type_id, section));
            }
        }
    }
    declared
}

fn kind(types: Types<'_>, btf_id: u32, section: &str) -> Result<ExternKind, String> {
    match (types.kind(btf_id), section) {
        (Some(Kind::Var { type_id, .. }), KCONFIG) => {
            let value = KconfigKind::of(types, type_id);
            let size = types
                .size(type_id)
                .and_then(|size| u32::try_from(size).ok())
                .filter(|size| *size <= MAX_KCONFIG_LEN);
            match value.zip(size) {
                Some((value, size)) => Ok(ExternKind::Kconfig { value, off: 0, size }),
                None => {
                    Err("a __kconfig variable must be bool, char, an integer, enum libbpf_tristate or char[]"
                        .to_owned())
                }
            }
        }
        (Some(Kind::Var { type_id, .. }), KSYMS) => {
            let type_id = types.skip(type_id).ok_or_else(|| "its type is not there".to_owned())?;
            Ok(ExternKind::Var { type_id })
        }
        (Some(Kind::Func { proto, .. }), KSYMS) => Ok(ExternKind::Func { type_id: proto }),
        _ => Err("a function cannot be __kconfig".to_owned()),
    }
}

impl Object {
    /// The maps with the target's configuration in `.kconfig`; else as in [`Object::maps`].
    ///
    /// # Errors
    /// Every strong `__kconfig` variable that the target has no value for, or one that does not fit.
    pub fn maps_for(&self, target: &Target) -> Result<Vec<MapSpec>, LoadErrors> {
        let mut maps = self.maps.clone();
        let mut errors = LoadErrors::default();
        let Some(map) = self.kconfig_map.and_then(|index| maps.get_mut(index)) else { return Ok(maps) };
        let Contents::Data { bytes, .. } = &mut map.contents else { return Ok(maps) };
        for external in &self.externs {
            let ExternKind::Kconfig { value, off, size } = external.kind else { continue };
            match external.kconfig_bytes(value, size, target, self.byte_order) {
                Ok(value) => {
                    if let Some(room) = bytes.get_mut(off as usize..off as usize + value.len()) {
                        room.copy_from_slice(&value);
                    }
                }
                Err(message) => {
                    errors.push(LoadError::new(message).in_section(KCONFIG).at_symbol(&external.name))
                }
            }
        }
        errors.or(maps)
    }

    /// What an instruction that refers to an extern becomes.
    pub(crate) fn resolve_extern(
        &self,
        index: usize,
        is_call: bool,
        target: &Target,
    ) -> Result<Resolution, String> {
        let external = self.externs.get(index).ok_or_else(|| format!("there is no extern {index}"))?;
        match external.kind {
            ExternKind::Kconfig { .. } if is_call => Err(format!("'{}' cannot be called", external.name)),
            ExternKind::Kconfig { off, .. } => match self.kconfig_map {
                Some(map) => Ok(Resolution::Ref(RefTarget::MapValue { map, off })),
                None => Err("there is no .kconfig map".to_owned()),
            },
            ExternKind::Var { .. } if is_call => {
                Err(format!("'{}' is declared as a variable and called", external.name))
            }
            ExternKind::Var { type_id } => self.resolve_var(external, type_id, target),
            ExternKind::Func { type_id } => self.resolve_func(external, index, type_id, is_call, target),
        }
    }

    fn resolve_var(&self, external: &Extern, type_id: u32, target: &Target) -> Result<Resolution, String> {
        let name = external.name.as_str();
        let btf_id = match (type_id, self.btf.as_deref(), self.kernel_btf(target)) {
            (0, _, _) => {
                let missing = target.ksyms.as_ref().is_some_and(|ksyms| !ksyms.contains_key(name));
                match (missing, external.weak) {
                    (false, _) => 0,
                    (true, true) => return Ok(Resolution::Zero),
                    (true, false) => return Err(format!("kernel symbol '{name}' is not in the target")),
                }
            }
            (_, Some(local), Some(kernel)) => match (Types(kernel).var(name), external.weak) {
                (Some((id, var_type)), _) => {
                    let var_type = Types(kernel).skip(var_type).unwrap_or(var_type);
                    let same =
                        Compare::new(Types(local), Types(kernel)).types_compatible(type_id, var_type)?;
                    if !same {
                        return Err(format!("kernel variable '{name}' has another type in the target"));
                    }
                    id
                }
                (None, true) => return Ok(Resolution::Zero),
                (None, false) => return Err(format!("kernel variable '{name}' is not in the target's BTF")),
            },
            (_, _, _) => 0,
        };
        let name = name.to_owned();
        Ok(Resolution::Ref(RefTarget::Ksym { name, weak: external.weak, type_id, btf_id }))
    }

    fn resolve_func(
        &self,
        external: &Extern,
        index: usize,
        type_id: u32,
        is_call: bool,
        target: &Target,
    ) -> Result<Resolution, String> {
        let name = essential_name(&external.name);
        let kernel = self.kernel_btf(target);
        let found = kernel.and_then(|kernel| Some((kernel, Types(kernel).func(name)?)));
        let known = match (&target.kfuncs, kernel) {
            (Some(kfuncs), _) => kfuncs.contains(name),
            (None, Some(_)) => found.is_some(),
            (None, None) => true,
        };
        let compatible = match (self.btf.as_deref(), found) {
            (Some(local), Some((kernel, (_, proto)))) => {
                Compare::new(Types(local), Types(kernel)).types_compatible(type_id, proto)?
            }
            _ => true,
        };
        match (known && compatible, external.weak, is_call) {
            (true, weak, _) => {
                let (name, btf_id) = (name.to_owned(), found.map_or(0, |(_, (id, _))| id));
                Ok(Resolution::Ref(match is_call {
                    true => RefTarget::Kfunc { name, weak, btf_id },
                    false => RefTarget::Ksym { name, weak, type_id, btf_id },
                }))
            }
            (false, true, true) => Ok(Resolution::Poison(POISON_KFUNC_BASE.saturating_add(index as i32))),
            (false, true, false) => Ok(Resolution::Zero),
            (false, false, _) if !known => Err(format!("kernel function '{name}' is not in the target")),
            (false, false, _) => Err(format!("kernel function '{name}' has another prototype in the target")),
        }
    }
}
