//! Loading: from linked programs and map specs to what a VM runs.

use crate::op::{Ops, TranslateError};
use crate::program::{HelperRef, LoadedProgram};
use crate::vm::Vm;
use mimic_abi::{ByteOrder, Callee};
use mimic_object::Program;
use std::sync::Arc;

/// stub
#[derive(Debug)]
pub enum LoadError { /// t
    Translate(TranslateError), /// x
    Full(u32) }
/// stub
pub struct Loaded;

impl Vm {
    /// Adds a linked program whose references are resolved.
    pub fn add(self: &Arc<Vm>, linked: Program) -> Result<Arc<LoadedProgram>, LoadError> {
        self.add_program(LoadError::Full, |id| {
            let mut helpers: Vec<HelperRef> = Vec::new();
            let find = |_pc, callee| {
                let Callee::Helper(n) = callee else { return None };
                helpers.push(self.helper_ref(n)?);
                Some(helpers.len() as u32 - 1)
            };
            let ops = Ops::translate(&linked.code, self.memory().order() == ByteOrder::Big, self.memory().hygiene() != crate::Hygiene::Poison, find).map_err(LoadError::Translate)?;
            Ok(LoadedProgram { id, name: linked.name.as_str().into(), code: linked.code.clone().into(), linked, ops, helpers: helpers.into(), maps: [].into(), exception_callback: None })
        })
    }
}
