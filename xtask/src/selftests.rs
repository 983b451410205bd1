//! `cargo xtask selftests DIR [--run] [--command]`: how much of the kernel's own test programs mimic opens, beside what libbpf opens.
//!
//! DIR is an unpacked kernel tree (Debian's package linux-source-6.12). The programs of `tools/testing/selftests/bpf/progs`
//! are compiled, those that belong together are linked, and each object is parsed and all its programs linked and relocated
//! against the running kernel's BTF; their instructions have to be those that libbpf would load. It fails when mimic opens
//! fewer than libbpf, fewer than 98 %, or refuses or relocates one otherwise without a line in [`EXPLAINED`].
//!
//! `--run` also runs every program that test-run takes, on all the standard inputs, in the kernel and in mimic on all engines, and
//! `--command` besides each input alone through `mimic test-run … --json`. It fails when fewer than
//! 98 % of the programs that the kernel accepts do the same, or one differs without an entry in `tests/oracle/selftests.toml`.
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::host::{in_parallel, root};

mod build;
mod judge;
mod libbpf;

use build::{Build, stem, vmlinux_btf};
use judge::Judgement;
use libbpf::{Answer, Libbpf};

/// Per mille of the objects that mimic has to open at least.
const LEAST_PER_MILLE: usize = 980;

/// Objects that only make sense together, with the parts in the order of the selftests' Makefile.
const LINKED: &[(&str, &[&str])] = &[
    ("test_static_linked", &["test_static_linked1", "test_static_linked2"]),
    ("linked_funcs", &["linked_funcs1", "linked_funcs2"]),
    ("linked_vars", &["linked_vars1", "linked_vars2"]),
    ("linked_maps", &["linked_maps1", "linked_maps2"]),
    ("test_subskeleton", &["test_subskeleton_lib2", "test_subskeleton_lib", "test_subskeleton"]),
    ("test_subskeleton_lib", &["test_subskeleton_lib2", "test_subskeleton_lib"]),
    ("test_usdt", &["test_usdt", "test_usdt_multispec"]),
];

/// Objects that mimic refuses, in whole or a program of it, and why that is right.
const EXPLAINED: &[(&str, &str)] = &[
    ("linked_funcs1", "half of a linked object: calls functions of the other half"),
    ("linked_funcs2", "half of a linked object: calls functions of the other half"),
    ("linked_maps1", "half of a linked object: uses a map of the other half"),
    ("linked_maps2", "half of a linked object: uses a map of the other half"),
    ("linked_vars1", "half of a linked object: uses variables of the other half"),
    ("linked_vars2", "half of a linked object: uses variables of the other half"),
    ("test_subskeleton", "part of a linked object: calls a function of the library"),
    ("ksym_race", "a variable of bpf_testmod, which this kernel does not have"),
    ("test_ksyms_module", "a variable of bpf_testmod, which this kernel does not have"),
    ("test_usdt_multispec", "half of a linked object: uses a variable of test_usdt"),
];

/// Runs the chore. Arguments: the kernel tree, `--out FOLDER` (default `selftests` in the target directory), `--all` for a row
/// per object, `--also FOLDER` (as often as wanted) for the objects of other folders.
pub(crate) fn run(args: &[String]) -> Outcome {
    let options = Options::parse(args)?;
    std::fs::create_dir_all(&options.out)
        .map_err(|err| format!("cannot make {}: {err}", options.out.display()))?;

    let (mut objects, failures) = Build::prepare(&options.kernel, &options.out)?.run();
    println!(
        "{} objects in {}, {} sources do not compile",
        objects.len(),
        options.out.display(),
        failures.len()
    );
    for (name, message) in &failures {
        println!("  {name}: {message}");
    }

    let libbpf = Libbpf::build(&options.kernel, &options.out);
    if let Err(message) = &libbpf {
        println!("libbpf is not asked: {message}");
    }
    let libbpf = libbpf.ok();
    let alone = objects.len();
    if let Some(libbpf) = &libbpf {
        objects.extend(link_sets(libbpf, &options.out)?);
    }

    for folder in &options.also {
        objects.extend(build::files(folder, "o")?);
    }

    let target = judge::target(&vmlinux_btf())?;
    let judgements = in_parallel(&objects, |path| {
        let code = libbpf.as_ref().map(|libbpf| libbpf.code(path)).transpose()?;
        judge::judge(path, &target, code.as_ref())
    });
    let mut answers = libbpf.map(|libbpf| libbpf.open(&objects)).transpose()?;
    let mut rows = Vec::new();
    for (path, judgement) in objects.iter().zip(judgements) {
        let answer = answers.as_mut().and_then(|answers| answers.remove(path));
        rows.push(Row { name: row_name(path, &options.out), judgement: judgement?, answer });
    }
    report(&rows, alone, &options)?;
    match options.run {
        true => run_all(&objects, &options),
        false => Ok(()),
    }
}

