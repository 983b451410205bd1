//! `Report`: what came out, as a table, as Markdown, as one line of JSON.

use crate::chart;
use crate::micro::Figure;
use crate::options::Options;
use crate::program::{Kind, Program};
use crate::rounds::{Nanos, Time, geomean};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// The README's table lies between these lines.
const BEGIN: &str = "<!-- cargo xtask bench --bless writes this: begin -->";
const END: &str = "<!-- end -->";
const README: &str = "README.md";
const CHART: &str = "docs/benchmarks.svg";

/// All programs' times.
pub(crate) struct Report {
    rounds: usize,
    rows: Vec<Row>,
}

struct Row {
    program: &'static str,
    kind: Kind,
    times: Vec<Time>,
}

/// A mean over the programs of a kind.
pub(crate) struct Mean {
    /// The mean of the ratios to native.
    pub(crate) ratio: f64,
    /// Programs of the kind that the engine cannot run, or answers wrongly.
    pub(crate) missing: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Report {
        Report { rounds: options.rounds, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, program: &Program, times: Vec<Time>) {
        self.rows.push(Row { program: program.name, kind: program.kind, times });
    }

    /// All engines, native first.
    fn engines(&self) -> Vec<&'static str> {
        self.rows.first().map(|row| row.times.iter().map(|time| time.name).collect()).unwrap_or_default()
    }

    /// The geometric mean of an engine's ratios over the programs of a kind that it can run. None if that is none.
    pub(crate) fn mean(&self, engine: &str, kind: Kind) -> Option<Mean> {
        let rows = || self.rows.iter().filter(|row| row.kind == kind);
        let ratios: Vec<f64> = rows().filter_map(|row| row.ratio(engine)).collect();
        let missing = rows().filter(|row| row.ratio(engine).is_none()).map(|row| row.program).collect();
        (!ratios.is_empty()).then(|| Mean { ratio: geomean(ratios), missing })
    }

    /// Tables for people.
    pub(crate) fn to_text(&self, micro: &[Figure]) -> String {
        let mut text = format!(
            "Time of the best of {} interleaved rounds, relative to native code (clang -O2). Less is faster.\n\n",
            self.rounds
        );
        text.push_str(&self.table(|cells| {
            let cells: Vec<String> = cells.iter().enumerate().map(|(at, cell)| pad(cell, at)).collect();
            format!("{}\n", cells.join(" ").trim_end())
        }));
        text.push_str("\nNanoseconds a run: best, and median in brackets.\n\n");
        for row in &self.rows {
            let cells = row.times.iter().map(|time| match &time.result {
                Ok(nanos) => format!("{} {} [{}]", time.name, short(nanos.best), short(nanos.median)),
                Err(why) => format!("{} – ({why})", time.name),
            });
            let _ = writeln!(text, "{:<8} {}", row.program, cells.collect::<Vec<_>>().join(", "));
        }
        if !micro.is_empty() {
            text.push('\n');
        }
        for figure in micro {
            let _ = writeln!(text, "{:<44} {:>12} {}", figure.name, short(figure.value), figure.unit);
        }
        text
    }

    /// The table of ratios; `line` makes a line of cells. An engine that cannot run all of a kind has its mean in brackets.
    fn table(&self, line: impl Fn(&[String]) -> String) -> String {
        let mut head = vec!["engine".to_owned()];
        head.extend(self.rows.iter().map(|row| row.program.to_owned()));
        head.extend(["compute", "loops"].map(str::to_owned));
        let mut text = line(&head);
        for engine in self.engines() {
            let mut cells = vec![engine.to_owned()];
            cells.extend(self.rows.iter().map(|row| match row.ratio(engine) {
                Some(ratio) => format!("{ratio:.*}", digits(ratio)),
                None => row.mark(engine).to_owned(),
            }));
            cells.extend([Kind::Compute, Kind::Loops].map(|kind| match self.mean(engine, kind) {
                Some(mean) if mean.missing.is_empty() => format!("{:.*}", digits(mean.ratio), mean.ratio),
                Some(mean) => format!("({:.*})", digits(mean.ratio), mean.ratio),
                None => "–".to_owned(),
            }));
            text.push_str(&line(&cells));
        }
        text
    }

    fn to_markdown(&self) -> String {
        let table = self.table(|cells| {
            let mut line = format!("| {} |\n", cells.join(" | "));
            if cells[0] == "engine" {
                line.push_str(&format!("|---|{}\n", "---:|".repeat(cells.len() - 1)));
            }
            line
        });
        format!("{BEGIN}\n\n{table}\n{END}")
    }

