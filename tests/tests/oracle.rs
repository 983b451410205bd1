//! The kernel as oracle: what every program of every example and fixture does in Linux and in mimic.
//!
//! The kernel's answers are kept in `oracle/6.18/`, so that they can be compared where there is no bpf(2). `MIMIC_BLESS=1` writes
//! them anew, on a kernel of that version. What differs, and why, is in `oracle/known.toml`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mimic_abi::ByteOrder;
use mimic_abi::btf::Btf;
use mimic_object::Target;
use mimic_tests::engines::engines;
use mimic_tests::oracle::{Fixture, KnownList, ObjectRecord, fixture_files};

/// The version whose answers are kept.
const VERSION: &str = "6.18";

#[test]
fn mimic_does_what_the_kernel_did() {
    let mut known = known();
    let target = kernel_of_the_record();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for path in fixture_files() {
        let fixture = match Fixture::open(&path, target.as_ref()) {
            Ok(fixture) => fixture,
            // Some of CO-RE has a meaning only for a kernel's types.
            Err(error) if target.is_none() => {
                eprintln!("skipped: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let Some(kernel) = recorded(&fixture.name) else {
            wrong.push(format!("{}: no record; MIMIC_BLESS=1 makes one", fixture.name));
            continue;
        };
        compared += kernel.programs.iter().map(|program| program.runs.len()).sum::<usize>();
        for engine in engines(ByteOrder::Little) {
            let mimic = fixture.record(kernel.cpus, *engine);
            for difference in kernel.differences(&mimic) {
                if !known.explains(&fixture.name, &difference.path) {
                    let (path, kernel, mimic) = (&difference.path, &difference.kernel, &difference.mimic);
                    let name = &fixture.name;
                    wrong.push(format!("{name} {path}, {engine:?}:\n  kernel {kernel}\n  mimic  {mimic}"));
                }
            }
        }
    }
    let stale: Vec<_> = known.stale().map(|known| format!("line {}: {}", known.line, known.path)).collect();
    assert!(wrong.is_empty(), "{} differences in {compared} runs:\n{}", wrong.len(), wrong.join("\n"));
    assert!(stale.is_empty(), "known.toml explains what no longer differs:\n{}", stale.join("\n"));
    assert!(compared > 3000, "only {compared} runs were compared");
}

#[cfg(target_os = "linux")]
mod in_the_kernel {
    use mimic_object::{MapSpec, Program};
    use mimic_tests::kernel::{Kernel, Parts};

    use super::*;

    /// The kernel takes what our reader and linker make of the objects.
    #[test]
    fn the_kernel_loads_what_we_link() {
        let Some(kernel) = Kernel::or_skip() else { return };
        let mut wrong = Vec::new();
        let mut programs = 0;
        for_each_fixture(|fixture, parts| {
            let loaded = kernel.load(parts).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
            for (program, prog) in parts.programs.iter().zip(&loaded.progs) {
                programs += 1;
                if let Err(error) = prog {
                    wrong.push(format!("{}, {}: {error}", fixture.name, program.name));
                }
            }
        });
        assert!(wrong.is_empty(), "{} of {programs} programs:\n{}", wrong.len(), wrong.join("\n"));
        assert!(programs > 300, "only {programs} programs");
    }

    /// What is kept is what the kernel does now.
    #[test]
    fn the_record_is_what_the_kernel_does() {
        let Some(kernel) = Kernel::or_skip() else { return };
        if kernel.version() != VERSION {
            eprintln!("skipped: the answers kept are those of Linux {VERSION}, this is {}", kernel.version());
            return;
        }
        let bless = std::env::var_os("MIMIC_BLESS").is_some_and(|value| value == "1");
        let known = known();
        let mut wrong = Vec::new();
        for_each_fixture(|fixture, parts| {
            let record = kernel.record(parts).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
            if bless {
                std::fs::write(record_path(&fixture.name), record.to_json()).unwrap();
                return;
            }
            let Some(kept) = recorded(&fixture.name) else {
                return wrong.push(format!("{}: no record", fixture.name));
            };
            if kept.cpus != record.cpus {
                eprintln!(
                    "skipped: {} was recorded with {} CPUs, here are {}",
                    fixture.name, kept.cpus, record.cpus
                );
                return;
            }
            for difference in kept.differences(&record) {
                if !known.is_unstable(&fixture.name, &difference.path) {
                    let (path, kept, now) = (&difference.path, &difference.kernel, &difference.mimic);
                    wrong.push(format!("{} {path}:\n  kept {kept}\n  now  {now}", fixture.name));
                }
            }
        });
        assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    }

    fn for_each_fixture(mut f: impl FnMut(&Fixture, &Parts<'_>)) {
        let target = kernel_of_the_record().unwrap_or_default();
        for path in fixture_files() {
            let fixture = Fixture::open(&path, Some(&target)).unwrap();
            let programs: Vec<&Program> = fixture.programs.iter().collect();
            let maps: Vec<MapSpec> = fixture.object.maps_for(&target).unwrap();
            f(&fixture, &Parts { maps: &maps, programs: &programs, btf: fixture.object.btf.as_deref() });
        }
    }
}

/// The kernel that runs here, as a target, if it is of the version whose answers are kept.
fn kernel_of_the_record() -> Option<Target> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").ok().filter(|_| release.starts_with(VERSION))?;
    Some(Target { btf: Some(Arc::new(Btf::parse(btf).ok()?)), ..Target::default() })
}

fn recorded(object: &str) -> Option<ObjectRecord> {
    let text = std::fs::read_to_string(record_path(object)).ok()?;
    Some(ObjectRecord::from_json(&text).unwrap_or_else(|error| panic!("{object}: {error}")))
}

fn record_path(object: &str) -> PathBuf {
    let name = object.trim_end_matches(".bpf.o");
    folder().join(VERSION).join(format!("{name}.json"))
}

fn known() -> KnownList {
    let path = folder().join("known.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    KnownList::parse(&text).unwrap_or_else(|error| panic!("known.toml: {error}"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle")
}
