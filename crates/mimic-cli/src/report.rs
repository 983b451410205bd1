//! What a run over packets came to, for people: verdicts, maps, records, trace output.

use crate::out::{BAD, DIM, GOOD, HEAD, NAME, Table, plain};
use anstyle::Style;
use mimic::linux::Trace;
use mimic::{Loaded, MapContents, MapHandle, Record, Records, Report, Typed, Verdict, VerdictKey};
use std::io::{Result, Write};

/// Entries and records shown of each map unless said otherwise.
const ENTRIES_SHOWN: usize = 16;
/// Lines of trace output shown unless said otherwise.
const TRACE_SHOWN: usize = 32;
/// Columns of the longest bar in the table of verdicts.
const BAR_LEN: f64 = 30.0;

/// A report about to be printed.
pub(crate) struct Text<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) program: &'a mimic::vm::LoadedProgram,
    pub(crate) input: &'a str,
    pub(crate) report: &'a Report,
    pub(crate) maps: &'a [MapContents],
    pub(crate) trace: &'a Trace,
    /// Which types records are shown as: map and type.
    pub(crate) record_types: &'a [(String, String)],
    /// At most so many entries of each map; none: a handful.
    pub(crate) entries: Option<usize>,
}

impl Text<'_> {
    /// Prints it.
    pub(crate) fn print(&self, to: &mut impl Write) -> Result<()> {
        let linked = self.program.linked();
        let kind = linked.prog_type.map_or("no type", |kind| kind.word());
        let (name, slots) = (self.program.name(), linked.code.len());
        writeln!(to, "{HEAD}{name}{HEAD:#}  {DIM}{kind}, {slots} instructions{DIM:#}  over {}", self.input)?;
        writeln!(to)?;
        self.verdicts(to)?;
        self.stops(to)?;
        for (index, (map, contents)) in self.loaded.maps().zip(self.maps).enumerate() {
            self.map(to, index, map, contents)?;
        }
        self.trace(to)
    }

    fn verdicts(&self, to: &mut impl Write) -> Result<()> {
        let report = self.report;
        let share = |packets: u64| packets as f64 / (report.total.packets as f64).max(1.0);
        let mut table = Table::new(&["VERDICT", ">PACKETS", ">SHARE", ">BYTES", ""]);
        let mut actions: Vec<(VerdictKey, mimic::Count)> =
            report.verdicts.iter().map(|(key, count)| (key.clone(), *count)).collect();
        for key in mimic::verdicts_of(self.program.linked()) {
            if !report.verdicts.contains_key(&key) {
                actions.push((key, mimic::Count::default()));
            }
        }
        actions.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, count) in &actions {
            let percent = format!("{:.1} %", share(count.packets) * 100.0);
            let bar = bar(share(count.packets));
            let style = verdict_style(key);
            let cells = [key.name(), grouped(count.packets), percent, grouped(count.bytes), bar];
            table.styled_row(cells, if count.packets == 0 { DIM } else { style });
        }
        table.print(to, 2)?;
        let (packets, runs) = (report.total.packets, report.runs.max(1));
        let ns = report.time.as_nanos() as f64 / runs as f64;
        let insns = report.insns as f64 / runs as f64;
        let repeated =
            if report.runs == packets { String::new() } else { format!(" run {} times", report.runs) };
        writeln!(to)?;
        writeln!(
            to,
            "  {}{repeated} in {}: {HEAD}{ns:.0} ns{HEAD:#} and {insns:.0} instructions a packet",
            counted(packets, "packet"),
            duration(report.time),
        )
    }

    fn stops(&self, to: &mut impl Write) -> Result<()> {
        for (packet, verdict) in &self.report.stops {
            let what = match verdict {
                Verdict::Faulted(fault) => fault.to_string(),
                Verdict::Refused(why) => why.clone(),
                Verdict::Returned(..) => continue,
            };
            writeln!(to, "  {BAD}packet {packet}{BAD:#}: {what}")?;
        }
        Ok(())
    }

    fn map(
        &self,
        to: &mut impl Write,
        index: usize,
        map: MapHandle<'_>,
        contents: &MapContents,
    ) -> Result<()> {
        let spec = map.spec();
        let kind = spec.kind().map_or_else(|_| spec.map_type.to_string(), |kind| kind.word().to_owned());
        let records = self.report.records.get(&index);
        let (count, what) = match contents {
            MapContents::Entries(_) if spec.is_data() => (None, "variables".to_owned()),
            MapContents::Entries(entries) if is_array(map) => {
                let set = entries.iter().filter(|entry| !entry.is_zero()).count();
                (Some(set as u64), format!("of {} entries are not zero", entries.len()))
            }
            MapContents::Entries(entries) => {
                (Some(entries.len() as u64), format!("of {} entries", spec.max_entries))
            }
            MapContents::Records(left) if records.is_none() => (Some(left.len() as u64), "records".into()),
            MapContents::Records(_) => (records.map(|records| records.total), "records".into()),
            MapContents::Opaque(why) => (None, why.clone()),
        };
        let count = count.map_or(String::new(), |count| format!("{} ", grouped(count)));
        writeln!(to)?;
        writeln!(to, "{NAME}{}{NAME:#}  {DIM}{kind}, {count}{what}{DIM:#}", plain(map.name()))?;
        match contents {
            MapContents::Entries(entries) => match entries.as_slice() {
                [entry] if spec.is_data() => self.variables(to, map, &entry.values),
                entries => self.entries(to, map, entries),
            },
            MapContents::Records(left) => {
                let none = Records::default();
                self.records(to, map, records.unwrap_or(&none), left)
            }
            MapContents::Opaque(_) => Ok(()),
        }
    }

    fn variables(&self, to: &mut impl Write, map: MapHandle<'_>, values: &[Vec<u8>]) -> Result<()> {
        let Some(bytes) = values.first() else { return Ok(()) };
        let variables = map.variables(bytes);
        if variables.is_empty() {
            return writeln!(to, "  {}", map.typed_value(bytes));
        }
        let width = variables.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in variables {
            writeln!(to, "  {name:<width$} = {value}")?;
        }
        Ok(())
    }

    fn entries(&self, to: &mut impl Write, map: MapHandle<'_>, entries: &[mimic::Entry]) -> Result<()> {
        let shown: Vec<&mimic::Entry> =
            entries.iter().filter(|entry| !is_array(map) || !entry.is_zero()).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let most = self.entries.unwrap_or(ENTRIES_SHOWN);
        let percpu = map.is_percpu() && self.loaded.vm().cpus() > 1;
        let mut table =
            if percpu { Table::new(&["KEY", ">CPU", "VALUE"]) } else { Table::new(&["KEY", "VALUE"]) };
        for entry in shown.iter().take(most) {
            let mut key = map.key(&entry.key).to_string();
            for (cpu, value) in entry.values.iter().enumerate() {
                let zero = value.iter().all(|byte| *byte == 0);
                if percpu && zero {
                    continue;
                }
                let value = self.value(map, value);
                let key = std::mem::take(&mut key);
                if percpu { table.row([key, cpu.to_string(), value]) } else { table.row([key, value]) }
            }
        }
        table.print(to, 2)?;
        more(to, shown.len().saturating_sub(most) as u64, ("entry", "entries"), self.entries.is_none())
    }

    /// A value; of maps of maps and programs the name behind the id.
    fn value(&self, map: MapHandle<'_>, bytes: &[u8]) -> String {
        map.slot(bytes).unwrap_or_else(|| map.typed_value(bytes).to_string())
    }

    fn records(
        &self,
        to: &mut impl Write,
        map: MapHandle<'_>,
        records: &Records,
        left: &[Vec<u8>],
    ) -> Result<()> {
        let most = self.entries.unwrap_or(ENTRIES_SHOWN);
        let chosen = self.record_types.iter().find(|(name, _)| name == map.name());
        let chosen = chosen.map(|(_, ty)| ty.as_str());
        use mimic::abi::MapType;
        let is_ring = matches!(map.spec().kind(), Ok(MapType::Ringbuf | MapType::PerfEventArray));
        let typed =
            |bytes| -> Typed<'_> { if is_ring { map.record(bytes, chosen) } else { map.typed_value(bytes) } };
        for Record { packet, bytes } in records.kept.iter().take(most) {
            writeln!(to, "  {DIM}#{packet:<6}{DIM:#} {}", typed(bytes))?;
        }
        for bytes in left.iter().take(most) {
            writeln!(to, "  {}", typed(bytes))?;
        }
        let hidden = records.total.saturating_sub(most as u64) + left.len().saturating_sub(most) as u64;
        more(to, hidden, ("record", "records"), self.entries.is_none())
    }

    fn trace(&self, to: &mut impl Write) -> Result<()> {
        let lines = &self.trace.lines;
        if lines.is_empty() {
            return Ok(());
        }
        let most = self.entries.unwrap_or(TRACE_SHOWN);
        let count = lines.len() as u64 + self.trace.dropped;
        writeln!(to)?;
        writeln!(to, "{NAME}trace output{NAME:#}  {DIM}{}{DIM:#}", counted(count, "line"))?;
        for line in lines.iter().take(most) {
            let (seconds, us) = (line.time_ns / 1_000_000_000, line.time_ns / 1_000 % 1_000_000);
            writeln!(to, "  {DIM}[{:03}] {seconds}.{us:06}{DIM:#} {}", line.cpu, plain(&line.message()))?;
        }
        more(to, count.saturating_sub(most as u64), ("line", "lines"), self.entries.is_none())
    }
}

