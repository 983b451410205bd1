//! CO-RE: instructions that depend on the kernel's types are changed to suit the target's.
//!
//! For each record the candidates are the target's types of the same kind and name, flavours aside; all that have what is accessed
//! must agree. What no candidate has makes existence records 0 and poisons other instructions: they become a call of helper
//! 195896080, which no verifier lets through but which may stand in code that is never reached. As libbpf does it.

use mimic_abi::btf::ext::CoreKind;
use mimic_abi::{ByteOrder, RawInsn};

use crate::code::{CALL, LD_IMM64};
use crate::compare::{Broken, Compare, same_kind};
use crate::core_spec::Spec;
use crate::limits::MAX_ACCESS_LEN;
use crate::types::{Kind, Types, essential_name};

/// The helper that a poisoned instruction calls; `0xbad2310`.
pub const POISON_HELPER: i32 = 195_896_080;

/// A record of `.BTF.ext` for one instruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CoreRelo {
    /// Slot in the section.
    pub(crate) pc: u32,
    pub(crate) type_id: u32,
    /// `enum bpf_core_relo_kind`.
    pub(crate) kind: u32,
    /// Offset of the access string in the local strings.
    pub(crate) access_off: u32,
}

/// What a record comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Value {
    /// What the compiler put into the instruction.
    orig: u64,
    new: u64,
    /// Nothing in the target has it.
    poison: bool,
    /// The instruction must hold `orig`.
    validate: bool,
    /// Sizes of the accessed field, 0 if that does not matter.
    orig_size: u32,
    new_size: u32,
    /// A load or store of another size would read something else.
    bad_resize: bool,
}

/// Applies records to instructions: one for all functions of a program, because candidates that a record excludes stay excluded.
pub(crate) struct CoreLinker<'a> {
    local: Types<'a>,
    /// None where the target has no types.
    compare: Option<Compare<'a>>,
    /// The target's types are the local ones.
    own: bool,
    order: ByteOrder,
    /// Candidates by local type.
    candidates: hashbrown::HashMap<u32, Vec<u32>>,
}

