//! The engines: each loads a program its way and runs it on its inputs.

mod kernel;
mod mimic;
mod native;
#[cfg(feature = "peers")]
mod rbpf;
#[cfg(feature = "peers")]
mod wasmi;
#[cfg(feature = "peers")]
mod wasmtime;

pub(crate) use mimic::link;
#[cfg(feature = "peers")]
pub(crate) use rbpf::task as rbpf_task;

use crate::options::Options;
use crate::program::Program;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A program in an engine, ready to run. Whatever a run needs and can be made before is made.
pub(crate) trait Engine {
    /// Runs the program on each of its inputs, `times` times; how long that took.
    fn run(&mut self, times: u32) -> Duration;

    /// What it answers for each input.
    fn results(&mut self) -> Result<Vec<u64>, String>;

    /// The bits of a result that this engine can show.
    fn result_mask(&self) -> u64 {
        u64::MAX
    }
}

/// An engine by name, or why it cannot run the program.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) engine: Result<Box<dyn Engine>, String>,
}

/// A way to load a program.
type Load = fn(&Program, &Options) -> Result<Box<dyn Engine>, String>;

/// All engines, by the names that reports use. Native code goes first.
const ENGINES: &[(&str, Load)] = &[
    ("native", native::load),
    ("mimic-interp", mimic::interp),
    ("mimic-jit", mimic::jit),
    ("mimic-jit-precise", mimic::jit_precise),
    #[cfg(feature = "peers")]
    ("rbpf-interp", rbpf::interp),
    #[cfg(feature = "peers")]
    ("rbpf-jit", rbpf::jit),
    #[cfg(feature = "peers")]
    ("rbpf-cranelift", rbpf::cranelift),
    #[cfg(feature = "peers")]
    ("wasmi", wasmi::load),
    #[cfg(feature = "peers")]
    ("wasmtime", wasmtime::load),
    ("kernel-jit", kernel::load),
];

/// All engines that were asked for, on a program.
pub(crate) fn all(program: &Program, options: &Options) -> Result<Vec<Named>, String> {
    let wanted = |(name, _): &&(&'static str, Load)| *name == "native" || options.wants_engine(name);
    Ok(ENGINES
        .iter()
        .filter(wanted)
        .map(|(name, load)| Named { name, engine: load(program, options) })
        .collect())
}

/// A program as a function of its input's offset and length in the engine's memory.
trait Function {
    /// Runs it.
    fn call(&mut self, off: u32, len: u32) -> Result<u64, String>;
}

/// A function and the inputs to run it on.
struct OnInputs<F> {
    function: F,
    inputs: Vec<(u32, u32)>,
}

fn on_inputs<F: Function + 'static>(function: F, program: &Program) -> Box<dyn Engine> {
    Box::new(OnInputs { function, inputs: program.inputs.clone() })
}

impl<F: Function> Engine for OnInputs<F> {
    fn run(&mut self, times: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            for &(off, len) in &self.inputs {
                black_box(self.function.call(off, len).expect("it ran before"));
            }
        }
        start.elapsed()
    }

    fn results(&mut self) -> Result<Vec<u64>, String> {
        self.inputs.iter().map(|&(off, len)| self.function.call(off, len)).collect()
    }
}
