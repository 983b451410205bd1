//! wasmi on the same C, compiled to wasm.

use super::{Engine, Function, on_inputs};
use crate::options::Options;
use crate::program::Program;
use wasmi::{Instance, Memory, Module, Store, TypedFunc};

const PAGE_LEN: u32 = 1 << 16;

struct Wasm {
    store: Store<()>,
    function: TypedFunc<(u32, u64), u64>,
    /// Where the program's memory begins in the instance's.
    base: u32,
}

/// Compiles the module and puts the input into its memory.
pub(crate) fn load(program: &Program, _options: &Options) -> Result<Box<dyn Engine>, String> {
    let engine = wasmi::Engine::default();
    let module = Module::new(&engine, program.wasm).map_err(|error| error.to_string())?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).map_err(|error| error.to_string())?;
    let memory: Memory = instance.get_memory(&mut store, "memory").ok_or("it exports no memory")?;
    let pages = (program.memory.len() as u64).div_ceil(u64::from(PAGE_LEN));
    let base = memory.grow(&mut store, pages).map_err(|error| error.to_string())? as u32 * PAGE_LEN;
    memory.write(&mut store, base as usize, &program.memory).map_err(|error| error.to_string())?;
    let function = instance.get_typed_func(&mut store, program.name).map_err(|error| error.to_string())?;
    Ok(on_inputs(Wasm { store, function, base }, program))
}

impl Function for Wasm {
    #[inline(always)]
    fn call(&mut self, off: u32, len: u32) -> Result<u64, String> {
        let result = self.function.call(&mut self.store, (self.base + off, u64::from(len)));
        result.map_err(|error| error.to_string())
    }
}