impl<'a> CoreLinker<'a> {
    pub(crate) fn new(
        local: Types<'a>,
        target: Option<Types<'a>>,
        own: bool,
        order: ByteOrder,
    ) -> CoreLinker<'a> {
        let compare = target.map(|target| Compare::new(local, target));
        CoreLinker { local, compare, own, order, candidates: hashbrown::HashMap::new() }
    }

    /// Changes the first of `insns` as the record says.
    pub(crate) fn apply(&mut self, relo: &CoreRelo, insns: &mut [RawInsn]) -> Result<(), Broken> {
        let kind = CoreKind::from_raw(relo.kind).ok_or_else(|| format!("kind {} is none", relo.kind))?;
        let value = self.value(relo, kind)?;
        patch(insns, &value)
    }

    fn value(&mut self, relo: &CoreRelo, kind: CoreKind) -> Result<Value, Broken> {
        let access = self.local.0.str_within(relo.access_off, MAX_ACCESS_LEN).unwrap_or_default();
        let local = Spec::parse(self.local, kind, relo.type_id, access)?;
        if kind == CoreKind::TypeIdLocal {
            let id = u64::from(relo.type_id);
            return Ok(Value { orig: id, new: id, ..Value::default() });
        }
        let name = self.local.name(relo.type_id);
        if name.is_empty() {
            return Err(format!("type [{}] has no name to find it by", relo.type_id));
        }
        let Some(compare) = &self.compare else {
            return Err(format!(
                "'{name}' has to be found in the target's types, and the target has none: give it BTF"
            ));
        };
        let candidates = match self.candidates.remove(&relo.type_id) {
            Some(candidates) => candidates,
            // Flavours are meant for kernels: a type and its flavours are not each other here.
            None if self.own => vec![relo.type_id],
            None => find_candidates(compare, relo.type_id)?,
        };
        let result = self.agree(&local, kind, compare, candidates);
        let (value, candidates) = result.map_err(|broken| format!("'{name}': {broken}"))?;
        self.candidates.insert(relo.type_id, candidates);
        Ok(value)
    }

    /// The value on which all candidates that match agree, and these.
    fn agree(
        &self,
        local: &Spec<'a>,
        kind: CoreKind,
        compare: &Compare<'a>,
        candidates: Vec<u32>,
    ) -> Result<(Value, Vec<u32>), Broken> {
        let mut agreed: Option<(Value, u64)> = None;
        let mut matching = Vec::new();
        for candidate in &candidates {
            let Some(found) = Spec::find(local, kind, compare, *candidate)? else { continue };
            let value = self.calculate(kind, local, Some((compare.target, &found)))?;
            match agreed {
                None => agreed = Some((value, found.bit_off)),
                Some((first, bit_off)) => {
                    let same = (first.new, first.poison, bit_off) == (value.new, value.poison, found.bit_off);
                    if !same {
                        return Err(format!(
                            "ambiguous: types [{}] and [{candidate}] of the target both match and differ ({} and {})",
                            matching[0], first.new, value.new
                        ));
                    }
                }
            }
            matching.push(*candidate);
        }
        match agreed {
            Some((value, _)) => Ok((value, matching)),
            None => Ok((self.calculate(kind, local, None)?, candidates)),
        }
    }

    fn calculate(
        &self,
        kind: CoreKind,
        local: &Spec<'_>,
        found: Option<(Types<'_>, &Spec<'_>)>,
    ) -> Result<Value, Broken> {
        use CoreKind::*;
        let value = |orig: u64, new: u64| Value { orig, new, validate: true, ..Value::default() };
        let poison = Value { poison: true, ..Value::default() };
        Ok(match (kind, found) {
            (FieldExists | EnumvalExists | TypeExists | TypeMatches, found) => {
                value(1, u64::from(found.is_some()))
            }
            (TypeIdLocal, _) => value(u64::from(local.root), u64::from(local.root)),
            (TypeIdTarget, found) => {
                let new = found.map_or(0, |(_, spec)| u64::from(spec.root));
                // Linking of objects may have changed the id that the compiler put there.
                Value { validate: false, ..value(u64::from(local.root), new) }
            }
            (TypeSize, found) => {
                let size = |types: Types<'_>, id: u32| {
                    types.size(id).ok_or_else(|| format!("type [{id}] has no size"))
                };
                let new = found.map_or(Ok(0), |(types, spec)| size(types, spec.root))?;
                value(size(self.local, local.root)?, new)
            }
            (EnumvalValue, None) => poison,
            (EnumvalValue, Some((types, spec))) => {
                value(enumerator(self.local, local)?, enumerator(types, spec)?)
            }
            (FieldByteOffset | FieldByteSize | FieldSigned | FieldLshiftU64 | FieldRshiftU64, None) => poison,
            (
                FieldByteOffset | FieldByteSize | FieldSigned | FieldLshiftU64 | FieldRshiftU64,
                Some((types, spec)),
            ) => {
                let orig = Field::of(self.local, local, kind, self.order)?;
                let new = Field::of(types, spec, kind, self.order)?;
                Value {
                    validate: orig.validate,
                    orig_size: orig.size,
                    new_size: new.size,
                    bad_resize: orig.size != new.size
                        && !may_resize(self.local, orig.type_id, types, new.type_id),
                    ..value(orig.value, new.value)
                }
            }
        })
    }
}

fn enumerator(types: Types<'_>, spec: &Spec<'_>) -> Result<u64, Broken> {
    let step = spec.steps.first();
    let value = step.and_then(|step| types.enumerator(step.type_id, step.index));
    value.map(|(_, value)| value).ok_or_else(|| "no such enumerator".to_owned())
}

