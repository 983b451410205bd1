//! `BPF_PROG_TEST_RUN` with everything that came of it: the answer, the trace, and what the maps hold then, as `mimic test-run` writes it.
//!
//! The commands' JSON, the comparison with the kernel and tests all go through here.

use crate::dump::{Entry, MapContents, hex, unhex};
use crate::error::Error;
use crate::loaded::{Loaded, Runnable};
use crate::map::MapHandle;
use mimic_abi::{MapType, ProgType};
use mimic_linux::Linux;
use mimic_linux::progs::{BPF_F_TEST_XDP_LIVE_FRAMES, TestRun, TestRunError, TestRunOut, test_run};
use mimic_vm::{Fault, Process};
use serde_json::{Value, json};

/// What a run is given. What is not there is NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestInput {
    /// The packet.
    pub data_in: Option<Vec<u8>>,
    /// The context.
    pub ctx_in: Option<Vec<u8>>,
    /// How often to run; 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
}

/// All that came of a run.
#[derive(Clone, Debug)]
pub struct TestAnswer {
    /// The kernel's answer, or why there is none.
    pub result: Result<TestRunOut, TestRunError>,
    /// What was printed with `bpf_trace_printk`, a line each.
    pub trace: Vec<String>,
    /// The maps, in the object's order.
    pub maps: Vec<MapAnswer>,
}

/// What a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapAnswer {
    /// Its name.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Keys with their values: of maps for each CPU one for each CPU. Elements of queues and stacks have no key, and are in the order of
    /// pop. Empty for maps that nobody can list.
    pub entries: Vec<Entry>,
    /// Records of a ring buffer or of perf event buffers, as users take them.
    pub records: Vec<Vec<u8>>,
}

impl Runnable<'_> {
    /// Runs it on CPU 0 as the kernel does when it is asked for all that this program type gives out.
    pub fn test_run(&self, input: &TestInput) -> Result<TestAnswer, Error> {
        let result = run_test(&mut self.process()?, input);
        let trace = self.loaded().vm().emulator_as::<Linux>().map(Linux::take_trace).unwrap_or_default();
        Ok(TestAnswer {
            result,
            trace: trace.lines.iter().map(mimic_linux::TraceLine::message).collect(),
            maps: self.loaded().maps().map(|map| map.answer()).collect::<Result<_, _>>()?,
        })
    }
}

/// Asks for room for what the program type hands out, and for nothing where asking is refused.
pub fn run_test(process: &mut Process, input: &TestInput) -> Result<TestRunOut, TestRunError> {
    use ProgType::*;
    let prog_type = process.program().linked().prog_type;
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
    let ctx_in = input.ctx_in.as_deref().unwrap_or_default();
    let is_live = prog_type == Some(Xdp) && input.flags & BPF_F_TEST_XDP_LIVE_FRAMES != 0;
    // Live frames with a context do not come back.
    let comes_back = has_data && (!is_live || ctx_in.is_empty());
    let request = TestRun {
        data_in: input.data_in.as_deref().unwrap_or_default(),
        data_out: comes_back,
        ctx_in,
        ctx_size_out: if comes_back { ctx_in.len() as u32 } else { 0 },
        repeat: input.repeat,
        flags: input.flags,
        ..TestRun::default()
    };
    test_run(process, &request)
}

impl TestAnswer {
    /// The program was stopped, or needs what is not there: a program that the kernel takes never is.
    pub fn is_stopped(&self) -> bool {
        matches!(self.result, Err(TestRunError::Fault(_) | TestRunError::Unsupported(_)))
    }

