//! Times engines side by side: in one process, in turns, round after round, and compares their best rounds.
//!
//! The best round is what a quiet machine gives; medians tell how noisy this one is.

use crate::engine::{Engine, Named};
use crate::options::Options;
use crate::program::Program;
use std::time::Duration;

/// What an engine took for a program.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    /// The engine.
    pub(crate) name: &'static str,
    /// What it took, or why that says nothing.
    pub(crate) result: Result<Nanos, String>,
}

/// Nanoseconds a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nanos {
    /// In the best round.
    pub(crate) best: f64,
    /// In the middle round.
    pub(crate) median: f64,
}

impl Nanos {
    /// Of the rounds' figures.
    pub(crate) fn of(mut rounds: Vec<f64>) -> Nanos {
        rounds.sort_by(f64::total_cmp);
        Nanos { best: rounds[0], median: rounds[rounds.len() / 2] }
    }
}

/// Runs the engines on a program in turns. The first is native code, whose results all others must have: a wrong answer has no
/// speed.
pub(crate) fn compare(
    program: &Program,
    engines: Vec<Named>,
    options: &Options,
) -> Result<Vec<Time>, String> {
    let mut expected = Vec::new();
    let mut times: Vec<Time> = Vec::new();
    let mut ready = Vec::new();
    for Named { name, engine } in engines {
        let checked = engine.and_then(|mut engine| {
            let results = engine.results()?;
            if expected.is_empty() {
                expected = results;
            } else if !same(&results, &expected, engine.result_mask()) {
                return Err(format!("wrong result {:#x}, not {:#x}", results[0], expected[0]));
            }
            let count = calibrate(&mut *engine, options.round);
            Ok((engine, count))
        });
        match checked {
            Ok((engine, count)) => {
                ready.push((times.len(), engine, count, Vec::with_capacity(options.rounds)));
                times.push(Time { name, result: Err("not run".into()) });
            }
            Err(why) if expected.is_empty() => return Err(format!("{name} on {}: {why}", program.name)),
            Err(why) => times.push(Time { name, result: Err(why) }),
        }
    }
    for _ in 0..options.rounds {
        for (_, engine, count, rounds) in &mut ready {
            let runs = f64::from(*count) * program.inputs.len() as f64;
            rounds.push(engine.run(*count).as_secs_f64() * 1e9 / runs);
        }
    }
    for (at, _, _, rounds) in ready {
        times[at].result = Ok(Nanos::of(rounds));
    }
    Ok(times)
}

fn same(results: &[u64], expected: &[u64], mask: u64) -> bool {
    results.len() == expected.len() && results.iter().zip(expected).all(|(a, b)| (a ^ b) & mask == 0)
}

/// How often an engine takes all inputs in a round of this length.
pub(crate) fn calibrate(engine: &mut dyn Engine, round: Duration) -> u32 {
    let mut count = 1;
    loop {
        let took = engine.run(count);
        if took * 4 > round || count >= 1 << 26 {
            let scale = round.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return ((f64::from(count) * scale) as u32).max(1);
        }
        count *= 4;
    }
}

/// The geometric mean.
pub(crate) fn geomean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), value| (sum + value.ln(), count + 1));
    (sum / f64::from(count)).exp()
}
