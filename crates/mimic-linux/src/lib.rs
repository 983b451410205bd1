//! The Linux eBPF subsystem for mimic: helpers, maps, program types and their contexts, over a `World` that a test states.
//!
//! **This crate knows no files, sockets, terminals or JSON.** With one CPU scheduler, a seed and the virtual clock a run repeats bit for
//! bit. "As Linux does" means 6.18, and is compared with the real kernel in the project's tests.
#![forbid(unsafe_code)]

pub mod helpers;
pub mod maps;
pub mod progs;
mod world;

pub use world::World;

use mimic_abi::Size;
use mimic_object::MapSpec;
use mimic_vm::{Call, Emulator, Helper, HelperResult, Map, MapEnv, MapError, Trap};
use std::sync::Arc;

/// Linux, emulated: give it to `Vm::builder`.
#[derive(Default)]
pub struct Linux {
    world: World,
}

impl Linux {
    /// Linux in this world.
    pub fn new(world: World) -> Linux {
        Linux { world }
    }

    /// What programs and helpers see around them.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The Linux that a helper was called in.
    ///
    /// # Panics
    /// If the VM's emulator is another: Linux's helpers are only ever reached through `Linux`.
    pub fn of<'a>(call: &Call<'a>) -> &'a Linux {
        call.emulator().expect("Linux's helpers are called in Linux")
    }
}

impl Emulator for Linux {
    fn helper(&self, id: u32) -> Option<&Helper> {
        helpers::by_id(id)
    }

    fn helpers(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(helpers::all().map(|row| row as &Helper))
    }

    fn create_map(&self, spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, MapError> {
        maps::create(spec, env)
    }

    fn packet_load(&self, call: &mut Call<'_>, off: i64, size: Size) -> HelperResult {
        progs::packet_load(call, off, size)
    }

    fn run_ended(&self, call: &mut Call<'_>) -> Result<(), Trap> {
        let _ = call;
        Ok(())
    }
}