    /// As one object; `fault` writes faults.
    pub fn to_json(&self, fault: impl FnOnce(&Fault) -> Value) -> Value {
        let mut answer = match &self.result {
            Ok(out) => {
                let ctx_out = if out.ctx_out.is_empty() { &out.ctx_in_after } else { &out.ctx_out };
                let mut answer = json!({
                    "errno": out.errno.map_or(0, |errno| errno.0), "retval": out.retval,
                    "data_out": hex(&out.data_out), "ctx_out": hex(ctx_out), "insns": out.insns,
                });
                if !out.frames.is_empty() {
                    let frames =
                        out.frames.iter().map(|(verdict, count)| (verdict.to_string(), json!(count)));
                    answer["frames"] = Value::Object(frames.collect());
                }
                answer
            }
            Err(TestRunError::Errno(errno, why)) => json!({
                "errno": errno.0, "retval": 0, "data_out": "", "ctx_out": "", "insns": 0, "why": why,
            }),
            Err(TestRunError::Fault(stopped)) => json!({ "fault": fault(stopped) }),
            Err(TestRunError::Unsupported(what)) => json!({ "unsupported": { "message": what } }),
        };
        answer["trace"] = json!(self.trace);
        answer["maps"] = self.maps.iter().map(MapAnswer::to_json).collect();
        answer
    }
}

impl MapHandle<'_> {
    /// All that it holds, as bytes. Takes records and queued elements out.
    pub fn answer(&self) -> Result<MapAnswer, Error> {
        let (mut entries, mut records) = (Vec::new(), Vec::new());
        match self.contents()? {
            MapContents::Entries(listed) => entries = listed,
            MapContents::Records(taken) => match self.spec().kind() {
                Ok(MapType::Queue | MapType::Stack) => {
                    let entry = |value| Entry { key: Vec::new(), values: vec![value] };
                    entries = taken.into_iter().map(entry).collect();
                }
                Ok(_) | Err(_) => records = taken,
            },
            MapContents::Opaque(_) => {}
        }
        Ok(MapAnswer { name: self.name().into(), map_type: self.spec().map_type, entries, records })
    }
}

impl MapAnswer {
    /// As an object: keys and values in hexadecimal; for each CPU a value in a list.
    pub fn to_json(&self) -> Value {
        let kind = MapType::try_from(self.map_type);
        let word = kind.map_or_else(|_| self.map_type.to_string(), |kind| kind.word().to_owned());
        let percpu = kind.is_ok_and(MapType::is_percpu);
        let mut map = json!({ "name": self.name, "type": word });
        if matches!(kind, Ok(MapType::Ringbuf | MapType::PerfEventArray)) {
            map["records"] = self.records.iter().map(|record| json!(hex(record))).collect();
            return map;
        }
        let entry = |entry: &Entry| {
            let values: Vec<String> = entry.values.iter().map(|value| hex(value)).collect();
            match values.as_slice() {
                [value] if !percpu => json!({ "key": hex(&entry.key), "value": value }),
                values => json!({ "key": hex(&entry.key), "value": values }),
            }
        };
        map["entries"] = self.entries.iter().map(entry).collect();
        map
    }
}

impl Loaded {
    /// Sets an entry as `MAP=KEYHEX:VALHEX` or `MAP=KEYHEX:fd:NAME` says, NAME being a program or a map of the object. A value of one CPU
    /// goes to all.
    pub fn set_hex(&self, text: &str) -> Result<(), Error> {
        let form = || Error::usage(format!("{text}: expected MAP=KEYHEX:VALHEX or MAP=KEYHEX:fd:NAME"));
        let (name, entry) = text.split_once('=').ok_or_else(form)?;
        let (key, value) = entry.split_once(':').ok_or_else(form)?;
        let wrong = |what: &str, error: String| Error::usage(format!("{what}: {error}")).context(text);
        let map = self.map(name).map_err(|error| error.context(text))?;
        let key = unhex(key).map_err(|error| wrong("key", error))?;
        if let Some(name) = value.strip_prefix("fd:") {
            return map.preset(&key, &json!(name)).map_err(|error| error.context(text));
        }
        let value = unhex(value).map_err(|error| wrong("value", error))?;
        map.set_bytes(&key, value).map_err(|error| error.context(text))
    }
}

impl MapHandle<'_> {
    /// Sets a value as bytes. One as long as the map's values goes to all CPUs of a map that has them for each.
    pub fn set_bytes(&self, key: &[u8], mut value: Vec<u8>) -> Result<(), Error> {
        if self.is_percpu() && value.len() == self.spec().value_size as usize {
            value.resize(value.len().next_multiple_of(8), 0);
            value = value.repeat(self.loaded().vm().cpus() as usize);
        }
        Ok(self.map().update_copy(key, &value, 0)?)
    }
}
