//! `Probe`: watches a run, instruction by instruction. Costs nothing when absent.

use crate::memory::View;
use crate::program::LoadedProgram;
use std::sync::Arc;

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Run on.
    Go,
    /// Pause before this instruction; the process can be stepped or run on later.
    Stop,
}

/// Watches a run. Interpreter only.
pub trait Probe {
    /// Whether it wants to look at all; the loop is compiled without it otherwise.
    const ACTIVE: bool = true;

    /// Called before each instruction.
    fn insn(&mut self, at: &At<'_>) -> Flow;
}

/// No probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    const ACTIVE: bool = false;

    fn insn(&mut self, _at: &At<'_>) -> Flow {
        Flow::Go
    }
}

/// A process between two instructions.
pub struct At<'a> {
    /// r0 to r10.
    pub regs: &'a [u64; 11],
    /// The slot of the instruction that is next.
    pub pc: u32,
    /// The program that it belongs to.
    pub program: &'a Arc<LoadedProgram>,
    /// Frames of callers; 0 in the main function.
    pub depth: usize,
    /// The virtual CPU.
    pub cpu: u32,
    /// Guest memory.
    pub view: &'a View,
}