/// A pointer may be narrower in the kernel than in BPF, an unsigned number wider: zero extension keeps the value.
fn may_resize(local: Types<'_>, orig: u32, target: Types<'_>, new: u32) -> bool {
    matches!(
        (local.kind(orig), target.kind(new)),
        (Some(Kind::Ptr { .. }), Some(Kind::Ptr { .. }))
            | (Some(Kind::Int { signed: false, .. }), Some(Kind::Int { signed: false, .. }))
    )
}

/// What a record about a field comes to in one BTF.
struct Field {
    value: u64,
    /// For loads and stores.
    size: u32,
    type_id: u32,
    validate: bool,
}

impl Field {
    fn of(types: Types<'_>, spec: &Spec<'_>, kind: CoreKind, order: ByteOrder) -> Result<Field, Broken> {
        let no_size = |id: u32| format!("type [{id}] has no size");
        let step = spec.steps.last().ok_or_else(|| "no field".to_owned())?;
        let plain = |value: u64| Field { value, size: 0, type_id: 0, validate: true };
        let Some(_) = step.name else {
            let size = types.size(step.type_id).ok_or_else(|| no_size(step.type_id))?;
            return match kind {
                CoreKind::FieldByteOffset => {
                    Ok(Field { size: size as u32, type_id: step.type_id, ..plain(spec.bit_off / 8) })
                }
                CoreKind::FieldByteSize => Ok(plain(size)),
                _ => Err("only offset and size of an array element can be asked for".to_owned()),
            };
        };
        let member = types.member(step.type_id, step.index).ok_or_else(|| "no such member".to_owned())?;
        let type_id = types.skip(member.type_id).ok_or_else(|| no_size(member.type_id))?;
        let size = types.size(type_id).ok_or_else(|| no_size(type_id))?;
        let is_bits = member.bits > 0;
        let (byte_off, byte_size, bits) = match is_bits {
            true => container(spec.bit_off, member.bits, size)?,
            false => (spec.bit_off / 8, size, size.wrapping_mul(8)),
        };
        // How a bit field is best read is the compiler's to choose; its choice is not checked.
        let plain = |value: u64| Field { validate: !is_bits, ..plain(value) };
        Ok(match kind {
            CoreKind::FieldByteOffset if is_bits => plain(byte_off),
            CoreKind::FieldByteOffset => Field { size: byte_size as u32, type_id, ..plain(byte_off) },
            CoreKind::FieldByteSize => plain(byte_size),
            CoreKind::FieldSigned => Field { validate: true, ..plain(u64::from(types.is_signed(type_id))) },
            CoreKind::FieldLshiftU64 => plain(match order {
                ByteOrder::Little => {
                    64u64.wrapping_sub(spec.bit_off.wrapping_add(bits).wrapping_sub(byte_off.wrapping_mul(8)))
                }
                ByteOrder::Big => 8u64
                    .wrapping_sub(byte_size)
                    .wrapping_mul(8)
                    .wrapping_add(spec.bit_off.wrapping_sub(byte_off.wrapping_mul(8))),
            }),
            CoreKind::FieldRshiftU64 => Field { validate: true, ..plain(64u64.wrapping_sub(bits)) },
            _ => return Err("not about a field".to_owned()),
        })
    }
}

/// The smallest aligned word that holds a bit field: offset and size in bytes, and the field's bits.
fn container(bit_off: u64, bits: u32, size: u64) -> Result<(u64, u64, u64), Broken> {
    let bits = u64::from(bits);
    let mut size = size.max(1);
    loop {
        let byte_off = bit_off / 8 / size * size;
        if bit_off + bits - byte_off * 8 <= size.saturating_mul(8) {
            return Ok((byte_off, size, bits));
        }
        if size >= 8 {
            return Err("no 64-bit read holds the bit field".to_owned());
        }
        size *= 2;
    }
}

