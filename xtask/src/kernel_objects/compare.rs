//! Runs the programs of objects in both and compares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mimic::abi::btf::Btf;
use mimic::abi::{Callee, Insn, ProgType};
use mimic::object::{Program, Target};
use mimic_tests::engines::ENGINES;
use mimic_tests::kernel::{Kernel, Parts, possible_cpus};
use mimic_tests::oracle::{
    Difference, Fixture, KnownList, ObjectRecord, ProgramRecord, Scenario, TestRunCommand,
};

use super::annotations::Annotations;
use super::tally::Tally;

/// What to compare, and what to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Also show what mimic says that it cannot do.
    pub(crate) all: bool,
    /// Link for the types that the object was compiled with, not for those of the running kernel.
    pub(crate) own_types: bool,
    /// The list of explained differences.
    pub(crate) known: Option<PathBuf>,
    /// Only programs of this name.
    pub(crate) only: Option<String>,
    /// Also compare each input alone with what this command answers.
    pub(crate) command: Option<TestRunCommand>,
    /// Random scenarios for each program, beside the standard inputs, and the seed of the first.
    pub(crate) scenarios: (u64, u64),
}

/// A comparison under way.
pub(crate) struct Comparison {
    kernel: Kernel,
    target: Target,
    known: KnownList,
    options: Options,
    tally: Tally,
}

/// Differences of a program that are shown.
const SHOWN: usize = 4;

/// Characters of a difference that are shown.
const SHOWN_LEN: usize = 1200;

/// What takes so long to load that random scenarios are not worth it.
const SLOW: Duration = Duration::from_secs(1);

/// The input whose answer `__retval` tells, for programs that take packets and for those that take none.
const RETVAL_INPUTS: [&str; 2] = ["zeros64", "nothing"];

impl Comparison {
    /// With the running kernel. The error says why it cannot be asked.
    pub(crate) fn new(options: Options) -> Result<Comparison, String> {
        let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
        let failed = |error: &dyn std::fmt::Display| format!("the kernel's BTF: {error}");
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|error| failed(&error))?;
        let btf = Btf::parse(btf).map_err(|error| failed(&error))?;
        let known = match &options.known {
            None => KnownList::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                KnownList::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        let target = Target { btf: Some(Arc::new(btf)), ..Target::default() };
        Ok(Comparison { kernel, target, known, options, tally: Tally::default() })
    }

    /// The counts so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Explanations that explained nothing, by their lines.
    pub(crate) fn stale(&self) -> Vec<usize> {
        self.known.stale().map(|known| known.line).collect()
    }

    /// Compares all programs of these objects, in an empty network namespace.
    pub(crate) fn objects(&mut self, paths: &[PathBuf]) {
        let kernel = self.kernel;
        kernel.in_empty_netns(|| paths.iter().for_each(|path| self.object(path)));
    }

    fn object(&mut self, path: &Path) {
        self.tally.objects += 1;
        let mut fixture = match Fixture::open_what_links(path, Some(&self.target)) {
            Ok(fixture) => fixture,
            Err(error) => return println!("{error}"),
        };
        let notes: Vec<Annotations> =
            fixture.programs.iter().map(|program| annotations(&fixture, program)).collect();
        for (program, notes) in fixture.programs.iter_mut().zip(&notes) {
            program.prog_flags |= notes.prog_flags;
        }
        let ours = match self.options.own_types {
            true => match Fixture::open_what_links(path, None) {
                Ok(ours) => ours,
                Err(error) => return println!("{error}"),
            },
            false => fixture.clone(),
        };
        let Ok(maps) = fixture.object.maps_for(&fixture.target) else { return };
        let programs: Vec<&Program> = fixture.programs.iter().collect();
        let parts = Parts { maps: &maps, programs: &programs, btf: fixture.object.btf.as_deref() };
        let before = self.tally.programs;
        let mut accepted: Vec<(&Program, bool)> = Vec::new();
        for (program, notes) in programs.iter().zip(&notes) {
            if self.options.only.as_ref().is_some_and(|only| *only != program.name) {
                continue;
            }
            if !can_run(program) {
                self.tally.left_out += 1;
                continue;
            }
            let prog_type = program.prog_type.map_or(0, ProgType::id);
            let started = Instant::now();
            if self.scenario(&parts, &ours, program, notes, &Scenario::standard(prog_type)) {
                accepted.push((program, started.elapsed() < SLOW));
            }
        }
        self.scenarios(&parts, &ours, &accepted);
        self.tally.objects_run += usize::from(self.tally.programs > before);
    }

