//! The examples do what they say, and are short enough to be read at once.

use std::path::{Path, PathBuf};
use std::process::Command;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command that runs this file; through the emulator that `MIMIC_RUNNER` names when it is for another machine.
fn command(path: &Path) -> Command {
    let runner = std::env::var("MIMIC_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else { return Command::new(path) };
    let mut command = Command::new(emulator);
    command.args(words).arg(path);
    command
}

/// Runs an example in the project's folder; what it printed.
fn run(name: &str, args: &[&str]) -> String {
    let mut path = std::env::current_exe().expect("a test has a file");
    path.pop();
    path.set_file_name("examples");
    let path = path.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let output = command(&path).args(args).current_dir(project()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error} (cargo build --examples)", path.display()));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{text}{errors}", output.status);
    text.into_owned()
}

#[test]
fn capture_counts_verdicts() {
    let text = run("capture", &["examples/xdp_firewall.bpf.o", "examples/traffic.pcap"]);
    assert!(text.contains("XDP_PASS         848 packets"), "{text}");
    assert!(text.contains("the longest has 1514 bytes"), "{text}");
}

#[test]
fn step_shows_source_lines() {
    let text = run("step", &["examples/tail_call.bpf.o"]);
    assert!(text.contains("int classify_vlan(struct xdp_md *ctx)"), "{text}");
    assert!(text.trim_end().ends_with("instructions"), "{text}");
}

#[test]
fn override_helper_answers_instead() {
    let text = run("override_helper", &["examples/xdp_firewall.bpf.o"]);
    assert!(text.contains("lookups found nothing; r0 is"), "{text}");
}

#[test]
fn kfunc_is_a_function_of_ones_own() {
    let text = run("kfunc", &["crates/mimic/tests/data/kfunc.bpf.o"]);
    assert_eq!(text, "the program returned 2\nit said score: 2\n");
}

#[test]
fn emulator_is_a_platform_of_its_own() {
    assert_eq!(run("emulator", &[]), "took 3: 7\ntook 6: 1\ntook 2: -28\n");
}

#[test]
fn plugins_are_stopped_when_they_misbehave() {
    let text = run("plugin", &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "short ones only: \"/index.html\" passes");
    assert_eq!(lines[1], "short ones only: \"hello, this is a long request\" refused");
    assert_eq!(lines[2], "no slash: \"/index.html\" refused");
    assert!(lines[4].starts_with("reads too far: read of 8 bytes at context+4096"), "{text}");
    assert!(lines[6].contains("the instruction budget of 100000 is spent"), "{text}");
}

#[test]
fn examples_are_short() {
    for entry in
        std::fs::read_dir(project().join("crates/mimic/examples")).expect("the folder is there").flatten()
    {
        let text = std::fs::read_to_string(entry.path()).expect("it is text");
        assert!(text.lines().count() < 80, "{} has {} lines", entry.path().display(), text.lines().count());
    }
}
