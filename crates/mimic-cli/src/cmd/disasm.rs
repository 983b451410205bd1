//! `mimic disasm`: instructions with source lines and jump arrows.

use crate::args::{Disasm, Syntax};
use crate::out::{DIM, HEAD, NAME, plain};
use crate::{Done, Failure, machine};
use mimic::HelperNames;
use mimic::abi::disasm::{Line, Style, disassemble};
use mimic::abi::{ByteOrder, Insn, RawInsn};
use mimic::object::{Object, Program, RefTarget};
use std::io::{BufWriter, Write};

pub(crate) fn run(args: &Disasm) -> Done {
    let mut to = BufWriter::new(anstream::stdout().lock());
    if let Some(hex) = &args.hex {
        let bytes = mimic::unhex(hex).map_err(|error| Failure::Input(format!("--hex: {error}")))?;
        let program = bare(&bytes)?;
        listing(&mut to, args, &program, None)?;
        to.flush()?;
        return Ok(());
    }
    let Some(path) = &args.object else { return Ok(()) };
    let object = machine::object(path)?;
    let target = machine::target(&args.kernel, &object)?;
    let wanted = |name: &str| args.prog.as_ref().is_none_or(|wanted| wanted == name);
    if let Some(name) = args.prog.as_ref().filter(|name| object.program(name).is_none()) {
        let names: Vec<&str> = object.programs.iter().map(|program| program.name.as_str()).collect();
        return Err(Failure::Input(format!("the object has no program {name}; it has {}", names.join(", "))));
    }
    let mut errors = Vec::new();
    let mut first = true;
    for spec in object.programs.iter().filter(|spec| wanted(&spec.name)) {
        if !std::mem::take(&mut first) {
            writeln!(to)?;
        }
        match object.link_spec(spec, &target) {
            Ok(program) => {
                writeln!(to, "{HEAD}{}{HEAD:#}  {DIM}section {}{DIM:#}", program.name, program.section)?;
                listing(&mut to, args, &program, Some(&object))?;
            }
            Err(refused) => errors
                .extend(refused.to_string().lines().map(|line| format!("program {}: {line}", spec.name))),
        }
    }
    to.flush()?;
    if errors.is_empty() { Ok(()) } else { Err(Failure::Input(errors.join("\n       "))) }
}

