//! What a CO-RE record accesses: its access string, read against the local types, and found again in a target's types.
//!
//! Fields are found by name, through anonymous members; array elements by index. The records are described in
//! `Documentation/bpf/llvm_reloc.rst` ("CO-RE Relocations"); what that page leaves open is as libbpf does it.

use mimic_abi::btf::ext::CoreKind;

use crate::compare::{Broken, Compare};
use crate::limits::MAX_CORE_SPEC_LEN;
use crate::types::{Kind, Types, essential_name};

/// No structure reaches further.
const MAX_BIT_OFF: u64 = u32::MAX as u64 * 8;

/// Asks about a type as a whole.
pub(crate) fn is_about_type(kind: CoreKind) -> bool {
    use CoreKind::*;
    match kind {
        TypeIdLocal | TypeIdTarget | TypeExists | TypeSize | TypeMatches => true,
        FieldByteOffset | FieldByteSize | FieldExists | FieldSigned | FieldLshiftU64 | FieldRshiftU64
        | EnumvalExists | EnumvalValue => false,
    }
}

fn is_about_enumerator(kind: CoreKind) -> bool {
    matches!(kind, CoreKind::EnumvalExists | CoreKind::EnumvalValue)
}

/// An access in the types of one BTF.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec<'a> {
    /// The record's type.
    pub(crate) root: u32,
    /// The named fields and array elements on the way; for an enumerator, itself.
    pub(crate) steps: Vec<Step<'a>>,
    /// From the start of the root type.
    pub(crate) bit_off: u64,
    /// Elements of the access string so far.
    depth: usize,
}

/// A field, an array element or an enumerator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// The structure or enumeration; for array elements the element's type.
    pub(crate) type_id: u32,
    /// Which of it.
    pub(crate) index: u32,
    /// None for array elements.
    pub(crate) name: Option<&'a str>,
}

