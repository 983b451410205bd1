//! `Tracer`: prints each instruction of a run with the registers that it changed, and source lines where they begin.

use crate::out::{BAD, DIM, HEAD, NAME, plain};
use mimic::abi::disasm::{Style, disassemble};
use mimic::vm::{At, Flow, LoadedProgram, Probe};
use mimic::{HelperNames, Verdict};
use std::collections::HashMap;
use std::io::Write;

/// Prints what a process does. Writes to `to`; an error ends the printing, not the run.
pub(crate) struct Tracer<W: Write> {
    to: W,
    failed: bool,
    /// Listings by program id: the text of each slot.
    listings: HashMap<u32, HashMap<u32, String>>,
    last: Option<Last>,
    line: Option<(u32, u32)>,
}

/// The instruction that is being executed.
struct Last {
    text: String,
    regs: [u64; 11],
    depth: usize,
}

impl<W: Write> Tracer<W> {
    /// A tracer that writes there.
    pub(crate) fn new(to: W) -> Tracer<W> {
        Tracer { to, failed: false, listings: HashMap::new(), last: None, line: None }
    }

    /// Says what is going to be traced.
    pub(crate) fn title(&mut self, title: &str) -> std::io::Result<()> {
        writeln!(self.to, "{HEAD}{title}{HEAD:#}")
    }

    /// Says that the run has ended, and how.
    pub(crate) fn end(&mut self, verdict: &Verdict) -> std::io::Result<()> {
        if let Some(last) = self.last.take() {
            let regs = last.regs;
            self.print(&last, &regs);
        }
        self.line = None;
        match verdict {
            Verdict::Faulted(fault) => writeln!(self.to, "{BAD}{fault}{BAD:#}\n")?,
            Verdict::Refused(why) => writeln!(self.to, "{BAD}{why}{BAD:#}\n")?,
            Verdict::Returned(..) => writeln!(self.to, "{HEAD}{}{HEAD:#}\n", verdict.name())?,
        }
        self.to.flush()
    }

    fn print(&mut self, last: &Last, regs: &[u64; 11]) {
        let changed = last.regs.iter().zip(regs).enumerate().filter(|(_, (old, new))| old != new);
        let changed: Vec<String> = changed.map(|(reg, (_, new))| format!("r{reg}={new:#x}")).collect();
        let indent = last.depth * 2;
        let text = &last.text;
        let changed = changed.join(" ");
        let end = match changed.as_str() {
            "" => writeln!(self.to, "{:indent$}{text}", ""),
            _ => writeln!(self.to, "{:indent$}{text:<52}  {NAME}{changed}{NAME:#}", ""),
        };
        self.failed |= end.is_err();
    }

    fn source(&mut self, at: &At<'_>) {
        let Some(line) = at.program.line_at(at.pc) else { return };
        let place = Some((at.program.id(), line.line));
        if place == self.line {
            return;
        }
        self.line = place;
        let (indent, text) = (at.depth * 2, plain(line.text.trim()));
        let end = writeln!(self.to, "{:indent$}{DIM}; {text}  ({}:{}){DIM:#}", "", line.file, line.line);
        self.failed |= end.is_err();
    }

    fn text(&mut self, program: &LoadedProgram, pc: u32) -> String {
        let listing = self.listings.entry(program.id()).or_insert_with(|| {
            let code = &program.linked().code;
            let lines = disassemble(code);
            lines
                .map(|line| (line.pc as u32, line.display(Style::Kernel, &HelperNames).to_string()))
                .collect()
        });
        listing.get(&pc).cloned().unwrap_or_else(|| format!("{pc}: ?"))
    }
}

impl<W: Write> Probe for Tracer<W> {
    fn insn(&mut self, at: &At<'_>) -> Flow {
        if self.failed {
            return Flow::Go;
        }
        if let Some(last) = self.last.take() {
            self.print(&last, at.regs);
        }
        self.source(at);
        let text = self.text(at.program, at.pc);
        self.last = Some(Last { text, regs: *at.regs, depth: at.depth });
        Flow::Go
    }
}
