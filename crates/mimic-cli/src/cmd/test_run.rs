//! `mimic test-run`: `BPF_PROG_TEST_RUN` on the command line.

use crate::args::TestRun;
use crate::report_json::fault_json;
use crate::{Done, Failure, machine};
use mimic::linux::World;
use mimic::object::Object;
use mimic::{TestInput, unhex};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// The longest input that is read, in bytes.
const INPUT_LEN_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &TestRun) -> Done {
    let object = machine::object_of_type(&args.object, &args.of_type, args.prog.as_deref())?;
    let inputs = TestInput {
        data_in: input(args.data_in.as_deref())?,
        ctx_in: input(args.ctx_in.as_deref())?,
        repeat: args.repeat,
        flags: args.flags,
    };
    let mut to = std::io::stdout().lock();
    if !args.all {
        let (answer, stopped) = run_one(args, &object, args.prog.as_deref(), &inputs)?;
        writeln!(to, "{answer}")?;
        return if stopped { Err(Failure::Said(3)) } else { Ok(()) };
    }
    let mut worst = None;
    for program in &object.programs {
        let (mut answer, stopped) = match run_one(args, &object, Some(&program.name), &inputs) {
            Ok(answer) => answer,
            Err(Failure::Input(error)) => {
                worst = worst.or(Some(1));
                (json!({ "error": error }), false)
            }
            Err(other) => return Err(other),
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("prog".into(), json!(program.name));
        }
        if stopped {
            worst = Some(3);
        }
        writeln!(to, "{answer}")?;
    }
    worst.map_or(Ok(()), |code| Err(Failure::Said(code)))
}

/// Reads what `F` names.
fn input(text: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    match text {
        None => Ok(None),
        Some(text) => match text.strip_prefix("hex:") {
            Some(digits) => {
                unhex(digits).map(Some).map_err(|error| Failure::Input(format!("{text}: {error}")))
            }
            None => machine::read(Path::new(text), INPUT_LEN_MAX).map(Some),
        },
    }
}

/// Runs a program in a world of its own; the answer, and whether the program was stopped.
fn run_one(
    args: &TestRun,
    object: &Object,
    name: Option<&str>,
    input: &TestInput,
) -> Result<(Value, bool), Failure> {
    let mut world = machine::world(args.world.world.as_deref())?.unwrap_or_else(|| World::of_test_run(0));
    world.seed = args.seed.unwrap_or(world.seed);
    let settings =
        machine::Settings { cpus: args.cpus, seed: world.seed, budget: args.budget, engine: args.engine };
    let loaded = machine::load_with(&settings, object, &machine::target(&args.kernel, object)?, world)?;
    let program = machine::program(&loaded, name)?;
    for text in &args.set {
        loaded.set_hex(text).map_err(|error| set_failed(text, &error))?;
    }
    let answer = program.test_run(input)?;
    machine::warn_of_unstated(&loaded);
    Ok((answer.to_json(fault_json), answer.is_stopped()))
}

/// A form that is wrong is wrong on the command line; what the map refuses is bad input.
fn set_failed(text: &str, error: &mimic::Error) -> Failure {
    let what = format!("--set {error}");
    match text.split_once('=').is_some_and(|(_, entry)| entry.contains(':')) {
        true => Failure::Input(what),
        false => Failure::Usage(what),
    }
}
