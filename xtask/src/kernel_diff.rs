//! `cargo xtask kernel-diff [--count N] [--seed S] [--every K] [--no-kernel]`: runs random programs on mimic's engines and in the kernel and
//! shows what differs.
//!
//! The kernel runs every K-th program only, if it is told so: it takes its time to load them. Program number `i` is that of seed `S + i`, so that a
//! finding is repeated with `--count 1 --seed` and its seed.

use crate::Outcome;
use mimic_tests::random::RandomProgram;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Differences after which it stops: one bug shows in many programs.
const DIFFERENCES_MAX: usize = 5;

/// Programs between two words about how far it is, where nobody watches a terminal.
const REPORT_EVERY: u64 = 10_000;

/// What is asked for.
struct Options {
    count: u64,
    seed: u64,
    /// The kernel runs each of these; 0 for none.
    every: u64,
}

/// What came of it.
#[derive(Default)]
struct Report {
    /// Run on all engines and in the kernel.
    compared: u64,
    /// Run on all engines only.
    engines: u64,
    refused: u64,
    differences: Vec<String>,
}

/// Runs the chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    let options = Options::parse(args)?;
    let started = Instant::now();
    let report = std::thread::scope(|scope| {
        let kernel = scope.spawn(|| with_kernel(&options));
        let report = without_kernel(&options, started);
        let kernel = kernel.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok::<Report, String>(report.and(kernel))
    })?;
    for difference in &report.differences {
        println!("{difference}");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} programs compared on all engines in {seconds:.1} s, {} of them with the kernel, whose verifier refused {}; {} different",
        report.compared + report.engines,
        report.compared,
        report.refused,
        report.differences.len()
    );
    match report.differences.len() {
        0 if report.compared == 0 && options.every > 0 && options.count > 0 => {
            Err("the kernel's verifier refused every program".into())
        }
        0 => Ok(()),
        _ => Err("they differ".into()),
    }
}

impl Options {
    fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options { count: 10_000, seed: 1, every: 1 };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let target = match option.as_str() {
                "--count" => &mut options.count,
                "--seed" => &mut options.seed,
                "--every" => &mut options.every,
                "--no-kernel" => {
                    options.every = 0;
                    continue;
                }
                unknown => {
                    return Err(format!(
                        "unknown option {unknown}: usage is [--count N] [--seed S] [--every K] [--no-kernel]"
                    ));
                }
            };
            let value = args.next().ok_or_else(|| format!("{option} wants a number"))?;
            *target = value.parse().map_err(|_| format!("{option}: {value:?} is not a number"))?;
        }
        Ok(options)
    }

    fn is_for_kernel(&self, index: u64) -> bool {
        self.every > 0 && index.is_multiple_of(self.every)
    }
}

impl Report {
    fn and(mut self, other: Report) -> Report {
        self.differences.extend(other.differences);
        Report {
            compared: self.compared + other.compared,
            engines: self.engines + other.engines,
            refused: self.refused + other.refused,
            differences: self.differences,
        }
    }
}

/// Those that only mimic runs.
fn without_kernel(options: &Options, started: Instant) -> Report {
    let mut report = Report::default();
    let terminal = std::io::stderr().is_terminal();
    for index in (0..options.count).filter(|index| !options.is_for_kernel(*index)) {
        let seed = options.seed.wrapping_add(index);
        if let Err(difference) = RandomProgram::new(seed).engines_agree() {
            report.differences.push(format!("seed {seed}:\n{difference}"));
            if report.differences.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        report.engines += 1;
        if terminal && index.is_multiple_of(500) {
            eprint!("\r{index} of {}", options.count);
            let _ = std::io::stderr().flush();
        } else if !terminal && report.engines.is_multiple_of(REPORT_EVERY) {
            let (done, seconds) = (report.engines, started.elapsed().as_secs());
            println!("{done} on mimic's engines after {seconds} s, {} different", report.differences.len());
        }
    }
    report
}

/// Those that the kernel runs, too.
#[cfg(target_os = "linux")]
fn with_kernel(options: &Options) -> Result<Report, String> {
    use mimic_tests::kernel::Kernel;
    if options.every == 0 {
        return Ok(Report::default());
    }
    let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
    let seeds = (0..options.count).filter(|index| options.is_for_kernel(*index));
    let seeds = seeds.map(|index| options.seed.wrapping_add(index));
    let terminal = std::io::stderr().is_terminal();
    let progress = |done: u64| {
        if done.is_multiple_of(if terminal { 500 } else { REPORT_EVERY }) {
            println!("{done} with the kernel");
        }
    };
    let report = kernel.diff_random(seeds, DIFFERENCES_MAX, progress);
    let differences: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    // The engines may have hours to go.
    println!("{} compared with the kernel, {} different", report.compared, differences.len());
    Ok(Report { compared: report.compared, engines: 0, refused: report.refused, differences })
}

/// Those that the kernel runs, too.
#[cfg(not(target_os = "linux"))]
fn with_kernel(options: &Options) -> Result<Report, String> {
    match options.every {
        0 => Ok(Report::default()),
        _ => Err("this needs Linux's bpf(2); --no-kernel does without".into()),
    }
}
