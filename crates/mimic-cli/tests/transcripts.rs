//! Transcripts: what the command answers to what is typed, in `tests/command/*.txt`. `MIMIC_BLESS=1` writes the answers anew.
//!
//! A line `$ mimic …` is run in the project's folder; `$ echo TEXT | mimic …` gives it a standard input. Below are its outputs, those
//! on standard error with `! ` before them, and last `= CODE` if the exit code is not 0. Times, and addresses in traces, are
//! shown as `_`, which stands for any.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a command line; what the transcript says below it.
fn answer(line: &str) -> String {
    let (input, line) = match line.strip_prefix("echo ").and_then(|line| line.split_once(" | ")) {
        Some((text, rest)) => (format!("{}\n", unquoted(text).join(" ")), rest),
        None => (String::new(), line),
    };
    let mut words = unquoted(line).into_iter();
    assert_eq!(words.next().as_deref(), Some("mimic"), "{line}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_mimic"))
        .args(words)
        .current_dir(project())
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command was built");
    // A command that does not read its input may be gone before it is written.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let mut text = String::from_utf8_lossy(&output.stdout).replace(&project().display().to_string(), ".");
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        text.push_str(format!("! {line}").trim_end());
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        code => text.push_str(&format!("= {}\n", code.map_or("killed".into(), |code| code.to_string()))),
    }
    text.lines().map(|line| without_times(line) + "\n").collect()
}

/// The words of a command line; single quotes keep spaces.
fn unquoted(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for char in line.chars() {
        match char {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// Host times differ from run to run.
fn without_times(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end_matches([':', ',']);
        let number = words[at - 1].chars().all(|char| char.is_ascii_digit() || char == '.');
        if ["ns", "µs", "ms", "s"].contains(&unit) && number && line.contains(" instructions a packet") {
            words[at] = words[at].replace(unit, "s");
            words[at - 1] = "_".into();
        }
    }
    for word in &mut words {
        // Where guest memory lies is nobody's promise.
        let value = word.split_once("=0x").filter(|(reg, value)| reg.starts_with('r') && value.len() >= 5);
        if let Some((reg, _)) = value {
            *word = format!("{reg}=_");
        }
    }
    let mut line = words.join(" ");
    for key in ["\"time_ns\":", "\"time_per_packet_ns\":"] {
        // Those of the report, not of the trace: they come once, behind the instructions.
        let from = line.find("\"insns\":").unwrap_or(line.len());
        let Some(at) = line.get(from..).and_then(|rest| rest.find(key)) else { continue };
        let start = from + at + key.len();
        let len = line[start..].find(|char: char| !char.is_ascii_digit()).unwrap_or(0);
        line.replace_range(start..start + len, "0");
    }
    line
}

#[test]
fn the_command_answers_as_written() {
    let bless = std::env::var_os("MIMIC_BLESS").is_some();
    let mut files: Vec<PathBuf> = std::fs::read_dir(project().join("tests/command"))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "only {} transcripts", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(&path).expect("it is text");
        let mut found = String::new();
        for line in expected.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                found.push_str(&format!(
                    "{}$ {command}\n{}",
                    if found.is_empty() { "" } else { "\n" },
                    answer(command)
                ));
            }
        }
        if found != expected && bless {
            std::fs::write(&path, &found).expect("it can be written");
        } else if found != expected {
            let different = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
            let at = different.unwrap_or(found.lines().count().min(expected.lines().count()));
            let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wrong.push(format!(
                "{name}:{}\n  expected {}\n  found    {}",
                at + 1,
                line(&expected),
                line(&found)
            ));
        }
    }
    assert!(wrong.is_empty(), "MIMIC_BLESS=1 writes them anew:\n{}", wrong.join("\n"));
}