    /// Compares programs in random scenarios: those that the kernel took, and that are not slow.
    fn scenarios(&mut self, parts: &Parts<'_>, ours: &Fixture, accepted: &[(&Program, bool)]) {
        let programs: Vec<&Program> = accepted.iter().map(|(program, _)| *program).collect();
        let (count, seed) = self.options.scenarios;
        for program in accepted.iter().filter(|(_, is_fast)| *is_fast).map(|(program, _)| *program) {
            let prog_type = program.prog_type.map_or(0, ProgType::id);
            for number in 0..count {
                let scenario = Scenario::random(seed.wrapping_add(number), prog_type, parts.maps, &programs);
                self.scenario(parts, ours, program, &Annotations::default(), &scenario);
            }
        }
    }

    /// Compares a program in a scenario; whether the kernel accepts it.
    fn scenario(
        &mut self,
        parts: &Parts<'_>,
        ours: &Fixture,
        program: &Program,
        notes: &Annotations,
        scenario: &Scenario,
    ) -> bool {
        let record = || self.kernel.record_scenario(parts, program, scenario);
        let (first, second) = match (record(), record()) {
            (Ok(first), Ok(second)) if first.load == 0 => (first, second),
            (first, _) => {
                self.refused(&ours.name, program, first);
                return false;
            }
        };
        let unstable = differences(&first, &second);
        let mut found: Vec<Difference> = Vec::new();
        for engine in ENGINES {
            let mimic = ours.record_scenario(program, possible_cpus() as u32, engine, scenario);
            if engine == ENGINES[0] {
                self.count_retval(notes, &first, &mimic);
            }
            for mut difference in differences(&first, &mimic) {
                if !found.iter().any(|other| other.path == difference.path) {
                    difference.mimic = format!("{} ({engine:?})", difference.mimic);
                    found.push(difference);
                }
            }
        }
        found.retain(|difference| !unstable.iter().any(|other| other.path == difference.path));
        self.tally.programs += 1;
        self.tally.runs += first.runs.len();
        self.judge(&ours.name, &first, found);
        if let Some(command) = self.options.command.clone() {
            scenario.split().for_each(|alone| self.alone(parts, ours, program, &command, &alone, &unstable));
        }
        true
    }

    /// Compares one run in a fresh kernel object with one of the command. What the kernel does not answer twice is known from the whole
    /// scenario, or is seen here.
    fn alone(
        &mut self,
        parts: &Parts<'_>,
        ours: &Fixture,
        program: &Program,
        command: &TestRunCommand,
        scenario: &Scenario,
        unstable: &[Difference],
    ) {
        let record =
            || self.kernel.record_scenario(parts, program, scenario).ok().filter(|record| record.load == 0);
        let Some(first) = record() else { return };
        let mut found = Vec::new();
        for engine in TestRunCommand::ENGINES {
            let mimic = command.record(&ours.path, &program.name, parts.maps, scenario, engine);
            found.extend(differences(&first, &ProgramRecord { prog_type: first.prog_type, ..mimic }));
        }
        if !found.is_empty() {
            let again = record().map(|second| differences(&first, &second)).unwrap_or_default();
            let is_stable = |path: &str| !unstable.iter().chain(&again).any(|other| other.path == path);
            found.retain(|difference| is_stable(&difference.path));
            found.retain(|difference| !self.known.explains(&ours.name, &difference.path));
        }
        self.tally.alone[0] += 1;
        self.tally.alone[1] += usize::from(found.is_empty());
        if !found.is_empty() {
            println!("through the command:");
            self.show(&ours.name, &found.iter().collect::<Vec<_>>());
        }
    }

    fn refused(&mut self, object: &str, program: &Program, answer: Result<ProgramRecord, String>) {
        self.tally.refused += 1;
        if self.options.all {
            let why = answer.map_or_else(|error| error, |record| format!("errno {}", record.load));
            println!(
                "{object} {}: not run by the kernel: {}",
                program.name,
                why.lines().next().unwrap_or_default()
            );
        }
    }

