//! `--record`: each run as a captured context in a file, written as they come.

use crate::{Done, Failure};
use mimic::ctx::{Ctx, Recorder};
use mimic::linux::World;
use mimic::{Loaded, Runner, Verdict};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A context file that is being written: an array, a context a line.
pub(crate) struct Recording {
    recorder: Recorder,
    name: String,
    to: BufWriter<Box<dyn Write>>,
    world: World,
    maps: Option<serde_json::Value>,
    count: u64,
}

impl Recording {
    /// Begins a file, with what the maps hold now.
    pub(crate) fn new(path: &Path, loaded: &Loaded, world: World) -> Result<Recording, Failure> {
        let name = path.display().to_string();
        let to: Box<dyn Write> = match name.as_str() {
            "-" => Box::new(std::io::stdout()),
            _ => Box::new(File::create(path).map_err(|error| named(&name, &error))?),
        };
        let maps = Some(loaded.save_json()?);
        Ok(Recording { recorder: Recorder::default(), name, to: BufWriter::new(to), world, maps, count: 0 })
    }

    /// Makes all processes of a runner tell what they call.
    pub(crate) fn watch(&self, runner: &mut Runner<'_>) {
        for process in runner.processes() {
            process.set_hook(Some(self.recorder.hook()));
        }
    }

    /// What notes the calls of one run.
    pub(crate) fn hook(&self) -> Box<dyn mimic::vm::Hook> {
        self.recorder.hook()
    }

    /// Adds a run of a program that got `sub`.
    pub(crate) fn put(&mut self, sub: Ctx, time_ns: Option<u64>, verdict: &Verdict) -> Done {
        let mut ctx = self.recorder.take(sub).map_err(|what| named(&self.name, &what))?;
        ctx.pin_world(&self.world);
        if let Some(captured) = ctx.captured_mut() {
            captured.time_ns = time_ns;
            captured.maps = self.maps.take();
            captured.returned = match verdict {
                Verdict::Returned(retval, _) => Some(*retval),
                Verdict::Faulted(_) | Verdict::Refused(_) => None,
            };
        }
        let before = if self.count == 0 { "[\n" } else { ",\n" };
        self.count += 1;
        let written = write!(self.to, "{before}{}", ctx.to_json());
        written.map_err(|error| named(&self.name, &error))
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Done {
        let before = if self.count == 0 { "[" } else { "" };
        let written = writeln!(self.to, "{before}\n]").and_then(|()| self.to.flush());
        written.map_err(|error| named(&self.name, &error))
    }
}

fn named(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Input(format!("--record {name}: {error}"))
}