fn bare(bytes: &[u8]) -> Result<Program, Failure> {
    let (slots, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || slots.is_empty() {
        let what = format!("--hex: {} bytes are not a whole number of instructions of 8 bytes", bytes.len());
        return Err(Failure::Input(what));
    }
    let code = slots.iter().map(|slot| RawInsn::from_bytes(*slot, ByteOrder::Little)).collect();
    Ok(Program::from_code("program", code, ByteOrder::Little))
}

fn listing(
    to: &mut impl Write,
    args: &Disasm,
    program: &Program,
    object: Option<&Object>,
) -> std::io::Result<()> {
    let style = match args.syntax {
        Syntax::Kernel => Style::Kernel,
        Syntax::Llvm => Style::Llvm,
    };
    let lines: Vec<Line> = disassemble(&program.code).collect();
    let arrows = if args.no_arrows { Arrows::default() } else { Arrows::new(&lines) };
    let width = lines.last().map_or(1, |line| line.pc.to_string().len());
    let mut source = None;
    for line in &lines {
        let pc = line.pc as u32;
        if let Some(func) = program.funcs.iter().find(|func| func.pc == pc) {
            writeln!(to, "{NAME}{}{NAME:#}:", func.name)?;
        }
        let at = program.lines.partition_point(|known| known.pc <= pc);
        if let Some(known) =
            at.checked_sub(1).and_then(|at| program.lines.get(at)).filter(|_| !args.no_source)
            && source != Some((known.line, known.file.clone()))
        {
            source = Some((known.line, known.file.clone()));
            let gutter = arrows.between(pc);
            writeln!(
                to,
                "{gutter}{DIM}; {}  ({}:{}){DIM:#}",
                plain(known.text.trim()),
                known.file,
                known.line
            )?;
        }
        let bytes = if args.opcodes { opcodes(&program.code, line) } else { String::new() };
        let note = note(program, object, pc);
        let gutter = arrows.at(pc);
        let pad = " ".repeat(width - pc.to_string().len().min(width));
        writeln!(to, "{gutter}{bytes}{pad}{}{DIM}{note}{DIM:#}", line.display(style, &HelperNames))?;
    }
    Ok(())
}

fn opcodes(code: &[RawInsn], line: &Line) -> String {
    let slots = line.insn.map_or(1, |insn| insn.slots());
    let bytes = code.iter().skip(line.pc).take(slots).flat_map(|slot| slot.to_bytes(ByteOrder::Little));
    let text: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
    format!("{:<48}", text.join(" "))
}

/// What an instruction refers to.
fn note(program: &Program, object: Option<&Object>, pc: u32) -> String {
    let Ok(at) = program.refs.binary_search_by_key(&pc, |reference| reference.pc) else {
        return String::new();
    };
    let map =
        |index: usize| object.and_then(|object| object.maps.get(index)).map_or("?", |map| map.name.as_str());
    let text = match program.refs.get(at).map(|reference| &reference.target) {
        Some(RefTarget::Map(index)) => format!("map {}", map(*index)),
        Some(RefTarget::MapValue { map: index, off }) => format!("{} + {off}", map(*index)),
        Some(RefTarget::Func(pc)) => {
            let func = program.funcs.iter().find(|func| func.pc == *pc);
            format!("function {}", func.map_or("?", |func| func.name.as_str()))
        }
        Some(RefTarget::Ksym { name, .. }) => format!("kernel symbol {name}"),
        Some(RefTarget::Kfunc { name, .. }) => format!("kernel function {name}"),
        None => return String::new(),
    };
    format!("  ; {text}")
}

/// The most arrows beside each other.
const LANES_MAX: usize = 8;

/// The most jumps of a program that gets arrows: finding room for each takes time.
const JUMPS_MAX: usize = 8192;

/// Arrows from jumps to where they lead, in lanes left of the listing.
#[derive(Default)]
struct Arrows {
    jumps: Vec<Jump>,
    lanes: usize,
}

struct Jump {
    from: u32,
    to: u32,
    lane: usize,
}

impl Jump {
    fn low(&self) -> u32 {
        self.from.min(self.to)
    }

    fn high(&self) -> u32 {
        self.from.max(self.to)
    }
}

impl Arrows {
    /// Gives each jump the innermost free lane, short ones first. Those that find none have no arrow.
    fn new(lines: &[Line]) -> Arrows {
        let mut jumps: Vec<Jump> = lines.iter().filter_map(jump).collect();
        if jumps.len() > JUMPS_MAX {
            return Arrows::default();
        }
        jumps.sort_by_key(|jump| (jump.high() - jump.low(), jump.low()));
        let mut placed: Vec<Jump> = Vec::new();
        for mut jump in jumps {
            let free = |lane: &usize| {
                let apart = |other: &Jump| {
                    other.lane != *lane
                        || other.high() < jump.low()
                        || other.low() > jump.high()
                        || other.to == jump.to
                };
                placed.iter().all(apart)
            };
            if let Some(lane) = (0..LANES_MAX).find(free) {
                jump.lane = lane;
                placed.push(jump);
            }
        }
        let lanes = placed.iter().map(|jump| jump.lane + 1).max().unwrap_or(0);
        Arrows { jumps: placed, lanes }
    }

    /// What stands left of the instruction at `pc`.
    fn at(&self, pc: u32) -> String {
        if self.lanes == 0 {
            return String::new();
        }
        let mut cells = self.bars(|jump| jump.low() < pc && pc < jump.high());
        let touching = self.jumps.iter().filter(|jump| jump.low() == pc || jump.high() == pc);
        let mut head = ' ';
        let mut outermost = None;
        for jump in touching {
            outermost = outermost.max(Some(jump.lane));
            let column = self.lanes - 1 - jump.lane;
            let (up, down) = (self.ends_above(pc, jump.lane), self.ends_below(pc, jump.lane));
            if let Some(cell) = cells.get_mut(column) {
                *cell = match (up, down) {
                    (true, true) => '├',
                    (true, false) => '└',
                    (false, _) => '┌',
                };
            }
            head = if jump.to == pc {
                '►'
            } else if head == ' ' {
                '─'
            } else {
                head
            };
        }
        // The arrow runs from its lane to the listing, across the lanes between.
        if let Some(lane) = outermost {
            for cell in cells.iter_mut().skip(self.lanes - lane) {
                *cell = match *cell {
                    ' ' => '─',
                    '│' => '┼',
                    '┌' => '┬',
                    '└' => '┴',
                    '├' => '┼',
                    other => other,
                };
            }
        }
        let text: String = cells.into_iter().collect();
        format!("{text}{head} ")
    }

    /// What stands left of a line above the instruction at `pc`.
    fn between(&self, pc: u32) -> String {
        if self.lanes == 0 {
            return String::new();
        }
        let text: String = self.bars(|jump| jump.low() < pc && pc <= jump.high()).into_iter().collect();
        format!("{text}  ")
    }

    fn bars(&self, passes: impl Fn(&Jump) -> bool) -> Vec<char> {
        let mut cells = vec![' '; self.lanes];
        for jump in self.jumps.iter().filter(|jump| passes(jump)) {
            if let Some(cell) = cells.get_mut(self.lanes - 1 - jump.lane) {
                *cell = '│';
            }
        }
        cells
    }

    fn ends_above(&self, pc: u32, lane: usize) -> bool {
        self.jumps.iter().any(|jump| jump.lane == lane && jump.low() < pc && jump.high() >= pc)
    }

    fn ends_below(&self, pc: u32, lane: usize) -> bool {
        self.jumps.iter().any(|jump| jump.lane == lane && jump.high() > pc && jump.low() <= pc)
    }
}

fn jump(line: &Line) -> Option<Jump> {
    let off = match line.insn.ok()? {
        Insn::Branch { off, .. } | Insn::MayGoto { off } => i64::from(off),
        Insn::Goto { off, .. } => i64::from(off),
        _ => return None,
    };
    let from = u32::try_from(line.pc).ok()?;
    let to = u32::try_from(i64::from(from) + 1 + off).ok()?;
    Some(Jump { from, to, lane: 0 })
}
