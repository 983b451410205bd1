//! When a local type and a target's are the same thing: the three comparisons of CO-RE.
//!
//! `fields_compatible` for the type of an accessed field, `types_compatible` for records about types (and for kernel symbols and
//! functions), `types_match` for the strict `bpf_core_type_matches`. The rules are libbpf's documented ones.

use std::cell::Cell;

use crate::limits::{MAX_COMPARE_STEPS, MAX_TYPE_DEPTH};
use crate::types::{Kind, Types, essential_name};

/// A comparison of types of two BTFs.
pub(crate) struct Compare<'a> {
    pub(crate) local: Types<'a>,
    pub(crate) target: Types<'a>,
    /// Types may refer to each other in ways that take exponential time.
    steps: Cell<u32>,
}

/// Why two types cannot be compared.
pub(crate) type Broken = String;

impl<'a> Compare<'a> {
    pub(crate) fn new(local: Types<'a>, target: Types<'a>) -> Compare<'a> {
        Compare { local, target, steps: Cell::new(MAX_COMPARE_STEPS) }
    }

    /// Takes note of a step of work.
    pub(crate) fn step(&self) -> Result<(), Broken> {
        match self.steps.get().checked_sub(1) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(format!("comparing types takes more than {MAX_COMPARE_STEPS} steps")),
        }
    }

    fn kinds(&self, local: u32, target: u32) -> Result<(u32, Kind, u32, Kind), Broken> {
        let missing = |id: u32| format!("type [{id}] is not there, or refers to itself");
        let (local_id, target_id) = (self.local.skip(local), self.target.skip(target));
        let local_id = local_id.ok_or_else(|| missing(local))?;
        let target_id = target_id.ok_or_else(|| missing(target))?;
        let local_kind = self.local.kind(local_id).ok_or_else(|| missing(local_id))?;
        let target_kind = self.target.kind(target_id).ok_or_else(|| missing(target_id))?;
        Ok((local_id, local_kind, target_id, target_kind))
    }

    /// Whether a field of the local type may stand for one of the target's.
    pub(crate) fn fields_compatible(&self, mut local: u32, mut target: u32) -> Result<bool, Broken> {
        for _ in 0..MAX_TYPE_DEPTH {
            let (local_id, local_kind, target_id, target_kind) = self.kinds(local, target)?;
            return Ok(match (local_kind, target_kind) {
                (Kind::Struct | Kind::Union, Kind::Struct | Kind::Union) => true,
                (Kind::Ptr { .. }, Kind::Ptr { .. }) | (Kind::Float, Kind::Float) => true,
                (Kind::Int { bit_off: 0, .. }, Kind::Int { bit_off: 0, .. }) => true,
                (Kind::Fwd { .. }, Kind::Fwd { .. }) | (Kind::Enum { .. }, Kind::Enum { .. }) => {
                    let local = essential_name(self.local.name(local_id));
                    let target = essential_name(self.target.name(target_id));
                    local.is_empty() || target.is_empty() || local == target
                }
                (Kind::Array { elem: local_elem, .. }, Kind::Array { elem: target_elem, .. }) => {
                    (local, target) = (local_elem, target_elem);
                    continue;
                }
                _ => false,
            });
        }
        Err(too_deep())
    }

    /// Whether two types, whose names were compared already, are of one kind all the way down; names below the root don't count.
    pub(crate) fn types_compatible(&self, local: u32, target: u32) -> Result<bool, Broken> {
        match self.local.kind(local).zip(self.target.kind(target)) {
            Some((local_kind, target_kind)) if !same_kind(local_kind, target_kind) => Ok(false),
            Some(_) | None => self.compatible(local, target, MAX_TYPE_DEPTH),
        }
    }

    fn compatible(&self, mut local: u32, mut target: u32, level: usize) -> Result<bool, Broken> {
        for _ in 0..MAX_TYPE_DEPTH {
            self.step()?;
            let (local_id, local_kind, target_id, target_kind) = self.kinds(local, target)?;
            if !same_kind(local_kind, target_kind) {
                return Ok(false);
            }
            (local, target) = match (local_kind, target_kind) {
                (Kind::Int { bit_off: local_off, .. }, Kind::Int { bit_off: target_off, .. }) => {
                    return Ok(local_off == 0 && target_off == 0);
                }
                (Kind::Ptr { to: local_to }, Kind::Ptr { to: target_to }) => (local_to, target_to),
                (Kind::Array { elem: local_elem, .. }, Kind::Array { elem: target_elem, .. }) => {
                    (local_elem, target_elem)
                }
                (Kind::FuncProto { ret: local_ret }, Kind::FuncProto { ret: target_ret }) => {
                    let level = level.checked_sub(1).ok_or_else(too_deep)?;
                    if self.local.len(local_id) != self.target.len(target_id) {
                        return Ok(false);
                    }
                    let targets = self.target.params(target_id);
                    for (local_param, target_param) in self.local.params(local_id).zip(targets) {
                        if !self.compatible(local_param, target_param, level)? {
                            return Ok(false);
                        }
                    }
                    (local_ret, target_ret)
                }
                (Kind::Float | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec | Kind::DeclTag, _) => {
                    return Ok(false);
                }
                _ => return Ok(true),
            };
        }
        Err(too_deep())
    }

    /// Whether the target's type has all that the local one has, by name, kind, size and signedness.
    pub(crate) fn types_match(&self, local: u32, target: u32) -> Result<bool, Broken> {
        self.matches(local, target, false, MAX_TYPE_DEPTH)
    }

    fn matches(
        &self,
        mut local: u32,
        mut target: u32,
        mut behind_ptr: bool,
        level: usize,
    ) -> Result<bool, Broken> {
        if level == 0 {
            return Err(too_deep());
        }
        for _ in 0..MAX_TYPE_DEPTH {
            self.step()?;
            let (local_id, local_kind, target_id, target_kind) = self.kinds(local, target)?;
            if !self.names_match(self.local.name(local_id), self.target.name(target_id)) {
                return Ok(false);
            }
            (local, target) = match (local_kind, target_kind) {
                (Kind::Void, other) => return Ok(other == Kind::Void),
                (Kind::Fwd { union }, Kind::Fwd { union: other }) => return Ok(union == other),
                (Kind::Fwd { union }, Kind::Struct) => return Ok(behind_ptr && !union),
                (Kind::Fwd { union }, Kind::Union) => return Ok(behind_ptr && union),
                (Kind::Struct, Kind::Fwd { union }) => return Ok(behind_ptr && !union),
                (Kind::Union, Kind::Fwd { union }) => return Ok(behind_ptr && union),
                (Kind::Enum { size, .. }, Kind::Enum { size: other, .. }) => {
                    return Ok(size == other && self.enumerators_match(local_id, target_id)?);
                }
                (Kind::Struct, Kind::Struct) | (Kind::Union, Kind::Union) => {
                    return Ok(behind_ptr || self.members_match(local_id, target_id, level)?);
                }
                (
                    Kind::Int { size, signed, .. },
                    Kind::Int { size: target_size, signed: target_signed, .. },
                ) => {
                    return Ok((size, signed) == (target_size, target_signed));
                }
                (Kind::Ptr { to: local_to }, Kind::Ptr { to: target_to }) => {
                    behind_ptr = true;
                    (local_to, target_to)
                }
                (Kind::Array { elem, len }, Kind::Array { elem: target_elem, len: target_len }) => {
                    if len != target_len {
                        return Ok(false);
                    }
                    (elem, target_elem)
                }
                (Kind::FuncProto { ret }, Kind::FuncProto { ret: target_ret }) => {
                    if !self.params_match(local_id, target_id, behind_ptr, level)? {
                        return Ok(false);
                    }
                    (ret, target_ret)
                }
                _ => return Ok(false),
            };
        }
        Err(too_deep())
    }

    fn params_match(&self, local: u32, target: u32, behind_ptr: bool, level: usize) -> Result<bool, Broken> {
        if self.local.len(local) != self.target.len(target) {
            return Ok(false);
        }
        for (local, target) in self.local.params(local).zip(self.target.params(target)) {
            if !self.matches(local, target, behind_ptr, level - 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn members_match(&self, local: u32, target: u32, level: usize) -> Result<bool, Broken> {
        if self.local.len(local) > self.target.len(target) {
            return Ok(false);
        }
        for member in self.local.members(local) {
            let mut matched = false;
            for candidate in self.target.members(target) {
                self.step()?;
                if self.names_match(member.name, candidate.name)
                    && self.matches(member.type_id, candidate.type_id, false, level - 1)?
                {
                    matched = true;
                    break;
                }
            }
            if !matched {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn enumerators_match(&self, local: u32, target: u32) -> Result<bool, Broken> {
        if self.local.len(local) > self.target.len(target) {
            return Ok(false);
        }
        for (name, _) in self.local.enumerators(local) {
            let mut matched = false;
            for (candidate, _) in self.target.enumerators(target) {
                self.step()?;
                if self.names_match(name, candidate) {
                    matched = true;
                    break;
                }
            }
            if !matched {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names are the same, flavours (`___x`) aside.
    fn names_match(&self, local: &str, target: &str) -> bool {
        match target.is_empty() {
            true => local.is_empty(),
            false => essential_name(local) == essential_name(target),
        }
    }
}

/// Of one kind, enumerations of 32 and 64 bits being one.
pub(crate) fn same_kind(local: Kind, target: Kind) -> bool {
    std::mem::discriminant(&local) == std::mem::discriminant(&target)
}

fn too_deep() -> Broken {
    format!("the types are nested more than {MAX_TYPE_DEPTH} deep")
}