    fn count_retval(&mut self, notes: &Annotations, kernel: &ProgramRecord, mimic: &ProgramRecord) {
        let Some(expected) = notes.retval else { return };
        let returns = |record: &ProgramRecord| {
            let run = record.runs.iter().find(|run| RETVAL_INPUTS.contains(&run.input.as_str()));
            run.is_some_and(|run| run.problem.is_none() && run.errno == 0 && run.retval == expected)
        };
        self.tally.retvals[0] += 1;
        self.tally.retvals[1] += usize::from(returns(kernel));
        self.tally.retvals[2] += usize::from(returns(mimic));
    }

    fn judge(&mut self, object: &str, kernel: &ProgramRecord, found: Vec<Difference>) {
        let bad_runs: BTreeSet<&str> =
            found.iter().filter_map(|difference| difference.path.split('/').nth(1)).collect();
        let whole = bad_runs.contains("problem");
        let same = |input: &str| !whole && !bad_runs.contains(input);
        self.tally.runs_same += kernel.runs.iter().filter(|run| same(&run.input)).count();
        let open: Vec<&Difference> =
            found.iter().filter(|difference| !self.known.explains(object, &difference.path)).collect();
        if found.is_empty() {
            self.tally.programs_same += 1;
        } else if open.is_empty() {
            self.tally.programs_explained += 1;
        } else {
            self.show(object, &open);
        }
    }

    fn show(&mut self, object: &str, open: &[&Difference]) {
        let problem = open.iter().find(|difference| difference.path.ends_with("/problem"));
        if let Some(problem) = problem.filter(|problem| is_missing(&problem.mimic)) {
            let what: String = problem.mimic.chars().take(120).collect();
            let what = what.split("; override").next().unwrap_or_default().to_owned();
            if self.options.all {
                println!("{object} {}: {what}", problem.path);
            }
            *self.tally.missing.entry(what).or_default() += 1;
            return;
        }
        let shown = if problem.is_some() { 1 } else { SHOWN };
        for Difference { path, kernel, mimic } in open.iter().take(shown) {
            let cut = |text: &str| text.chars().take(SHOWN_LEN).collect::<String>();
            println!("{object} {path}:\n  kernel {}\n  mimic  {}", cut(kernel), cut(mimic));
        }
    }
}

fn annotations(fixture: &Fixture, program: &Program) -> Annotations {
    fixture.object.btf.as_ref().map(|btf| Annotations::of(btf, &program.name)).unwrap_or_default()
}

/// The files, and the objects in the folders, sorted.
pub(crate) fn objects(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut objects = Vec::new();
    for path in paths {
        if !path.is_dir() {
            objects.push(path.to_owned());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let found = entries.flatten().map(|entry| entry.path());
        objects.extend(found.filter(|path| path.extension().is_some_and(|ext| ext == "o")));
    }
    objects.sort();
    match objects.is_empty() {
        true => Err("no objects: name files or folders of .o files".into()),
        false => Ok(objects),
    }
}

fn differences(kernel: &ProgramRecord, mimic: &ProgramRecord) -> Vec<Difference> {
    let [kernel, mimic] =
        [kernel, mimic].map(|program| ObjectRecord { cpus: 0, programs: vec![program.clone()] });
    kernel.differences(&mimic)
}

/// Says of itself that it isn't there.
fn is_missing(problem: &str) -> bool {
    [
        "override it with a closure",
        "is not there",
        "not implemented",
        "does not have",
        "not supported",
        "not there yet",
    ]
    .iter()
    .any(|part| problem.contains(part))
}

/// probe_write_user, clone_redirect, override_return, send_signal, send_signal_thread, sys_bpf, sys_close.
const TOUCH_THE_MACHINE: &[u32] = &[36, 13, 58, 109, 117, 166, 168];

fn can_run(program: &Program) -> bool {
    use ProgType::*;
    let runs = matches!(
        program.prog_type,
        Some(
            Xdp | SocketFilter
                | SchedCls
                | SchedAct
                | CgroupSkb
                | LwtIn
                | LwtOut
                | LwtXmit
                | RawTracepoint
                | Syscall
                | FlowDissector
        )
    );
    runs && !calls_any(program, TOUCH_THE_MACHINE)
}

fn calls_any(program: &Program, helpers: &[u32]) -> bool {
    let mut pc = 0;
    while let Some(slots) = program.code.get(pc..).filter(|slots| !slots.is_empty()) {
        let Ok(insn) = Insn::decode(slots) else { return false };
        if matches!(insn, Insn::Call(Callee::Helper(id)) if helpers.contains(&id)) {
            return true;
        }
        pc += insn.slots();
    }
    false
}
