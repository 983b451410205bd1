//! `mimic world capture` makes a World file that is read again, and in which programs see this machine.
#![cfg(target_os = "linux")]

use std::process::Command;

fn mimic(args: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_mimic")).args(args).output().expect("the command was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON is text")
}

#[test]
fn what_is_captured_is_read_again() {
    let text = mimic(&["world", "capture", "--quiet"]);
    let path = std::env::temp_dir().join(format!("mimic-world-{}.json", std::process::id()));
    std::fs::write(&path, &text).expect("a file");
    let again = mimic(&["world", "dump", "--stated", path.to_str().expect("its name is text")]);
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(again, text);
    let world: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let tasks = world["tasks"].as_array().expect("there are tasks");
    let this = tasks.iter().find(|task| task["pid"] == std::process::id()).expect("this process is a task");
    assert!(this["memory"].as_array().is_some_and(|areas| areas.len() > 5), "it may look at its own memory");
    let is_lo = |device: &serde_json::Value| device["name"] == "lo" && device["ifindex"] == 1;
    assert!(world["net"]["devices"].as_array().is_none_or(|devices| devices.iter().any(is_lo)));
}
