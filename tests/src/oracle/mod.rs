//! What a program of a fixture did, in the kernel or in mimic, in one form for both: to record, to compare, to explain.

mod command;
mod fixtures;
mod inputs;
mod json;
mod known;
mod mimic;
mod packets;
mod scenario;

pub use command::TestRunCommand;
pub use fixtures::{Fixture, fixture_files};
pub use inputs::{Input, inputs};
pub use known::{Known, KnownList};
pub(crate) use mimic::run as run_in_mimic;
pub use packets::{Packet, packets};
pub use scenario::{Preset, Scenario};

/// All that came of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRecord {
    /// How many CPUs per-CPU values are for.
    pub cpus: u32,
    /// Its programs, in the object's order.
    pub programs: Vec<ProgramRecord>,
}

/// What came of one program: it was loaded, freshly with its object, run on one input after another, and the maps were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Its name.
    pub name: String,
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// What loading answered: 0 or an errno. Nothing was run then.
    pub load: i32,
    /// What mimic could not do; never there for the kernel.
    pub problem: Option<String>,
    /// The runs, in order.
    pub runs: Vec<RunRecord>,
    /// The object's maps afterwards, in the object's order, but for constants.
    pub maps: Vec<MapRecord>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRecord {
    /// The input's name.
    pub input: String,
    /// 0 or an errno.
    pub errno: i32,
    /// r0's low half.
    pub retval: u32,
    /// The packet afterwards; `None` when it is as it was.
    pub data_out: Option<Vec<u8>>,
    /// The context afterwards; `None` when the type hands none back.
    pub ctx_out: Option<Vec<u8>>,
    /// What mimic could not do; never there for the kernel.
    pub problem: Option<String>,
}

/// A map afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRecord {
    /// Its name.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Keys and values. Arrays: without the entries that are all zero. Hashes: by rising key. Queues and stacks: in the order
    /// of pop, keys empty. Ring buffers: the records, keys empty. Maps of maps and programs: whether a slot is filled.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Something that differs between two records of the same object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `program/udp/retval`, `program/map/counters`.
    pub path: String,
    /// What the kernel says.
    pub kernel: String,
    /// What mimic says.
    pub mimic: String,
}

impl ObjectRecord {
    /// All differences from what mimic did.
    pub fn differences(&self, mimic: &ObjectRecord) -> Vec<Difference> {
        let mut differences = Differences::default();
        for theirs in &self.programs {
            match mimic.programs.iter().find(|ours| ours.name == theirs.name) {
                Some(ours) => differences.program(theirs, ours),
                None => differences.add(&theirs.name, "a program", "no such program"),
            }
        }
        for ours in &mimic.programs {
            if !self.programs.iter().any(|theirs| theirs.name == ours.name) {
                differences.add(&ours.name, "no such program", "a program");
            }
        }
        differences.found
    }
}

#[derive(Default)]
struct Differences {
    found: Vec<Difference>,
}

impl Differences {
    fn program(&mut self, kernel: &ProgramRecord, mimic: &ProgramRecord) {
        let name = &kernel.name;
        self.compare(&format!("{name}/prog_type"), &kernel.prog_type, &mimic.prog_type);
        if let Some(problem) = &mimic.problem {
            return self.add(&format!("{name}/problem"), "none", problem);
        }
        self.compare(&format!("{name}/load"), &kernel.load, &mimic.load);
        if kernel.load != 0 || mimic.load != 0 {
            return;
        }
        for (theirs, ours) in kernel.runs.iter().zip(&mimic.runs) {
            let at = format!("{name}/{}", theirs.input);
            if let Some(problem) = &ours.problem {
                self.add(
                    &format!("{at}/problem"),
                    format!("errno {}, retval {}", theirs.errno, theirs.retval),
                    problem,
                );
                continue;
            }
            self.compare(&format!("{at}/errno"), &theirs.errno, &ours.errno);
            self.compare(&format!("{at}/retval"), &theirs.retval, &ours.retval);
            self.compare_bytes(&format!("{at}/data_out"), &theirs.data_out, &ours.data_out);
            self.compare_bytes(&format!("{at}/ctx_out"), &theirs.ctx_out, &ours.ctx_out);
        }
        self.compare(&format!("{name}/runs"), &kernel.runs.len(), &mimic.runs.len());
        for theirs in &kernel.maps {
            let at = format!("{name}/map/{}", theirs.name);
            match mimic.maps.iter().find(|ours| ours.name == theirs.name) {
                Some(ours) => self.map(&at, theirs, ours),
                None => self.add(&at, "a map", "no such map"),
            }
        }
    }

    fn map(&mut self, at: &str, kernel: &MapRecord, mimic: &MapRecord) {
        self.compare(&format!("{at}/type"), &kernel.map_type, &mimic.map_type);
        if kernel.entries != mimic.entries {
            let only = |these: &MapRecord, those: &MapRecord| {
                let text =
                    |(key, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", json::hex(key), json::hex(value));
                let missing = these.entries.iter().filter(|entry| !those.entries.contains(entry));
                let missing: Vec<String> = missing.map(text).collect();
                if missing.is_empty() {
                    "the same in another order or number".into()
                } else {
                    missing.join(" ")
                }
            };
            self.add(at, only(kernel, mimic), only(mimic, kernel));
        }
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, kernel: &T, mimic: &T) {
        if kernel != mimic {
            self.add(path, format!("{kernel:?}"), format!("{mimic:?}"));
        }
    }

    fn compare_bytes(&mut self, path: &str, kernel: &Option<Vec<u8>>, mimic: &Option<Vec<u8>>) {
        if kernel != mimic {
            let text =
                |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("none".into(), |bytes| json::hex(bytes));
            self.add(path, text(kernel), text(mimic));
        }
    }

    fn add(&mut self, path: &str, kernel: impl Into<String>, mimic: impl Into<String>) {
        self.found.push(Difference { path: path.into(), kernel: kernel.into(), mimic: mimic.into() });
    }
}
