//! `--record` and `--replay`: a run is written as captured contexts and comes out the same again; what is not the same is told.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// IPv4 and TCP, 62 bytes.
const PACKET: &str = "ffffffffffff0200000000010800450000300001000040067cc57f0000017f000001005000500000000000000000500220000000000061626364656667";

struct Recorded {
    file: PathBuf,
    program: &'static [&'static str],
}

/// Runs the command in the project's folder.
fn mimic(args: &[&str]) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mimic"));
    command.current_dir(project).env("NO_COLOR", "1").args(args).output().expect("the command was built")
}

impl Recorded {
    fn new(name: &str, program: &'static [&'static str], options: &[&str]) -> Recorded {
        let file = std::env::temp_dir().join(format!("mimic-record-{}-{name}.json", std::process::id()));
        let recorded = Recorded { file, program };
        let path = recorded.path();
        let output =
            mimic(&[&["run"], program, &["--hex", PACKET, "--record", &path, "--json"], options].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(recorded.file.with_extension("report"), output.stdout).expect("it can be written");
        recorded
    }

    fn path(&self) -> String {
        self.file.display().to_string()
    }

    /// The report of the recorded run: what does not hang on time or input.
    fn report(&self) -> Value {
        essence(&std::fs::read(self.file.with_extension("report")).expect("it was written"))
    }

    fn edit(&self, change: impl Fn(&mut Value)) {
        let text = std::fs::read_to_string(&self.file).expect("it was written");
        let mut contexts: Value = serde_json::from_str(&text).expect("it is JSON");
        change(&mut contexts);
        std::fs::write(&self.file, contexts.to_string()).expect("it can be written");
    }

    fn replay(&self, how: &str, options: &[&str]) -> (i32, Value, String) {
        let path = self.path();
        let replay = ["--replay", &path, "--replay-as", how, "--json"];
        let output = mimic(&[&["run"], self.program, &replay, options].concat());
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("it ended"), essence(&output.stdout), warnings)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.file.with_extension("report"));
        let _ = std::fs::remove_file(&self.file);
    }
}

fn essence(report: &[u8]) -> Value {
    let report: Value = serde_json::from_slice(report).expect("it is JSON");
    json!({ "maps": report["maps"], "trace": report["trace"], "verdict": report["verdicts"][0]["verdict"], "insns": report["insns"] })
}

#[test]
fn runs_come_out_the_same_again() {
    for (name, program) in [
        ("time", &["tests/fixtures/time_and_cpu.bpf.o", "--prog", "random"] as &[&str]),
        ("print", &["tests/fixtures/printing.bpf.o", "--prog", "trace_printk_lengths"]),
        ("firewall", &["examples/xdp_firewall.bpf.o", "--map", "block_v4=127.0.0.0/8:{\"action\":0}"]),
    ] {
        let program: &'static [&'static str] = Box::leak(program.to_vec().into_boxed_slice());
        let recorded = Recorded::new(name, program, &["--seed", "7"]);
        for how in ["prefer", "only", "verify"] {
            let (code, report, warnings) = recorded.replay(how, &[]);
            assert_eq!((code, &*warnings, report), (0, "", recorded.report()), "{name} {how}");
        }
    }
}

#[test]
fn captured_answers_win_over_another_world() {
    let recorded =
        Recorded::new("seed", &["tests/fixtures/time_and_cpu.bpf.o", "--prog", "random"], &["--seed", "7"]);
    for how in ["prefer", "only"] {
        assert_eq!(recorded.replay(how, &["--seed", "8"]), (0, recorded.report(), String::new()), "{how}");
    }
    let (code, _, warnings) = recorded.replay("verify", &["--seed", "8"]);
    assert_eq!(code, 1);
    assert!(warnings.contains("bpf_get_prandom_u32: call 1 answers"), "{warnings}");
}

#[test]
fn what_was_not_captured_stops_a_program_that_gets_only_captured_answers() {
    let recorded = Recorded::new("only", &["tests/fixtures/time_and_cpu.bpf.o", "--prog", "random"], &[]);
    recorded.edit(|contexts| {
        contexts[0]["ctx"]["helperCalls"]["7"].as_array_mut().expect("there are calls").pop();
    });
    assert_eq!(recorded.replay("prefer", &[]).0, 0);
    assert_eq!(recorded.replay("only", &[]).0, 3);
    let (code, _, warnings) = recorded.replay("verify", &[]);
    assert_eq!(code, 1);
    assert!(warnings.contains("was not captured"), "{warnings}");
}

#[test]
fn maps_begin_as_they_were() {
    let program = &["examples/tail_call.bpf.o", "--prog", "classify"];
    let recorded = Recorded::new("maps", program, &["--map", "ended_in=3:40"]);
    let (code, report, warnings) = recorded.replay("verify", &[]);
    assert_eq!((code, report, warnings), (0, recorded.report(), String::new()));
}