    /// One line: means by engine, and what they are made of.
    pub(crate) fn to_json(&self, micro: &[Figure]) -> Value {
        let means = |kind| -> Map<String, Value> {
            let mean =
                |engine: &str| Some((engine.to_owned(), json!(rounded(self.mean(engine, kind)?.ratio))));
            self.engines().into_iter().filter_map(mean).collect()
        };
        let missing: Map<String, Value> = self
            .engines()
            .into_iter()
            .map(|engine| {
                let rows = self.rows.iter().filter(|row| row.ratio(engine).is_none());
                (engine.to_owned(), rows.map(|row| row.program).collect::<Value>())
            })
            .filter(|(_, programs)| programs.as_array().is_some_and(|programs| !programs.is_empty()))
            .collect();
        let programs: Map<String, Value> =
            self.rows.iter().map(|row| (row.program.to_owned(), row.to_json())).collect();
        let micro: Map<String, Value> = micro
            .iter()
            .map(|figure| (figure.name.clone(), json!({"value": rounded(figure.value), "unit": figure.unit})))
            .collect();
        json!({
            "version": 1,
            "rounds": self.rounds,
            "geomean_compute": means(Kind::Compute),
            "geomean_loops": means(Kind::Loops),
            "missing": missing,
            "programs": programs,
            "micro": micro,
        })
    }

    /// Rewrites the README's table and the chart.
    pub(crate) fn bless(&self, root: &Path) -> Result<(), String> {
        let readme = root.join(README);
        let text = std::fs::read_to_string(&readme).map_err(|error| format!("{README}: {error}"))?;
        let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = parts.ok_or_else(|| format!("{README} has no line {BEGIN}"))?;
        let text = format!("{before}{}{after}", self.to_markdown());
        std::fs::write(&readme, text).map_err(|error| format!("{README}: {error}"))?;
        let bars = self.engines().into_iter().map(|engine| chart::Bars {
            name: engine,
            values: [Kind::Compute, Kind::Loops].map(|kind| self.mean(engine, kind).map(|mean| mean.ratio)),
        });
        let chart = chart::draw(&bars.collect::<Vec<_>>());
        std::fs::write(root.join(CHART), chart).map_err(|error| format!("{CHART}: {error}"))
    }
}

impl Row {
    fn nanos(&self, engine: &str) -> Option<Nanos> {
        let time = self.times.iter().find(|time| time.name == engine)?;
        time.result.as_ref().ok().copied()
    }

    /// An engine's time relative to native code's.
    fn ratio(&self, engine: &str) -> Option<f64> {
        Some(self.nanos(engine)?.best / self.nanos("native")?.best)
    }

    /// What stands in the place of a figure.
    fn mark(&self, engine: &str) -> &'static str {
        let time = self.times.iter().find(|time| time.name == engine);
        match time.map(|time| &time.result) {
            Some(Err(why)) if why.starts_with("wrong") => "wrong",
            _ => "–",
        }
    }

    fn to_json(&self) -> Value {
        let entry = |time: &Time| {
            let value = match &time.result {
                Ok(nanos) => json!({
                    "best_ns": rounded(nanos.best),
                    "median_ns": rounded(nanos.median),
                    "ratio": self.ratio(time.name).map(rounded),
                }),
                Err(why) => json!({ "error": why }),
            };
            (time.name.to_owned(), value)
        };
        Value::Object(self.times.iter().map(entry).collect())
    }
}

fn pad(cell: &str, at: usize) -> String {
    if at == 0 { format!("{cell:<18}") } else { format!("{cell:>8}") }
}

fn digits(ratio: f64) -> usize {
    if ratio < 10.0 { 2 } else { usize::from(ratio < 100.0) }
}

/// A number in a few characters.
fn short(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 1000.0) };
    format!("{value:.digits$}")
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let time = |name, result: Result<f64, &str>| Time {
            name,
            result: result.map(|best| Nanos { best, median: best * 2.0 }).map_err(str::to_owned),
        };
        let row = |program, kind, other| Row {
            program,
            kind,
            times: vec![time("native", Ok(10.0)), time("x", other)],
        };
        Report {
            rounds: 3,
            rows: vec![
                row("a", Kind::Compute, Ok(20.0)),
                row("b", Kind::Compute, Ok(80.0)),
                row("c", Kind::Loops, Err("wrong result 1, not 2")),
            ],
        }
    }

    #[test]
    fn means_are_geometric_and_over_what_ran() {
        let report = report();
        let mean = report.mean("x", Kind::Compute).unwrap();
        assert!((mean.ratio - 4.0).abs() < 1e-9 && mean.missing.is_empty());
        assert!(report.mean("x", Kind::Loops).is_none());
        assert_eq!(report.mean("native", Kind::Loops).unwrap().ratio, 1.0);
    }

    #[test]
    fn json_is_one_line_with_the_means_by_engine() {
        let json = report().to_json(&[]);
        assert_eq!(json["geomean_compute"]["x"], json!(4.0));
        assert_eq!(json["geomean_loops"], json!({"native": 1.0}));
        assert_eq!(json["missing"], json!({"x": ["c"]}));
        assert!(!json.to_string().contains('\n'));
    }

    #[test]
    fn markdown_marks_wrong_results() {
        let text = report().to_markdown();
        assert!(text.contains("| x | 2.00 | 8.00 | wrong | 4.00 | – |"), "{text}");
    }
}
