//! `cargo xtask kernel-calls [--count N] [--seed S] [--type T]…`: runs random programs that call helpers on packets, in the kernel and in
//! mimic, and shows what differs.
//!
//! Program number `i` is that of seed `S + i`, so that a finding is repeated with `--count 1 --seed` and its seed.

use crate::Outcome;

/// Runs the chore.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &[String]) -> Outcome {
    Err("this needs Linux's bpf(2)".into())
}

/// Runs the chore.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &[String]) -> Outcome {
    let options = on_linux::Options::parse(args)?;
    on_linux::run(&options)
}

#[cfg(target_os = "linux")]
mod on_linux {
    use mimic::abi::ProgType;
    use mimic_tests::calls::CallProgram;
    use mimic_tests::kernel::{Kernel, Parts};

    use crate::Outcome;

    /// Programs that differ after which it stops.
    const DIFFERENCES_MAX: usize = 40;

    pub(super) struct Options {
        count: u64,
        seed: u64,
        types: Vec<ProgType>,
        show_refused: bool,
    }

    impl Options {
        pub(super) fn parse(args: &[String]) -> Result<Options, String> {
            let mut options = Options { count: 500, seed: 1, types: Vec::new(), show_refused: false };
            let mut args = args.iter();
            while let Some(option) = args.next() {
                let mut value = || args.next().ok_or_else(|| format!("{option} wants a value"));
                let number = |text: &String| text.parse().map_err(|_| format!("{text:?} is not a number"));
                match option.as_str() {
                    "--count" => options.count = number(value()?)?,
                    "--seed" => options.seed = number(value()?)?,
                    "--type" => {
                        let word = value()?;
                        let found = ProgType::by_name(word);
                        options.types.push(found.ok_or_else(|| format!("no program type {word}"))?);
                    }
                    "--refused" => options.show_refused = true,
                    unknown => return Err(format!("unknown option {unknown}")),
                }
            }
            Ok(options)
        }
    }

    pub(super) fn run(options: &Options) -> Outcome {
        let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
        let (mut compared, mut refused, mut different) = (0, 0, 0);
        kernel.in_empty_netns(|| {
            for seed in (0..options.count).map(|index| options.seed.wrapping_add(index)) {
                let calls = CallProgram::new(seed, &options.types);
                let parts = Parts { maps: &calls.maps, programs: &[&calls.program], btf: None };
                let record = kernel.record_scenario(&parts, &calls.program, &calls.scenario())?;
                if record.load != 0 {
                    refused += 1;
                    if options.show_refused {
                        let why = kernel.load(&parts)?.progs.into_iter().find_map(Result::err);
                        println!("seed {seed}: {}", why.map(|why| why.to_string()).unwrap_or_default());
                    }
                    continue;
                }
                compared += 1;
                let found = calls.differences(&record, &calls.record_in_mimic());
                if options.count == 1 {
                    calls.notes.iter().for_each(|(off, what)| println!("  {off:4} {what}"));
                }
                if let Some(first) = found.first() {
                    different += 1;
                    let prog_type = calls.program.prog_type.map(|prog_type| prog_type.to_string());
                    println!(
                        "seed {seed} {}: {} of its runs differ\n  {first}",
                        prog_type.unwrap_or_default(),
                        found.len()
                    );
                }
                if different >= DIFFERENCES_MAX {
                    break;
                }
            }
            Ok::<(), String>(())
        })?;
        println!("{compared} programs compared, {refused} refused by the verifier, {different} different");
        match different {
            0 if compared == 0 => Err("the kernel's verifier refused every program".into()),
            0 => Ok(()),
            _ => Err("mimic and the kernel differ".into()),
        }
    }
}
