//! Runs programs through `mimic test-run … --json`, as users and scripts do, and records what it writes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use mimic::{Entry, MapAnswer, hex, unhex};
use mimic_abi::MapType;
use mimic_object::{MapOrigin, MapSpec};
use serde_json::Value;

use super::mimic::record_map;
use super::{Input, Preset, ProgramRecord, RunRecord, Scenario};

/// The command, and what it is told beside program and input.
#[derive(Clone, Debug)]
pub struct TestRunCommand {
    /// Where the executable is.
    pub mimic: PathBuf,
    /// The kernel's types; without them those of the object are taken.
    pub btf: Option<PathBuf>,
}

impl TestRunCommand {
    /// What `--engine` takes.
    pub const ENGINES: [&str; 3] = ["interp", "jit", "auto"];

    /// A run of a program of an object by an engine. Its maps are `maps`; the scenario has one input.
    pub fn record(
        &self,
        object: &std::path::Path,
        name: &str,
        maps: &[MapSpec],
        scenario: &Scenario,
        engine: &str,
    ) -> ProgramRecord {
        let mut record = ProgramRecord { name: name.into(), ..ProgramRecord::default() };
        let Some(input) = scenario.inputs.first() else { return record };
        match self.answer(
            &[object.as_os_str(), "--prog".as_ref(), name.as_ref(), "--engine".as_ref(), engine.as_ref()],
            maps,
            scenario,
            input,
        ) {
            Ok(answer) => {
                if let Err(problem) = read(&mut record, &answer, maps, input) {
                    record.problem = Some(format!("{problem}: {answer}"));
                }
            }
            Err(problem) => record.problem = Some(problem),
        }
        record
    }

    fn answer(
        &self,
        what: &[&OsStr],
        maps: &[MapSpec],
        scenario: &Scenario,
        input: &Input,
    ) -> Result<Value, String> {
        let mut command = Command::new(&self.mimic);
        command.arg("test-run").args(what).arg("--json");
        if let Some(btf) = &self.btf {
            command.arg("--btf").arg(btf);
        }
        for (option, bytes) in [("--data-in", &input.data_in), ("--ctx-in", &input.ctx_in)] {
            if let Some(bytes) = bytes {
                command.args([option, &format!("hex:{}", hex(bytes))]);
            }
        }
        for (option, number) in [("--repeat", input.repeat), ("--flags", input.flags)] {
            if number != 0 {
                command.args([option, &number.to_string()]);
            }
        }
        for (map, key, value) in &scenario.entries {
            let value = match value {
                Preset::Bytes(bytes) => hex(bytes),
                Preset::Program(name) | Preset::Map(name) => format!("fd:{name}"),
            };
            command.args(["--set", &format!("{}={}:{value}", maps[*map].name, hex(key))]);
        }
        let output = command.output().map_err(|error| format!("{}: {error}", self.mimic.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let said = || format!("{}{}", text, String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => serde_json::from_str(&text).map_err(|error| format!("not JSON ({error}): {}", said())),
            code => Err(format!("exit code {code:?}: {}", said())),
        }
    }
}

/// Reads the command's JSON.
fn read(record: &mut ProgramRecord, answer: &Value, maps: &[MapSpec], input: &Input) -> Result<(), String> {
    let number = |key: &str| answer[key].as_u64().ok_or_else(|| format!("no number {key:?}"));
    let bytes = |key: &str| unhex(answer[key].as_str().ok_or_else(|| format!("no text {key:?}"))?);
    let mut run =
        RunRecord { input: input.name.clone(), errno: number("errno")? as i32, ..RunRecord::default() };
    if run.errno == 0 {
        run.retval = number("retval")? as u32;
        let (data_out, ctx_out) = (bytes("data_out")?, bytes("ctx_out")?);
        if input.data_size_out > 0 && Some(&data_out) != input.data_in.as_ref() {
            run.data_out = Some(data_out);
        }
        if input.ctx_size_out > 0 || (!ctx_out.is_empty() && input.ctx_in.as_ref() != Some(&ctx_out)) {
            run.ctx_out = Some(ctx_out);
        }
    }
    record.runs.push(run);
    let listed = answer["maps"].as_array().ok_or("no list \"maps\"")?;
    for (map, spec) in listed.iter().zip(maps).filter(|(_, spec)| spec.origin != MapOrigin::Rodata) {
        record.maps.push(record_map(&map_answer(map, spec)?));
    }
    match listed.len() == maps.len() {
        true => Ok(()),
        false => Err(format!("{} maps of {}", listed.len(), maps.len())),
    }
}

fn map_answer(map: &Value, spec: &MapSpec) -> Result<MapAnswer, String> {
    let name = map["name"].as_str().ok_or("a map without a name")?.to_owned();
    let word = MapType::try_from(spec.map_type)
        .map_or_else(|_| spec.map_type.to_string(), |kind| kind.word().into());
    if (map["name"].as_str(), map["type"].as_str()) != (Some(&spec.name), Some(&word)) {
        return Err(format!("map {} of type {word} is not the next", spec.name));
    }
    let text = |value: &Value| unhex(value.as_str().unwrap_or("not text"));
    let entry = |entry: &Value| {
        let values = match &entry["value"] {
            Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
            value => vec![text(value)?],
        };
        Ok(Entry { key: text(&entry["key"])?, values })
    };
    let list = |key: &str| map[key].as_array().into_iter().flatten();
    Ok(MapAnswer {
        name,
        map_type: spec.map_type,
        entries: list("entries").map(entry).collect::<Result<_, String>>()?,
        records: list("records").map(text).collect::<Result<_, _>>()?,
    })
}
