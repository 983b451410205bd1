//! The rules of the house that a program can check: who depends on whom, where unsafe code is, that files say what they are for.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates from the bottom up: each may use those before it.
const STACK: &[&str] = &["mimic-abi", "mimic-object", "mimic-vm", "mimic-linux", "mimic", "mimic-cli"];

/// Where unsafe code may be.
const UNSAFE: &[&str] = &[
    "benches/src/engine/native.rs",
    "benches/src/engine/rbpf.rs",
    "crates/mimic-vm/src/jit/",
    "crates/mimic-vm/src/memory/",
    "tests/src/canary.rs",
    "tests/src/kernel/sys.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").into()
}

/// All Rust files of the project, with their paths from its root.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path
                    .strip_prefix(root)
                    .expect("it is below the root")
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push((name, fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["benches", "crates", "fuzz/fuzz_targets", "tests", "xtask"] {
        walk(&root().join(folder), &root(), &mut found);
    }
    found
}

#[test]
fn dependencies_point_down_only() {
    for (level, name) in STACK.iter().enumerate() {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"))
            .expect("it has a manifest");
        let dependencies = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let dependencies = dependencies.take_while(|line| !line.starts_with("[dev-dependencies"));
        for line in dependencies {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let at = STACK.iter().position(|known| *known == dependency);
            assert!(at.is_none_or(|at| at < level), "{name} depends on {dependency}, which is above it");
        }
    }
    let abi = fs::read_to_string(root().join("crates/mimic-abi/Cargo.toml")).expect("it has a manifest");
    let dependencies = abi.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    assert_eq!(dependencies.trim(), "", "mimic-abi depends on nothing");
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let word = concat!("un", "safe");
    for (name, text) in sources() {
        let here = UNSAFE.iter().any(|place| name.starts_with(place));
        let uses = |line: &&str| {
            let code = line.split("//").next().unwrap_or_default();
            ["{", "fn ", "impl ", "extern "].iter().any(|after| code.contains(&format!("{word} {after}")))
        };
        if let Some(line) = text.lines().find(uses).filter(|_| !here) {
            panic!("{name}: {line}");
        }
    }
    for name in STACK.iter().filter(|name| **name != "mimic-vm") {
        let entry = ["lib.rs", "main.rs"].map(|file| root().join("crates").join(name).join("src").join(file));
        let text = entry.iter().find_map(|path| fs::read_to_string(path).ok()).expect("it has an entry");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{name} forbids it");
    }
}

#[test]
fn files_say_what_they_are_for() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "files without `//!` on their first line: {silent:?}");
}

#[test]
fn logic_fits_in_files_of_a_thousand_lines() {
    // Tables may be longer: rows are read one at a time.
    let long = |(name, text): &(String, String)| (text.lines().count() > 1000).then(|| name.clone());
    let long: Vec<String> = sources().iter().filter_map(long).collect();
    assert!(long.is_empty(), "{long:?}");
}
