//! `Loaded`: an object in a VM: its programs, ready to run, and its maps.

use crate::error::{Error, ResultExt};
use crate::map::MapHandle;
use crate::struct_ops::StructOpsHandle;
use mimic_linux::Linux;
use mimic_linux::progs::{IterError, IterLink, IterOut, ProgramTracer, run_iter};
use mimic_object::{MapSpec, Object, Program, Target};
use mimic_vm::{Checks, Context, Engine, LoadedProgram, MapRef, Outcome, Process, Vm};
use std::sync::Arc;

/// Loads objects: `vm.load(&object)`.
pub trait LoadExt {
    /// Makes the object's maps, links its programs for a kernel of the baseline release whose types are those that the object was
    /// compiled with, and adds them.
    fn load(&self, object: &Object) -> Result<Loaded, Error> {
        self.load_for(object, &Target { btf: object.btf.clone(), ..Target::default() })
    }

    /// The same for this target. A program that cannot be linked does not keep the others from running: asking for it tells why.
    fn load_for(&self, object: &Object, target: &Target) -> Result<Loaded, Error>;
}

/// An object in a VM.
pub struct Loaded {
    vm: Arc<Vm>,
    object: Object,
    specs: Vec<MapSpec>,
    maps: Vec<Arc<MapRef>>,
    programs: Vec<Arc<LoadedProgram>>,
    refused: Vec<(String, Arc<Error>)>,
}

impl LoadExt for Arc<Vm> {
    fn load_for(&self, object: &Object, target: &Target) -> Result<Loaded, Error> {
        if let (Some(btf), Some(linux)) = (&target.btf, self.emulator_as::<Linux>()) {
            linux.offer_btf(btf);
        }
        let specs = object.maps_for(target)?;
        let maps = self.load_maps(&specs)?;
        let (mut programs, mut refused) = (Vec::new(), Vec::new());
        for spec in &object.programs {
            let linked = object.link_spec(spec, target).map_err(Error::from);
            match linked.and_then(|linked: Program| Ok(self.add(linked, &maps)?)) {
                Ok(program) => programs.push(program),
                Err(error) => refused.push((spec.name.clone(), Arc::new(error))),
            }
        }
        self.fill_program_slots(&specs, &maps, &programs)?;
        Ok(Loaded { vm: self.clone(), object: object.clone(), specs, maps, programs, refused })
    }
}

