//! What a run over packets came to, for machines. `version` goes up when a key changes its meaning or goes.

use crate::report::Text;
use mimic::Verdict;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The version of the JSON that `run` writes.
const VERSION: u32 = 1;
/// Entries and records of each map unless said otherwise.
const ENTRIES_MAX: usize = 1 << 16;

/// The report as JSON.
pub(crate) fn report(text: &Text<'_>, files: &[(PathBuf, u64)]) -> Value {
    let report = text.report;
    let linked = text.program.linked();
    let verdict = |(key, count): (&mimic::VerdictKey, &mimic::Count)| {
        let retval = match key {
            mimic::VerdictKey::Returned(retval, _) => json!(retval),
            mimic::VerdictKey::Faulted | mimic::VerdictKey::Refused => Value::Null,
        };
        let share = count.packets as f64 / (report.total.packets as f64).max(1.0);
        json!({ "verdict": key.name(), "retval": retval, "packets": count.packets, "bytes": count.bytes, "share": share })
    };
    let stop = |(packet, verdict): &(u64, Verdict)| match verdict {
        Verdict::Faulted(fault) => Some(json!({ "packet": packet, "fault": fault_json(fault) })),
        Verdict::Refused(why) => Some(json!({ "packet": packet, "refused": why })),
        Verdict::Returned(..) => None,
    };
    let runs = report.runs.max(1);
    let file =
        |(path, packets): &(PathBuf, u64)| json!({ "path": path.display().to_string(), "packets": packets });
    json!({
        "version": VERSION,
        "program": text.program.name().to_string(),
        "type": linked.prog_type.map(|kind| kind.word()),
        "input": text.input,
        "packets": report.total.packets,
        "bytes": report.total.bytes,
        "runs": report.runs,
        "insns": report.insns,
        "time_ns": report.time.as_nanos() as u64,
        "time_per_packet_ns": report.time.as_nanos() as u64 / runs,
        "verdicts": report.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "stops": report.stops.iter().filter_map(stop).collect::<Vec<_>>(),
        "maps": maps(text),
        "trace": text.trace.lines.iter().map(trace_line).collect::<Vec<_>>(),
        "trace_dropped": text.trace.dropped,
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}

/// A fault as JSON: what happened and where.
pub(crate) fn fault_json(fault: &mimic::vm::Fault) -> Value {
    let line = fault.line.as_ref();
    json!({
        "message": fault.to_string(),
        "kind": fault.kind.to_string(),
        "pc": fault.pc,
        "program": fault.program.to_string(),
        "func": fault.func.as_ref().map(ToString::to_string),
        "file": line.map(|line| line.file.to_string()),
        "line": line.map(|line| line.line),
    })
}

fn trace_line(line: &mimic::linux::TraceLine) -> Value {
    json!({ "time_ns": line.time_ns, "cpu": line.cpu, "pid": line.pid, "comm": line.comm, "text": line.message() })
}

fn maps(text: &Text<'_>) -> Vec<Value> {
    let most = text.entries.unwrap_or(ENTRIES_MAX);
    let mut maps = Vec::new();
    for (index, (map, contents)) in text.loaded.maps().zip(text.maps).enumerate() {
        let mut value = map.to_json(contents, most);
        if let Some(records) = text.report.records.get(&index) {
            let chosen =
                text.record_types.iter().find(|(name, _)| name == map.name()).map(|(_, ty)| ty.as_str());
            let record = |record: &mimic::Record| json!({ "packet": record.packet, "value": map.record(&record.bytes, chosen).to_json() });
            value["records"] = records.kept.iter().take(most).map(record).collect();
            let shown = records.kept.len().min(most) as u64;
            if records.total > shown {
                value["omitted"] = json!(records.total - shown);
            }
        }
        maps.push(value);
    }
    maps
}