/// Programs of 1000 that must do in mimic what they do in the kernel.
#[cfg(target_os = "linux")]
const LEAST_SAME_PER_MILLE: usize = 980;

#[cfg(not(target_os = "linux"))]
fn run_all(_objects: &[PathBuf], _options: &Options) -> Outcome {
    Err("--run needs Linux's bpf(2)".into())
}

/// Runs all programs of the objects in the kernel and in mimic.
#[cfg(target_os = "linux")]
fn run_all(objects: &[PathBuf], options: &Options) -> Outcome {
    use crate::kernel_objects::{self, Comparison, test_run_command};
    let known = root().join("tests/oracle/selftests.toml");
    let command = options.command.then(|| test_run_command(false)).transpose()?;
    let mut comparison = Comparison::new(kernel_objects::Options {
        known: Some(known),
        command,
        ..kernel_objects::Options::default()
    })?;
    println!("\nin the kernel and in mimic:");
    comparison.objects(objects);
    let (tally, stale) = (comparison.tally(), comparison.stale());
    println!("\n{tally}");
    if !stale.is_empty() {
        println!("entries of tests/oracle/selftests.toml that explain nothing, by line: {stale:?}");
    }
    let (same, unexplained) = (tally.per_mille(), tally.unexplained() + tally.alone[0] - tally.alone[1]);
    match same < LEAST_SAME_PER_MILLE || unexplained > 0 {
        true => {
            Err(format!("{same} of 1000 programs do the same, {unexplained} differ without an explanation"))
        }
        false => Ok(()),
    }
}

struct Options {
    kernel: PathBuf,
    out: PathBuf,
    also: Vec<PathBuf>,
    all: bool,
    run: bool,
    command: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options, String> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let (mut kernel, mut out, mut also) = (None, target.join("selftests"), Vec::new());
        let (mut all, mut run, mut command) = (false, false, false);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--all" => all = true,
                "--run" => run = true,
                "--command" => (run, command) = (true, true),
                "--also" => also.push(PathBuf::from(args.next().ok_or("--also needs a folder")?)),
                "--out" => out = PathBuf::from(args.next().ok_or("--out needs a folder")?),
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                dir => kernel = Some(PathBuf::from(dir)),
            }
        }
        let kernel = kernel.ok_or(
            "which kernel tree? usage: DIR [--run] [--command] [--out FOLDER] [--also FOLDER] [--all]",
        )?;
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|err| format!("{}: {err}", path.display()));
        Ok(Options { kernel: absolute(&kernel)?, out: absolute(&out)?, also, all, run, command })
    }
}

struct Row {
    name: String,
    judgement: Judgement,
    answer: Option<Answer>,
}

impl Row {
    fn explanation(&self) -> Option<&'static str> {
        EXPLAINED.iter().find(|(name, _)| *name == self.name).map(|(_, why)| *why)
    }

    fn libbpf_opens(&self) -> Option<bool> {
        self.answer.as_ref().map(|answer| answer.opened.is_ok())
    }

    /// `NAME  libbpf  mimic  linked/programs`, with reasons on lines of their own.
    fn text(&self) -> String {
        let libbpf = match self.libbpf_opens() {
            None => "-",
            Some(true) => "opens",
            Some(false) => "no",
        };
        let mut text = match &self.judgement.programs {
            Ok(count) => {
                let lacking = match self.judgement.lacking.len() {
                    0 => String::new(),
                    lacking => format!(", {lacking} of them but for what this kernel lacks"),
                };
                let linked = count - self.judgement.unlinked.len();
                format!("{:<44} {libbpf:<6} opens  {linked}/{count}{lacking}", self.name)
            }
            Err(_) => format!("{:<44} {libbpf:<6} no     -", self.name),
        };
        if let Some(Answer { opened: Err(warning) }) = &self.answer {
            text.push_str(&format!("\n    libbpf: {warning}"));
        }
        for reason in self.judgement.programs.as_ref().err().into_iter().flatten() {
            text.push_str(&format!("\n    mimic: {reason}"));
        }
        for (program, reasons) in &self.judgement.unlinked {
            text.push_str(&format!("\n    mimic: program {program}: {}", reasons.join("; ")));
        }
        for (program, difference) in &self.judgement.different {
            text.push_str(&format!("\n    differs: program {program}: {difference}"));
        }
        for (program, reasons) in &self.judgement.lacking {
            text.push_str(&format!("\n    lacking: program {program}: {}", reasons.join("; ")));
        }
        if let (false, Some(why)) = (self.judgement.is_good(), self.explanation()) {
            text.push_str(&format!("\n    explained: {why}"));
        }
        text
    }
}

