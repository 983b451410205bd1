//! `Options`: what was asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Rounds, each of which every engine takes part in.
    pub(crate) rounds: usize,
    /// How long an engine runs in a round.
    pub(crate) round: Duration,
    /// One line of JSON instead of tables.
    pub(crate) json: bool,
    /// Costs of single things, too.
    pub(crate) micro: bool,
    /// The shared library of the programs, compiled for this machine.
    pub(crate) native: PathBuf,
    /// The project, if the README's table and the chart are to be rewritten.
    pub(crate) bless: Option<PathBuf>,
    /// Parts of names of the programs to run; none is all.
    only: Vec<String>,
    /// Parts of names of the engines to run, native aside; none is all.
    engines: Vec<String>,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            rounds: 25,
            round: Duration::from_millis(10),
            json: false,
            micro: true,
            native: PathBuf::new(),
            bless: None,
            only: Vec::new(),
            engines: Vec::new(),
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => {
                    (options.rounds, options.round, options.micro) = (9, Duration::from_micros(1500), false)
                }
                "--json" => options.json = true,
                "--micro" => options.micro = true,
                "--native" => options.native = value()?.into(),
                "--bless" => options.bless = Some(value()?.into()),
                "--rounds" => {
                    let rounds = value()?;
                    options.rounds = rounds
                        .parse()
                        .ok()
                        .filter(|count| *count > 0)
                        .ok_or("--rounds needs a number above 0")?
                }
                "--engines" => options.engines = value()?.split(',').map(str::to_owned).collect(),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        Ok(options)
    }

    /// Whether this program is to run.
    pub(crate) fn wants(&self, program: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| program.contains(part.as_str()))
    }

    /// Whether this engine is to run.
    pub(crate) fn wants_engine(&self, engine: &str) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|part| engine.contains(part.as_str()))
    }

    /// Says on a terminal what is being measured.
    pub(crate) fn progress(&self, what: &str) {
        use std::io::IsTerminal;
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{what} …");
            if what.is_empty() {
                eprint!("\r\x1b[K");
            }
        }
    }
}
