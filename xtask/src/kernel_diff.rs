//! `cargo xtask kernel-diff [--count N] [--seed S]`: runs random programs in the kernel and in mimic and shows what differs.
//!
//! Program number `i` is that of seed `S + i`, so that a finding is repeated with `--count 1 --seed` and its seed.

use crate::Outcome;

/// Differences after which it stops: one bug shows in many programs.
const DIFFERENCES_MAX: usize = 5;

/// Runs the chore.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &[String]) -> Outcome {
    use std::io::{IsTerminal, Write};
    use std::time::Instant;

    use mimic_tests::kernel::Kernel;

    let (mut count, mut seed) = (10_000u64, 1u64);
    let mut args = args.iter();
    while let Some(option) = args.next() {
        let target = match option.as_str() {
            "--count" => &mut count,
            "--seed" => &mut seed,
            unknown => return Err(format!("unknown option {unknown}: usage is [--count N] [--seed S]")),
        };
        let value = args.next().ok_or_else(|| format!("{option} wants a number"))?;
        *target = value.parse().map_err(|_| format!("{option}: {value:?} is not a number"))?;
    }
    let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
    let terminal = std::io::stderr().is_terminal();
    let started = Instant::now();
    let progress = |done: u64| {
        if terminal && done.is_multiple_of(500) {
            eprint!("\r{done} of {count}");
            let _ = std::io::stderr().flush();
        }
    };
    let seeds = (0..count).map(|index| seed.wrapping_add(index));
    let report = kernel.diff_random(seeds, DIFFERENCES_MAX, progress);
    if terminal {
        eprint!("\r");
    }
    for difference in &report.differences {
        println!("{difference}");
    }
    let seconds = started.elapsed().as_secs_f64();
    let (compared, refused, different) = (report.compared, report.refused, report.differences.len());
    println!(
        "{compared} programs compared in {seconds:.1} s, {refused} refused by the verifier, {different} different"
    );
    match different {
        0 if compared == 0 && count > 0 => Err("the kernel's verifier refused every program".into()),
        0 => Ok(()),
        _ => Err("mimic and the kernel differ".into()),
    }
}

/// Runs the chore.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &[String]) -> Outcome {
    Err("this needs Linux's bpf(2)".into())
}