/// The target's types of the same kind and name, flavours aside.
fn find_candidates(compare: &Compare<'_>, type_id: u32) -> Result<Vec<u32>, Broken> {
    let (local, target) = (compare.local, compare.target);
    let Some(kind) = local.kind(type_id) else { return Ok(Vec::new()) };
    let name = essential_name(local.name(type_id));
    let mut candidates = Vec::new();
    for id in target.by_essential_name(name) {
        compare.step()?;
        if target.kind(id).is_some_and(|other| same_kind(kind, other)) {
            candidates.push(id);
        }
    }
    Ok(candidates)
}

/// Puts a value into an instruction.
fn patch(insns: &mut [RawInsn], value: &Value) -> Result<(), Broken> {
    const LD: u8 = 0;
    const LDX: u8 = 1;
    const ST: u8 = 2;
    const STX: u8 = 3;
    const ALU: u8 = 4;
    const ALU64: u8 = 7;
    const SOURCE_REG: u8 = 8;
    let [insn, rest @ ..] = insns else { return Err("no instruction is there".to_owned()) };
    let unexpected = |got: i64| {
        format!(
            "the instruction holds {got}, but by the object's types the compiler put {} there",
            value.orig
        )
    };
    match insn.opcode & 7 {
        ALU | ALU64 if insn.opcode & SOURCE_REG == 0 => {
            if value.poison {
                *insn = POISONED;
                return Ok(());
            }
            if value.validate && insn.imm as i64 as u64 != value.orig {
                return Err(unexpected(i64::from(insn.imm)));
            }
            insn.imm = value.new as i32;
        }
        LDX | ST | STX => {
            if value.poison {
                *insn = POISONED;
                return Ok(());
            }
            if value.validate && insn.off as i64 as u64 != value.orig {
                return Err(unexpected(i64::from(insn.off)));
            }
            let off = i16::try_from(value.new);
            let off = off.map_err(|_| format!("offset {} does not fit into a load or store", value.new))?;
            if value.bad_resize {
                *insn = POISONED;
                return Ok(());
            }
            insn.off = off;
            if value.new_size != value.orig_size {
                resize(insn, value)?;
            }
        }
        LD if insn.opcode == LD_IMM64 => {
            let Some(second) = rest.first_mut() else {
                return Err("ld_imm64 without its second half".to_owned());
            };
            if (insn.src, insn.off) != (0, 0)
                || (second.opcode, second.dst, second.src, second.off) != (0, 0, 0, 0)
            {
                return Err("a ld_imm64 that is no plain constant".to_owned());
            }
            if value.poison {
                (*insn, *second) = (POISONED, POISONED);
                return Ok(());
            }
            let imm = u64::from(insn.imm as u32) | u64::from(second.imm as u32) << 32;
            if value.validate && imm != value.orig {
                return Err(unexpected(imm as i64));
            }
            (insn.imm, second.imm) = (value.new as i32, (value.new >> 32) as i32);
        }
        _ => return Err(format!("an instruction with opcode {:#04x} holds nothing to change", insn.opcode)),
    }
    Ok(())
}

const POISONED: RawInsn = RawInsn { opcode: CALL, dst: 0, src: 0, off: 0, imm: POISON_HELPER };

fn resize(insn: &mut RawInsn, value: &Value) -> Result<(), Broken> {
    const SIZE_BITS: u8 = 0x18;
    let bytes = match insn.opcode & SIZE_BITS {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    };
    if bytes != value.orig_size {
        return Err(format!("the instruction accesses {bytes} bytes of a field of {}", value.orig_size));
    }
    let size = match value.new_size {
        1 => 0x10,
        2 => 0x08,
        4 => 0x00,
        8 => 0x18,
        other => return Err(format!("no instruction accesses the {other} bytes that the field has")),
    };
    insn.opcode = insn.opcode & !SIZE_BITS | size;
    Ok(())
}