fn report(rows: &[Row], alone: usize, options: &Options) -> Outcome {
    let table: String = rows.iter().map(|row| row.text() + "\n").collect();
    let path = options.out.join("table.txt");
    std::fs::write(&path, table).map_err(|err| format!("cannot write {}: {err}", path.display()))?;
    let remarkable =
        |row: &&Row| options.all || !row.judgement.is_good() || row.libbpf_opens() == Some(false);
    println!("\n{:<44} libbpf mimic  linked", "object");
    rows.iter().filter(remarkable).for_each(|row| println!("{}", row.text()));

    println!("\nall of them in {}", path.display());
    totals("objects", rows.get(..alone).unwrap_or(rows));
    totals("linked sets and others", rows.get(alone..).unwrap_or_default());

    let good = rows.iter().filter(|row| row.judgement.is_good()).count();
    let opened = rows.iter().filter(|row| row.libbpf_opens() == Some(true)).count();
    let unexplained: Vec<&str> = rows
        .iter()
        .filter(|row| !row.judgement.is_good() && row.explanation().is_none())
        .map(|row| row.name.as_str())
        .collect();
    if good < opened {
        return Err(format!("mimic opens {good}, libbpf {opened}"));
    }
    if good * 1000 < rows.len() * LEAST_PER_MILLE {
        return Err(format!("mimic opens {good} of {}, that is under {LEAST_PER_MILLE} of 1000", rows.len()));
    }
    match unexplained.is_empty() {
        true => Ok(()),
        false => Err(format!("refused without an explanation: {}", unexplained.join(", "))),
    }
}

fn totals(what: &str, rows: &[Row]) {
    let opened = rows.iter().filter(|row| row.libbpf_opens() == Some(true)).count();
    let parsed = rows.iter().filter(|row| row.judgement.programs.is_ok()).count();
    let good = rows.iter().filter(|row| row.judgement.is_good()).count();
    let programs: usize = rows.iter().filter_map(|row| row.judgement.programs.as_ref().ok()).sum();
    let unlinked: usize = rows.iter().map(|row| row.judgement.unlinked.len()).sum();
    let time: Duration = rows.iter().map(|row| row.judgement.parse_time).sum();
    let slowest = rows.iter().max_by_key(|row| row.judgement.parse_time);
    let lacking: usize = rows.iter().map(|row| row.judgement.lacking.len()).sum();
    println!(
        "{} {what}: libbpf opens {opened}; mimic parses {parsed}, links all programs of {good} ({} of {programs} programs)",
        rows.len(),
        programs - unlinked
    );
    let same: usize = rows.iter().map(|row| row.judgement.same).sum();
    let different: usize = rows.iter().map(|row| row.judgement.different.len()).sum();
    println!(
        "  {same} programs have the instructions that libbpf would load, {different} have others; the rest libbpf cannot load here"
    );
    if lacking > 0 {
        println!(
            "  {lacking} of these programs but for kernel functions that this kernel lacks (bpf_testmod's, mostly)"
        );
    }
    if let Some(slowest) = slowest {
        println!(
            "  parsing took {time:?} in all, at most {:?} ({})",
            slowest.judgement.parse_time, slowest.name
        );
    }
}

/// Links the sets whose parts compiled, into `out/linked`.
fn link_sets(libbpf: &Libbpf, out: &Path) -> Result<Vec<PathBuf>, String> {
    let dir = out.join("linked");
    std::fs::create_dir_all(&dir).map_err(|err| format!("cannot make {}: {err}", dir.display()))?;
    let mut made = Vec::new();
    for (name, parts) in LINKED {
        let inputs: Vec<PathBuf> = parts.iter().map(|part| out.join(format!("{part}.bpf.o"))).collect();
        if inputs.iter().all(|input| input.exists()) {
            let path = dir.join(format!("{name}.bpf.o"));
            libbpf.link(&path, &inputs).map_err(|err| format!("cannot link {name}: {err}"))?;
            made.push(path);
        }
    }
    Ok(made)
}

/// `atomics`, or `linked/test_usdt` for what is in another folder.
fn row_name(path: &Path, out: &Path) -> String {
    match path.parent() {
        Some(parent) if parent != out => {
            format!("{}/{}", parent.file_name().unwrap_or_default().to_string_lossy(), stem(path))
        }
        _ => stem(path),
    }
}
