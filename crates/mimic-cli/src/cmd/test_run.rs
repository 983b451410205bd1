//! `mimic test-run`: `BPF_PROG_TEST_RUN` on the command line.

use crate::args::TestRun;
use crate::report_json::fault_json;
use crate::{Done, Failure, machine};
use mimic::abi::{MapType, ProgType};
use mimic::linux::progs::{self, TestRunError};
use mimic::linux::{Linux, World};
use mimic::object::Object;
use mimic::{Loaded, MapContents, MapHandle, hex, unhex};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// The longest input that is read, in bytes.
const INPUT_LEN_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &TestRun) -> Done {
    let object = machine::object(&args.object)?;
    let inputs = Inputs { data_in: input(args.data_in.as_deref())?, ctx_in: input(args.ctx_in.as_deref())? };
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

struct Inputs {
    data_in: Option<Vec<u8>>,
    ctx_in: Option<Vec<u8>>,
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
    inputs: &Inputs,
) -> Result<(Value, bool), Failure> {
    let mut world = machine::world(args.world.world.as_deref())?.unwrap_or_else(|| World::of_test_run(0));
    world.seed = args.seed.unwrap_or(world.seed);
    let settings =
        machine::Settings { cpus: args.cpus, seed: world.seed, budget: args.budget, engine: args.engine };
    let loaded = machine::load_with(&settings, object, &machine::target(&args.kernel, object)?, world)?;
    let program = machine::program(&loaded, name)?;
    for text in &args.set {
        set(&loaded, text)?;
    }
    let prog_type = program.program().linked().prog_type;
    let request = request(args, prog_type, inputs);
    let mut process = program.process()?;
    match progs::test_run(&mut process, &request) {
        Ok(out) => {
            let ctx_out = if out.ctx_out.is_empty() { &out.ctx_in_after } else { &out.ctx_out };
            let mut answer = json!({
                "errno": out.errno.map_or(0, |errno| errno.0), "retval": out.retval,
                "data_out": hex(&out.data_out), "ctx_out": hex(ctx_out), "insns": out.insns,
            });
            answer["trace"] = trace(&loaded);
            answer["maps"] = maps(&loaded)?;
            Ok((answer, false))
        }
        Err(TestRunError::Errno(errno, why)) => {
            let answer = json!({
                "errno": errno.0, "retval": 0, "data_out": "", "ctx_out": "", "insns": 0, "why": why,
                "trace": trace(&loaded), "maps": maps(&loaded)?,
            });
            Ok((answer, false))
        }
        Err(TestRunError::Fault(fault)) => {
            let answer =
                json!({ "fault": fault_json(&fault), "trace": trace(&loaded), "maps": maps(&loaded)? });
            Ok((answer, true))
        }
        Err(TestRunError::Unsupported(what)) => {
            Ok((json!({ "unsupported": { "message": what }, "trace": trace(&loaded) }), true))
        }
    }
}

/// What the kernel is asked for: room for what the program type hands out, and nothing where asking is refused.
fn request<'a>(args: &TestRun, prog_type: Option<ProgType>, inputs: &'a Inputs) -> progs::TestRun<'a> {
    use ProgType::*;
    let has_data = matches!(
        prog_type,
        Some(
            Xdp | SocketFilter
                | SchedCls
                | SchedAct
                | CgroupSkb
                | LwtIn
                | LwtOut
                | LwtXmit
                | LwtSeg6local
                | FlowDissector
        )
    );
    let ctx_in = inputs.ctx_in.as_deref().unwrap_or_default();
    progs::TestRun {
        data_in: inputs.data_in.as_deref().unwrap_or_default(),
        data_out: has_data,
        data_size_out: 0,
        ctx_in,
        ctx_size_out: if has_data { ctx_in.len() as u32 } else { 0 },
        repeat: args.repeat,
        flags: args.flags,
        cpu: 0,
        batch_size: 0,
    }
}

/// Sets an entry as `MAP=KEYHEX:VALHEX` or `MAP=KEYHEX:fd:NAME` says.
fn set(loaded: &Loaded, text: &str) -> Done {
    let named = |error: String| Failure::Input(format!("--set {text}: {error}"));
    let usage = || Failure::Usage(format!("--set {text}: expected MAP=KEYHEX:VALHEX or MAP=KEYHEX:fd:NAME"));
    let (name, entry) = text.split_once('=').ok_or_else(usage)?;
    let (key, value) = entry.split_once(':').ok_or_else(usage)?;
    let map = loaded.map(name).map_err(|error| named(error.to_string()))?;
    let key = unhex(key).map_err(|error| named(format!("key: {error}")))?;
    let done = match value.strip_prefix("fd:") {
        Some(name) => map.preset(&key, &json!(name)).map_err(|error| error.to_string()),
        None => {
            let value = unhex(value).map_err(|error| named(format!("value: {error}")))?;
            map.map().update_copy(&key, &spread(&map, value), 0).map_err(|errno| errno.to_string())
        }
    };
    done.map_err(named)
}

/// One value of a per-CPU map goes to all CPUs.
fn spread(map: &MapHandle<'_>, mut value: Vec<u8>) -> Vec<u8> {
    if !map.is_percpu() || value.len() != map.spec().value_size as usize {
        return value;
    }
    value.resize(value.len().next_multiple_of(8), 0);
    value.repeat(map.loaded().vm().cpus() as usize)
}

fn trace(loaded: &Loaded) -> Value {
    let trace = loaded.vm().emulator_as::<Linux>().map(Linux::take_trace).unwrap_or_default();
    trace.lines.iter().map(|line| json!(line.message())).collect()
}

fn maps(loaded: &Loaded) -> Result<Value, Failure> {
    let mut maps = Vec::new();
    for map in loaded.maps() {
        let kind = map.spec().kind();
        let word = kind.map_or_else(|_| map.spec().map_type.to_string(), |kind| kind.word().to_owned());
        let mut value = json!({ "name": map.name(), "type": word });
        match map.contents()? {
            MapContents::Entries(entries) => {
                let entry = |entry: &mimic::Entry| {
                    let values: Vec<String> = entry.values.iter().map(|value| hex(value)).collect();
                    match values.as_slice() {
                        [value] if !map.is_percpu() => json!({ "key": hex(&entry.key), "value": value }),
                        values => json!({ "key": hex(&entry.key), "value": values }),
                    }
                };
                value["entries"] = entries.iter().map(entry).collect();
            }
            MapContents::Records(records) => match kind {
                Ok(MapType::Queue | MapType::Stack) => {
                    value["entries"] =
                        records.iter().map(|record| json!({ "key": "", "value": hex(record) })).collect();
                }
                Ok(_) | Err(_) => {
                    value["records"] = records.iter().map(|record| json!(hex(record))).collect()
                }
            },
            MapContents::Opaque(_) => value["entries"] = json!([]),
        }
        maps.push(value);
    }
    Ok(Value::Array(maps))
}
