//! `cargo xtask jit-canary [--accesses N] [--seed S]`: code that nobody verified runs as machine code, with both kinds of checks, between blocks of
//! memory that it must not change.

use crate::Outcome;
#[cfg(unix)]
use mimic_tests::hostile::{Hunt, hunt};
#[cfg(unix)]
use std::time::Instant;

/// Accesses between two words about how far it is.
#[cfg(unix)]
const REPORT_EVERY: u64 = 1_000_000;

/// Runs the chore.
#[cfg(unix)]
pub(crate) fn run(args: &[String]) -> Outcome {
    let (mut accesses, mut seed) = (10_000_000u64, 1u64);
    let mut args = args.iter();
    while let Some(option) = args.next() {
        let target = match option.as_str() {
            "--accesses" => &mut accesses,
            "--seed" => &mut seed,
            unknown => return Err(format!("unknown option {unknown}: usage is [--accesses N] [--seed S]")),
        };
        let value = args.next().ok_or_else(|| format!("{option} wants a number"))?;
        *target = value.parse().map_err(|_| format!("{option}: {value:?} is not a number"))?;
    }
    let started = Instant::now();
    let mut said = 0;
    let done = hunt(accesses, seed, |hunt| {
        if hunt.accesses / REPORT_EVERY > said {
            said = hunt.accesses / REPORT_EVERY;
            say(hunt, started);
        }
    })?;
    say(&done, started);
    println!("nothing outside was changed");
    Ok(())
}

/// Runs the chore.
#[cfg(not(unix))]
pub(crate) fn run(_args: &[String]) -> Outcome {
    Err("this needs a host that says where memory is: Unix".into())
}

#[cfg(unix)]
fn say(hunt: &Hunt, started: Instant) {
    println!(
        "{} accesses in {:.1} s: {} runs over lists of addresses, {} ended by faults; {} programs of random instructions; {} canaries right beside guest memory",
        hunt.accesses,
        started.elapsed().as_secs_f64(),
        hunt.runs,
        hunt.faults,
        hunt.programs,
        hunt.neighbours
    );
}
