//! Test binaries of some packages: built first, then run one at a time, each with a line that says what came of it. One that hangs is
//! ended. Documentation tests are not among them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::TempDir;

/// How long a binary may take: under an emulator or a sanitizer some take minutes.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Lines shown of a binary that failed.
const LINES_SHOWN: usize = 60;

/// How binaries are run.
#[derive(Default)]
pub(crate) struct Runs<'a> {
    /// What runs them, with its arguments; nothing on the machine itself.
    pub(crate) runner: Option<&'a str>,
    /// Variables of their environment.
    pub(crate) vars: &'a [(&'a str, &'a str)],
}

/// A test binary.
struct Suite {
    /// Its package and its name.
    name: String,
    path: PathBuf,
    /// Where cargo would run it.
    folder: PathBuf,
}

/// What came of one.
enum End {
    /// How many tests passed.
    Passed(u64),
    Failed(String),
    Hung,
}

/// Builds with `cargo`, which has everything but its verb, then runs. The error names what failed.
pub(crate) fn run(mut cargo: Command, runs: &Runs<'_>) -> Result<(), String> {
    let suites = build(&mut cargo)?;
    let output = TempDir::new("suites")?;
    let log = output.path().join("log");
    let mut failed = Vec::new();
    for suite in &suites {
        let started = Instant::now();
        let end = suite.run(runs, &log)?;
        let seconds = started.elapsed().as_secs_f64();
        match end {
            End::Passed(tests) => println!("  {:<36} {tests:>4} passed in {seconds:.1} s", suite.name),
            End::Failed(why) => {
                println!("  {:<36} FAILED after {seconds:.1} s: {why}", suite.name);
                show(&log);
                failed.push(suite.name.as_str());
            }
            End::Hung => {
                println!("  {:<36} ENDED after {seconds:.1} s", suite.name);
                show(&log);
                failed.push(suite.name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true if suites.is_empty() => Err("no test was built".into()),
        true => Ok(()),
        false => Err(failed.join(", ")),
    }
}

/// Builds all test binaries; their files.
fn build(cargo: &mut Command) -> Result<Vec<Suite>, String> {
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| format!("cannot run cargo: {error}"))?;
    let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
    let mut suites: Vec<Suite> =
        lines.into_iter().flatten().map_while(Result::ok).filter_map(|line| suite(&line)).collect();
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    if status.success() { Ok(suites) } else { Err(format!("the tests do not build ({status})")) }
}

/// The test binary that a message of cargo's tells of.
fn suite(message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    let (target, kind) = (message["target"]["name"].as_str()?, message["target"]["kind"][0].as_str()?);
    let name = if kind == "lib" { format!("{package} (unit)") } else { format!("{package} {target}") };
    Some(Suite { name, path, folder })
}

impl Suite {
    fn run(&self, runs: &Runs<'_>, log: &Path) -> Result<End, String> {
        let named = |error: std::io::Error| format!("{}: {error}", self.name);
        let file = File::create(log).map_err(named)?;
        let mut words = runs.runner.unwrap_or_default().split_whitespace();
        let mut command = match words.next() {
            Some(runner) => Command::new(runner),
            None => Command::new(&self.path),
        };
        if runs.runner.is_some() {
            command.args(words).arg(&self.path);
        }
        command.current_dir(&self.folder).envs(runs.vars.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(named)?).stderr(file);
        let mut child = command.spawn().map_err(named)?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(named)? {
                return Ok(end(status, log));
            }
            if started.elapsed() > PATIENCE {
                child.kill().map_err(named)?;
                child.wait().map_err(named)?;
                return Ok(End::Hung);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn end(status: ExitStatus, log: &Path) -> End {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let results = text.lines().filter_map(|line| line.split_once("test result: ok. "));
    let passed = results.filter_map(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok()).sum();
    // Those who need what is not there say so on a line of their own.
    for line in text.lines().filter(|line| line.starts_with("skipped: ")) {
        println!("    {line}");
    }
    if status.success() { End::Passed(passed) } else { End::Failed(status.to_string()) }
}

/// The end of what a binary said.
fn show(log: &Path) {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
        println!("    | {line}");
    }
}