impl Loaded {
    /// The VM.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// The object that was loaded.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The programs that can run, in the object's order.
    pub fn programs(&self) -> impl Iterator<Item = Runnable<'_>> {
        self.programs.iter().map(|program| Runnable { loaded: self, program })
    }

    /// The programs that cannot, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.refused.iter().map(|(name, error)| (name.as_str(), &**error))
    }

    /// The program of this name.
    pub fn program(&self, name: &str) -> Result<Runnable<'_>, Error> {
        if let Some(program) = self.programs().find(|program| **program.program.name() == *name) {
            return Ok(program);
        }
        if let Some((_, error)) = self.refused().find(|(refused, _)| *refused == name) {
            return Err(
                Error::usage(error.to_string()).context(format!("program {name} could not be loaded"))
            );
        }
        let names: Vec<&str> = self.object.programs.iter().map(|spec| spec.name.as_str()).collect();
        Err(Error::usage(format!("the object has no program {name}; it has {}", names.join(", "))))
    }

    /// Puts the extension (`SEC("freplace/FUNC")`) of another object, or of this one, in the place of the function of a program that it names.
    ///
    /// Who holds the program already keeps it as it was; program arrays that the object fills hold the new one.
    ///
    /// # Errors
    /// The kernel would refuse it ([`mimic_object::ExtendError`]), or the objects are in different VMs.
    pub fn replace(&mut self, program: &str, extension: Runnable<'_>) -> Result<(), Error> {
        let with = extension.loaded;
        if !Arc::ptr_eq(&self.vm, &with.vm) {
            return Err(Error::usage("a program and its extension must be loaded into one VM"));
        }
        let maps = with.maps.clone();
        self.replace_by(program, extension.program.linked(), &maps)
    }

    /// The same with an extension of this object.
    pub fn replace_by_own(&mut self, program: &str, extension: &str) -> Result<(), Error> {
        let with = self.program(extension)?.program.linked().clone();
        let maps = self.maps[..self.specs.len()].to_vec();
        self.replace_by(program, &with, &maps)
    }

    fn replace_by(&mut self, program: &str, with: &Program, maps: &[Arc<MapRef>]) -> Result<(), Error> {
        let what = || format!("putting {} into {program}", with.name);
        let func = with.attach_to.as_deref();
        let func =
            func.ok_or_else(|| Error::usage("it names no function: SEC(\"freplace/FUNC\")")).context(what)?;
        let old = self.program(program)?.program.clone();
        // Maps that came with earlier extensions stay where they are.
        let replaced = old.linked().replace_func(func, with, self.maps.len());
        let replaced = replaced.map_err(|error| Error::usage(error.to_string())).context(what)?;
        self.maps.extend_from_slice(maps);
        let new = self.vm.add(replaced, &self.maps)?;
        self.programs
            .iter_mut()
            .filter(|known| known.id() == old.id())
            .for_each(|known| *known = new.clone());
        self.vm.fill_program_slots(&self.specs, &self.maps, &self.programs)?;
        Ok(())
    }

    /// A table of operations of this name (`SEC(".struct_ops")`), with a map of its own that begins in the state `INIT`.
    pub fn struct_ops(&self, name: &str) -> Result<StructOpsHandle<'_>, Error> {
        match self.object.struct_ops.iter().find(|ops| ops.name == name) {
            Some(ops) => StructOpsHandle::new(self, ops),
            None => {
                let names: Vec<&str> = self.object.struct_ops.iter().map(|ops| ops.name.as_str()).collect();
                Err(Error::usage(format!(
                    "the object has no table of operations {name}; it has {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// The fields of kernel structures that programs look at, of structures that a run came to, and that the world does not state:
    /// `task_struct.se.vruntime`. They read as zero.
    pub fn unstated_fields(&self) -> Vec<String> {
        let Some(linux) = self.vm.emulator_as::<Linux>() else { return Vec::new() };
        let stated = linux.stated_members();
        let is_made = |name: &str| stated.iter().any(|(known, _)| *known == name);
        // What holds a stated member, or lies in one, is stated.
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let is_stated = |name: &str, path: &str| {
            let of_struct = stated.iter().filter(|(known, _)| *known == name);
            of_struct.into_iter().any(|(_, known)| holds(known, path) || holds(path, known))
        };
        let fields = self.object.core_fields().into_iter();
        let unstated = fields.filter(|(name, path)| is_made(name) && !is_stated(name, path));
        unstated.map(|(name, path)| format!("{name}.{path}")).collect()
    }

    /// The maps, in the object's order.
    pub fn maps(&self) -> impl Iterator<Item = MapHandle<'_>> {
        self.specs.iter().zip(&self.maps).map(|(spec, map)| MapHandle::new(self, spec, map))
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Result<MapHandle<'_>, Error> {
        self.maps().find(|map| map.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.object.maps.iter().map(|spec| spec.name.as_str()).collect();
            Error::usage(format!("the object has no map {name}; it has {}", names.join(", ")))
        })
    }
}

/// A program that can be run.
#[derive(Clone, Copy)]
pub struct Runnable<'a> {
    loaded: &'a Loaded,
    program: &'a Arc<LoadedProgram>,
}

impl<'a> Runnable<'a> {
    /// What it was loaded with.
    pub fn loaded(&self) -> &'a Loaded {
        self.loaded
    }

    /// The program.
    pub fn program(&self) -> &'a Arc<LoadedProgram> {
        self.program
    }

    /// A process for it on CPU 0, to run it many times.
    pub fn process(&self) -> Result<Process, Error> {
        self.process_on(0)
    }

    /// A process for it on a virtual CPU.
    pub fn process_on(&self, cpu: u32) -> Result<Process, Error> {
        Ok(self.loaded.vm.process(self.program, cpu)?)
    }

    /// Runs it once. The context is given back with the results in it.
    pub fn run<C: Context>(&self, mut context: C) -> Result<Run<C>, Error> {
        let outcome =
            self.process()?.run(&mut context).context(|| format!("program {}", self.program.name()))?;
        Ok(Run { outcome, context })
    }

    /// Runs it once with programs around it and its functions: fentry and fexit programs of the same VM, each at the function that its section
    /// names. The interpreter runs it.
    pub fn run_traced<C: Context>(&self, mut context: C, tracers: &[Runnable<'_>]) -> Result<Run<C>, Error> {
        let what = || format!("program {}", self.program.name());
        let processes = tracers.iter().map(Runnable::process).collect::<Result<_, _>>()?;
        let tracer = ProgramTracer::new(&self.loaded.vm, self.program, processes);
        let mut tracer = tracer.map_err(|error| Error::usage(error.to_string())).context(what)?;
        let mut process = self.process()?;
        process.set_engine(Engine::Interp, Checks::default());
        let outcome = tracer.run(&mut process, &mut context).context(what)?;
        Ok(Run { outcome, context })
    }

    /// What a user reads from the file of this iterator program, to its end.
    pub fn iterate(&self, link: &IterLink) -> Result<IterOut, Error> {
        let out = run_iter(&mut self.process()?, link);
        out.map_err(|error| match error {
            IterError::Run(error) => error.into(),
            IterError::Target(_) => Error::usage(error.to_string()),
        })
        .context(|| format!("program {}", self.program.name()))
    }

    /// A process with the context entered, to be stepped.
    pub fn spawn<C: Context>(&self, context: C) -> Result<Process, Error> {
        let mut process = self.process()?;
        process.start(Box::new(context)).map_err(mimic_vm::RunError::Context)?;
        Ok(process)
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run<C> {
    /// r0, instructions.
    pub outcome: Outcome,
    /// The context, with the results in it.
    pub context: C,
}
