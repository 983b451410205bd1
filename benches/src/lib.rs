//! Times engines side by side: in one process, in turns, round after round, and compares their best rounds.
//!
//! The best round is what a quiet machine gives; medians tell how noisy this one is.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// How long one round of one engine should take.
const ROUND: Duration = Duration::from_millis(20);

/// An engine on a program: runs it once.
pub struct Engine<'a> {
    /// Its name.
    pub name: &'static str,
    /// Runs the program once and answers its result, which all engines must agree on.
    pub run: Box<dyn FnMut() -> u64 + 'a>,
}

/// What an engine took.
#[derive(Clone, Debug)]
pub struct Time {
    /// The engine.
    pub name: &'static str,
    /// Nanoseconds a run, in its best round.
    pub best_ns: f64,
    /// Nanoseconds a run, in the middle round.
    pub median_ns: f64,
}

/// Runs the engines in turns for some rounds. Panics if their results differ: a wrong answer has no speed.
pub fn compare(engines: &mut [Engine<'_>], rounds: usize) -> Vec<Time> {
    let expected = (engines[0].run)();
    let counts: Vec<u32> = engines
        .iter_mut()
        .map(|engine| {
            let result = (engine.run)();
            assert_eq!(result, expected, "{} and {} differ", engine.name, "the first engine");
            calibrate(engine)
        })
        .collect();
    let mut times = vec![Vec::with_capacity(rounds); engines.len()];
    for _ in 0..rounds {
        for ((engine, count), times) in engines.iter_mut().zip(&counts).zip(&mut times) {
            let start = Instant::now();
            for _ in 0..*count {
                std::hint::black_box((engine.run)());
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(*count));
        }
    }
    let time = |(engine, mut times): (&Engine<'_>, Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        Time { name: engine.name, best_ns: times[0], median_ns: times[times.len() / 2] }
    };
    engines.iter().zip(times).map(time).collect()
}

/// How often an engine runs in a round.
fn calibrate(engine: &mut Engine<'_>) -> u32 {
    let mut count = 1;
    loop {
        let start = Instant::now();
        for _ in 0..count {
            std::hint::black_box((engine.run)());
        }
        let took = start.elapsed();
        if took * 4 > ROUND || count >= 1 << 28 {
            let scale = ROUND.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return ((f64::from(count) * scale) as u32).max(1);
        }
        count *= 4;
    }
}

/// The geometric mean.
pub fn geomean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), value| (sum + value.ln(), count + 1));
    (sum / f64::from(count)).exp()
}
