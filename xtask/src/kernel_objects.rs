//! `cargo xtask kernel-objects [--all] FILE-OR-FOLDER…`: runs every program of objects in the kernel and in mimic on the standard
//! inputs and shows what differs.
//!
//! Programs that the kernel refuses are left out, and so are answers that it does not give twice, and programs that call helpers
//! which would touch this machine. What mimic says that it cannot do is counted, not listed, but with `--all`.

use crate::Outcome;

/// Runs the chore.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &[String]) -> Outcome {
    Err("this needs Linux's bpf(2)".into())
}

/// Runs the chore.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &[String]) -> Outcome {
    on_linux::run(args)
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use mimic::abi::btf::Btf;
    use mimic::abi::{Callee, Insn, ProgType};
    use mimic::object::{Program, Target};
    use mimic_tests::kernel::{Kernel, Parts, possible_cpus};
    use mimic_tests::oracle::{Difference, Fixture, ObjectRecord, ProgramRecord};

    use crate::Outcome;

    /// probe_write_user, clone_redirect, override_return, send_signal, send_signal_thread, sys_bpf, sys_close.
    const TOUCH_THE_MACHINE: &[u32] = &[36, 13, 58, 109, 117, 166, 168];

    #[derive(Default)]
    struct Tally {
        objects: usize,
        refused: usize,
        left_out: usize,
        compared: usize,
        runs: usize,
        same: usize,
        unsupported: BTreeMap<String, usize>,
        different: usize,
    }

    pub(super) fn run(args: &[String]) -> Outcome {
        let all = args.iter().any(|arg| arg == "--all");
        let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
        let btf =
            std::fs::read("/sys/kernel/btf/vmlinux").map_err(|error| format!("the kernel's BTF: {error}"))?;
        let btf = Btf::parse(btf).map_err(|error| format!("the kernel's BTF: {error}"))?;
        let target = Target { btf: Some(Arc::new(btf)), ..Target::default() };
        let mut tally = Tally::default();
        for path in objects(args.iter().filter(|arg| !arg.starts_with("--")))? {
            match Fixture::open_what_links(&path, &target) {
                Ok(fixture) => compare(&kernel, &fixture, all, &mut tally),
                Err(error) => println!("{error}"),
            }
        }
        report(&tally);
        Ok(())
    }

    fn objects<'a>(args: impl Iterator<Item = &'a String>) -> Result<Vec<PathBuf>, String> {
        let mut objects = Vec::new();
        for arg in args {
            let path = Path::new(arg);
            if !path.is_dir() {
                objects.push(path.to_owned());
                continue;
            }
            let entries = std::fs::read_dir(path).map_err(|error| format!("{arg}: {error}"))?;
            let found = entries.flatten().map(|entry| entry.path());
            objects.extend(found.filter(|path| path.extension().is_some_and(|ext| ext == "o")));
        }
        objects.sort();
        if objects.is_empty() {
            Err("no objects: name files or folders of .o files".into())
        } else {
            Ok(objects)
        }
    }

    fn compare(kernel: &Kernel, fixture: &Fixture, all: bool, tally: &mut Tally) {
        tally.objects += 1;
        let Ok(maps) = fixture.object.maps_for(&fixture.target) else { return };
        let programs: Vec<&Program> = fixture.programs.iter().collect();
        let parts = Parts { maps: &maps, programs: &programs, btf: fixture.object.btf.as_deref() };
        for program in &programs {
            if !can_run(program) {
                tally.left_out += 1;
                continue;
            }
            let record = || kernel.in_empty_netns(|| kernel.record_program(&parts, program));
            let (first, second) = match (record(), record()) {
                (Ok(first), Ok(second)) if first.load == 0 => (first, second),
                _ => {
                    tally.refused += 1;
                    continue;
                }
            };
            let unstable = differences(&first, &second);
            let mimic = fixture.record_program(program, possible_cpus() as u32);
            let mut found = differences(&first, &mimic);
            found.retain(|difference| !unstable.iter().any(|other| other.path == difference.path));
            tally.compared += 1;
            tally.runs += first.runs.len();
            show(&fixture.name, &found, all, tally);
        }
    }

    fn differences(kernel: &ProgramRecord, mimic: &ProgramRecord) -> Vec<Difference> {
        let [kernel, mimic] =
            [kernel, mimic].map(|program| ObjectRecord { cpus: 0, programs: vec![program.clone()] });
        kernel.differences(&mimic)
    }

    fn show(object: &str, found: &[Difference], all: bool, tally: &mut Tally) {
        let unsupported = found.iter().find(|difference| difference.path.ends_with("/problem"));
        match unsupported {
            _ if found.is_empty() => tally.same += 1,
            Some(problem) if is_missing(&problem.mimic) => {
                let what: String = problem.mimic.chars().take(90).collect();
                let what = what.split("; override").next().unwrap_or_default().to_owned();
                if all {
                    println!("{object} {}: {what}", problem.path);
                }
                *tally.unsupported.entry(what).or_default() += 1;
            }
            _ => {
                tally.different += 1;
                for Difference { path, kernel, mimic } in found.iter().take(4) {
                    let cut = |text: &str| text.chars().take(300).collect::<String>();
                    println!("{object} {path}:\n  kernel {}\n  mimic  {}", cut(kernel), cut(mimic));
                }
            }
        }
    }

    /// Says of itself that it isn't there.
    fn is_missing(problem: &str) -> bool {
        ["override it with a closure", "is not there", "not implemented", "does not have"]
            .iter()
            .any(|part| problem.contains(part))
    }

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

    fn report(tally: &Tally) {
        println!("\n{} objects: {} programs compared in {} runs", tally.objects, tally.compared, tally.runs);
        println!("  {} refused by the kernel, {} left out", tally.refused, tally.left_out);
        println!("  {} the same, {} different", tally.same, tally.different);
        println!("  {} need what is not there:", tally.unsupported.values().sum::<usize>());
        let mut unsupported: Vec<_> = tally.unsupported.iter().collect();
        unsupported.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (what, count) in unsupported.iter().take(60) {
            println!("  {count:4} {what}");
        }
    }
}