impl<'a> Spec<'a> {
    /// Reads an access string against the local types.
    pub(crate) fn parse(
        types: Types<'a>,
        kind: CoreKind,
        root: u32,
        access: &str,
    ) -> Result<Spec<'a>, Broken> {
        let mut spec = Spec { root, ..Spec::default() };
        if is_about_type(kind) {
            return if access == "0" {
                Ok(spec)
            } else {
                Err(format!("access string '{access}'; expected '0'"))
            };
        }
        let mut indices = access.split(':').map(|text| {
            text.parse::<u32>()
                .ok()
                .filter(|index| *index <= i32::MAX as u32)
                .ok_or_else(|| format!("access string '{access}' is none"))
        });
        let first = indices.next().unwrap_or_else(|| Err("no access string".to_owned()))?;
        let mut id = types.skip(root).ok_or_else(|| format!("type [{root}] is not there"))?;
        spec.push(Step { type_id: id, index: first, name: None })?;
        spec.depth = 1;
        if is_about_enumerator(kind) {
            let enumerator = types.enumerator(id, first);
            let Some((name, _)) = enumerator.filter(|_| indices.next().is_none()) else {
                return Err(format!("access string '{access}' is no enumerator of type [{id}]"));
            };
            spec.steps = vec![Step { type_id: id, index: first, name: Some(name) }];
            return Ok(spec);
        }
        spec.add_elements(types, id, first)?;
        for index in indices {
            id = spec.descend(types, id, index?)?;
        }
        Ok(spec)
    }

    /// Follows one element of the access string; answers the type that it leads to.
    fn descend(&mut self, types: Types<'a>, id: u32, index: u32) -> Result<u32, Broken> {
        self.deeper()?;
        let id = types.skip(id).ok_or_else(|| format!("type [{id}] is not there"))?;
        let beyond = || format!("type [{id}] has no element {index}");
        match types.kind(id) {
            Some(Kind::Struct | Kind::Union) => {
                let member = types.member(id, index).ok_or_else(beyond)?;
                self.bit_off = self.bit_off.wrapping_add(u64::from(member.bit_off));
                if !member.name.is_empty() {
                    self.push(Step { type_id: id, index, name: Some(member.name) })?;
                }
                Ok(member.type_id)
            }
            Some(Kind::Array { elem, len }) => {
                let elem = types.skip(elem).ok_or_else(beyond)?;
                if index >= len && !is_flexible(types, self.steps.last(), len) {
                    return Err(beyond());
                }
                self.push(Step { type_id: elem, index, name: None })?;
                self.add_elements(types, elem, index)?;
                Ok(elem)
            }
            _ => Err(format!("type [{id}] has no elements")),
        }
    }

    /// Finds the local access in a type of the target: the same names, the same indices. None if it is not there.
    pub(crate) fn find(
        local: &Spec<'_>,
        kind: CoreKind,
        compare: &Compare<'a>,
        candidate: u32,
    ) -> Result<Option<Spec<'a>>, Broken> {
        let mut spec = Spec { root: candidate, ..Spec::default() };
        if is_about_type(kind) {
            let same = match kind {
                CoreKind::TypeMatches => compare.types_match(local.root, candidate)?,
                _ => compare.types_compatible(local.root, candidate)?,
            };
            return Ok(same.then_some(spec));
        }
        if is_about_enumerator(kind) {
            return Ok(spec.find_enumerator(local, compare, candidate)?.then_some(spec));
        }
        let mut id = candidate;
        for (i, step) in local.steps.iter().enumerate() {
            let next = match step.name {
                Some(name) => spec.find_member(compare, step, name, id, &mut hashbrown::HashSet::new())?,
                None => spec.find_element(compare.target, step.index, id, i == 0)?,
            };
            match next {
                Some(next) => id = next,
                None => return Ok(None),
            }
        }
        Ok(Some(spec))
    }

    fn find_enumerator(
        &mut self,
        local: &Spec<'_>,
        compare: &Compare<'a>,
        candidate: u32,
    ) -> Result<bool, Broken> {
        let wanted = local.steps.first().and_then(|step| step.name).map(essential_name);
        let Some((id, wanted)) = compare.target.skip(candidate).zip(wanted) else { return Ok(false) };
        for (index, (name, _)) in compare.target.enumerators(id).enumerate() {
            compare.step()?;
            if essential_name(name) == wanted {
                self.steps = vec![Step { type_id: id, index: index as u32, name: Some(name) }];
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find_element(
        &mut self,
        types: Types<'a>,
        index: u32,
        id: u32,
        is_root: bool,
    ) -> Result<Option<u32>, Broken> {
        let id = types.skip(id).ok_or_else(|| format!("type [{id}] is not there"))?;
        let elem = match types.kind(id) {
            // The first index counts whole objects of the root type.
            Some(_) if is_root => id,
            Some(Kind::Array { elem, len }) => {
                if index >= len && !is_flexible(types, self.steps.last(), len) {
                    return Ok(None);
                }
                types.skip(elem).ok_or_else(|| format!("type [{elem}] is not there"))?
            }
            _ => return Ok(None),
        };
        self.deeper()?;
        self.push(Step { type_id: elem, index, name: None })?;
        self.add_elements(types, elem, index)?;
        Ok(Some(elem))
    }

    /// Finds a member by name, also in members that have none; answers its type.
    fn find_member(
        &mut self,
        compare: &Compare<'a>,
        local: &Step<'_>,
        name: &str,
        id: u32,
        tried: &mut hashbrown::HashSet<u32>,
    ) -> Result<Option<u32>, Broken> {
        let types = compare.target;
        let Some(id) = types.skip(id) else { return Ok(None) };
        // What is not in a type is not in it the second time; there may be very many ways to get there.
        if !matches!(types.kind(id), Some(Kind::Struct | Kind::Union)) || !tried.insert(id) {
            return Ok(None);
        }
        for (index, member) in types.members(id).enumerate() {
            compare.step()?;
            let (bit_off, depth) = (self.bit_off, self.depth);
            self.deeper()?;
            self.bit_off = bit_off.wrapping_add(u64::from(member.bit_off));
            if member.name.is_empty() {
                let found = self.find_member(compare, local, name, member.type_id, tried)?;
                if found.is_some() {
                    return Ok(found);
                }
            } else if member.name == name {
                let wanted = compare.local.member(local.type_id, local.index);
                let wanted = wanted.ok_or_else(|| format!("type [{}] has no such member", local.type_id))?;
                if !compare.fields_compatible(wanted.type_id, member.type_id)? {
                    return Ok(None);
                }
                self.push(Step { type_id: id, index: index as u32, name: Some(member.name) })?;
                return Ok(Some(member.type_id));
            }
            (self.bit_off, self.depth) = (bit_off, depth);
        }
        Ok(None)
    }

    fn add_elements(&mut self, types: Types<'_>, elem: u32, index: u32) -> Result<(), Broken> {
        let size = types.size(elem).ok_or_else(|| format!("type [{elem}] has no size"))?;
        let bits = size.checked_mul(u64::from(index)).and_then(|bytes| bytes.checked_mul(8));
        let off = bits.and_then(|bits| self.bit_off.checked_add(bits)).filter(|bits| *bits <= MAX_BIT_OFF);
        self.bit_off = off.ok_or_else(|| "the offset does not fit in 32 bits".to_owned())?;
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), Broken> {
        if self.depth >= MAX_CORE_SPEC_LEN {
            return Err(format!("an access more than {MAX_CORE_SPEC_LEN} deep"));
        }
        self.depth += 1;
        Ok(())
    }

    fn push(&mut self, step: Step<'a>) -> Result<(), Broken> {
        if self.steps.len() >= MAX_CORE_SPEC_LEN {
            return Err(format!("an access more than {MAX_CORE_SPEC_LEN} deep"));
        }
        self.steps.push(step);
        Ok(())
    }
}

/// An array without a length at the end of a structure: any index is inside.
fn is_flexible(types: Types<'_>, before: Option<&Step<'_>>, len: u32) -> bool {
    let Some(Step { type_id, index, name: Some(_) }) = before else { return false };
    len == 0 && types.len(*type_id).checked_sub(1) == Some(*index)
}