/// Says how much is not shown.
fn more(to: &mut impl Write, count: u64, (one, many): (&str, &str), hint: bool) -> Result<()> {
    let what = if count == 1 { one } else { many };
    match (count, hint) {
        (0, _) => Ok(()),
        (_, true) => writeln!(to, "  {DIM}… {} more {what} (--entries N shows more){DIM:#}", grouped(count)),
        (_, false) => writeln!(to, "  {DIM}… {} more {what}{DIM:#}", grouped(count)),
    }
}

fn is_array(map: MapHandle<'_>) -> bool {
    use mimic::abi::MapType;
    matches!(map.spec().kind(), Ok(MapType::Array | MapType::PercpuArray))
}

fn verdict_style(key: &VerdictKey) -> Style {
    match key {
        VerdictKey::Faulted | VerdictKey::Refused => BAD,
        VerdictKey::Returned(_, Some(name)) => match *name {
            "XDP_PASS" | "TC_ACT_OK" | "BPF_OK" | "allow" => GOOD,
            "XDP_ABORTED" => BAD,
            _ => Style::new(),
        },
        VerdictKey::Returned(_, None) => Style::new(),
    }
}

/// A bar of eighths of a column.
fn bar(share: f64) -> String {
    let eighths = (share * BAR_LEN * 8.0).ceil() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    "█".repeat(eighths / 8) + rest.get(eighths % 8).copied().unwrap_or("")
}

/// So many of these.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number with a space between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn duration(time: std::time::Duration) -> String {
    match time.as_nanos() {
        ns if ns < 10_000 => format!("{ns} ns"),
        ns if ns < 10_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        ns if ns < 10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        ns => format!("{:.1} s", ns as f64 / 1e9),
    }
}
