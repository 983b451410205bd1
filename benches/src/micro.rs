//! Costs of single things: an instruction of five mixes, a run, loading, memory, packets of the examples, helper calls and map operations.

use crate::mixes::MIXES;
use crate::options::Options;
use crate::program;
use mimic::abi::asm::assemble;
use mimic::abi::{ByteOrder, HelperSpec, RawInsn};
use mimic::linux::Linux;
use mimic::object::{Object, Program};
use mimic::pcap::{Frame, PacketSource, PcapReader};
use mimic::vm::{Checks, Emulator, Engine, Helper, NoProbe, Process, RawContext, Vm, VmBuilder};
use mimic::{AnyPacket, LoadExt, Loaded};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// A figure.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// What is measured, and how much of it one call is.
struct Task<'a> {
    name: String,
    units: f64,
    run: Box<dyn FnMut() + 'a>,
}

/// mimic's engines, by the names of reports.
const ENGINES: [&str; 2] = ["mimic-interp", "mimic-jit"];
/// Operations in a run of `micro/calls.bpf.c`'s programs.
const TIMES: f64 = 1000.0;
const CALLS: &[u8] = include_bytes!("../micro/calls.bpf.o");
const EXAMPLES: [(&str, &str, &[u8]); 2] = [
    ("xdp_firewall", "firewall", include_bytes!("../../examples/xdp_firewall.bpf.o")),
    ("tc_rewrite", "rewrite", include_bytes!("../../examples/tc_rewrite.bpf.o")),
];
const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/traffic.pcap");

/// All figures.
pub(crate) fn all(options: &Options) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for part in [mixes, runs, own_helper, calls, packets, loads, memory] {
        options.progress("single costs");
        figures.extend(part(options)?);
    }
    options.progress("");
    Ok(figures)
}

fn builder(engine: &str) -> VmBuilder {
    let builder = Vm::builder(Linux::default());
    match engine {
        "mimic-jit" => builder.engine(Engine::Jit).checks(Checks::Cage),
        _ => builder.engine(Engine::Interp),
    }
}

/// Runs the tasks in turns; nanoseconds a unit in the best round of each.
fn in_turns(mut tasks: Vec<Task<'_>>, options: &Options) -> Vec<(String, f64)> {
    tasks.retain(|task| options.wants(&task.name) && options.wants_engine(&task.name));
    let once = |task: &mut Task<'_>, count: u32| {
        let start = Instant::now();
        (0..count).for_each(|_| (task.run)());
        start.elapsed()
    };
    let counts: Vec<u32> = tasks
        .iter_mut()
        .map(|task| {
            let first = once(task, 2).as_secs_f64() / 2.0;
            (options.round.as_secs_f64() / first.max(1e-9)).clamp(1.0, 1e8) as u32
        })
        .collect();
    let mut best = vec![f64::MAX; tasks.len()];
    for _ in 0..options.rounds {
        for ((task, count), best) in tasks.iter_mut().zip(&counts).zip(&mut best) {
            let took = once(task, *count).as_secs_f64() * 1e9;
            *best = best.min(took / f64::from(*count) / task.units);
        }
    }
    tasks.into_iter().map(|task| task.name).zip(best).collect()
}

fn figures(times: Vec<(String, f64)>, unit: &'static str, scale: f64) -> Vec<Figure> {
    times.into_iter().map(|(name, ns)| Figure { name, value: ns / scale, unit }).collect()
}

fn text<E: ToString>(error: E) -> String {
    error.to_string()
}

fn code(text: &str) -> Vec<RawInsn> {
    assemble(text, &()).expect("the mixes are well-formed").slots
}

fn process(code: Vec<RawInsn>, engine: &str) -> Result<Process, String> {
    let vm = builder(engine).build().map_err(text)?;
    let program = vm.add(Program::from_code("bench", code, ByteOrder::Little), &[]).map_err(text)?;
    vm.process(&program, 0).map_err(text)
}

/// Nanoseconds an instruction.
fn mixes(options: &Options) -> Result<Vec<Figure>, String> {
    let packet: Vec<u8> = (0..1500u32).map(|n| (n * 7) as u8).collect();
    let mut all = Vec::new();
    for mix in MIXES {
        let mut tasks = Vec::new();
        for engine in ENGINES {
            let mut process = process(code(mix.text), engine)?;
            let mut context = RawContext::with_len(packet.clone());
            let insns = process.run(&mut context).map_err(text)?.insns;
            tasks.push(Task {
                name: format!("instruction, mix {}: {engine}", mix.name),
                units: insns as f64,
                run: Box::new(move || {
                    black_box(process.run(&mut context).expect("it ran before").r0);
                }),
            });
        }
        #[cfg(feature = "peers")]
        tasks.push(Task {
            name: format!("instruction, mix {}: rbpf-interp", mix.name),
            units: tasks[0].units,
            run: crate::engine::rbpf_task(&code(mix.text), &packet)?,
        });
        all.extend(figures(in_turns(tasks, options), "ns", 1.0));
    }
    Ok(all)
}

/// Nanoseconds a whole run of an empty program by the public interface, on a context that is used again.
fn runs(options: &Options) -> Result<Vec<Figure>, String> {
    let mut tasks = Vec::new();
    for engine in ENGINES {
        let mut process = process(code("r0 = 0; exit"), engine)?;
        let mut context = RawContext::default();
        let run = move || {
            black_box(process.run(&mut context).expect("it runs").r0);
        };
        tasks.push(Task { name: format!("empty run: {engine}"), units: 1.0, run: Box::new(run) });
    }
    Ok(figures(in_turns(tasks, options), "ns", 1.0))
}

/// An emulator with one helper, which does nothing: what the call costs.
struct Idle;

const IDLE: Helper = Helper::new(HelperSpec::new(1, "idle"), |_, a, _, _, _, _| Ok(a));

impl Emulator for Idle {
    fn helper(&self, id: u32) -> Option<&Helper> {
        (id == 1).then_some(&IDLE)
    }
}

/// Nanoseconds a call of a helper that does nothing, the loop around it included.
fn own_helper(options: &Options) -> Result<Vec<Figure>, String> {
    let code = code(&format!("r6 = {TIMES}; r1 = r6; call 1; r6 -= 1; if r6 != 0 goto -4; exit"));
    let mut tasks = Vec::new();
    for engine in ENGINES {
        let (engine_of, checks) = if engine == "mimic-jit" {
            (Engine::Jit, Checks::Cage)
        } else {
            (Engine::Interp, Checks::Precise)
        };
        let vm = Vm::builder(Idle).engine(engine_of).checks(checks).build().map_err(text)?;
        let program =
            vm.add(Program::from_code("idle", code.clone(), ByteOrder::Little), &[]).map_err(text)?;
        let mut process = vm.process(&program, 0).map_err(text)?;
        let mut context = RawContext::default();
        let run = move || {
            black_box(process.run(&mut context).expect("it runs").r0);
        };
        tasks.push(Task { name: format!("idle helper: {engine}"), units: TIMES, run: Box::new(run) });
    }
    Ok(figures(in_turns(tasks, options), "ns", 1.0))
}

/// KiB that the process grows by when a small program is loaded, compiled and run in a VM of its own: the second one, so that what is made once
/// for all is not counted.
fn memory(options: &Options) -> Result<Vec<Figure>, String> {
    const NAME: &str = "resident memory of parse: mimic-jit";
    if !options.wants(NAME) || !options.wants_engine(NAME) {
        return Ok(Vec::new());
    }
    let programs = program::all();
    let parse = programs.iter().find(|program| program.name == "parse").ok_or("no such program")?;
    let make = || {
        let vm = builder("mimic-jit").build().map_err(text)?;
        let (_, _, linked) = crate::engine::link(parse.object)?;
        let loaded = vm.add(linked, &[]).map_err(text)?;
        let mut process = vm.process(&loaded, 0).map_err(text)?;
        process.run(&mut RawContext::with_len(parse.memory[..1500].to_vec())).map_err(text)?;
        Ok::<Process, String>(process)
    };
    let _first = make()?;
    let before = resident()?;
    let _second = make()?;
    Ok(vec![Figure { name: NAME.into(), value: resident()? - before, unit: "KiB" }])
}

/// KiB of this process that are in memory.
fn resident() -> Result<f64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(text)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    line.trim().trim_end_matches("kB").trim().parse().map_err(text)
}

/// Nanoseconds a helper call or map operation.
fn calls(options: &Options) -> Result<Vec<Figure>, String> {
    let object = Object::parse(CALLS).map_err(text)?;
    let loaded: Vec<(&str, Loaded)> = ENGINES
        .iter()
        .map(|engine| Ok((*engine, builder(engine).build().map_err(text)?.load(&object).map_err(text)?)))
        .collect::<Result<_, String>>()?;
    let mut tasks = Vec::new();
    // The updates fill the map that the lookups look into.
    for name in ["helper_call", "array_lookup", "hash_update", "hash_lookup"] {
        for (engine, loaded) in &loaded {
            let program = loaded.program(name).map_err(text)?;
            let mut process = program.process().map_err(text)?;
            let mut context = AnyPacket::for_program(program.program().linked())?;
            context.set_frame(&Frame { bytes: vec![0; 64], ..Frame::default() });
            let run = move || {
                black_box(process.run_dyn(context.context(), &mut NoProbe).expect("it runs").r0);
            };
            tasks.push(Task { name: format!("{name}: {engine}"), units: TIMES, run: Box::new(run) });
        }
    }
    Ok(figures(in_turns(tasks, options), "ns", 1.0))
}

/// Packets a second of the examples on their capture, as `mimic run` takes them but for reading the file.
fn packets(options: &Options) -> Result<Vec<Figure>, String> {
    let mut reader = PcapReader::open(Path::new(CAPTURE)).map_err(text)?;
    let (mut frames, mut frame) = (Vec::new(), Frame::default());
    while reader.next(&mut frame).map_err(text)? {
        frames.push(frame.clone());
    }
    let frames = &frames;
    let mut all = Vec::new();
    for (file, name, bytes) in EXAMPLES {
        let object = Object::parse(bytes).map_err(text)?;
        let mut tasks = Vec::new();
        for engine in ENGINES {
            let loaded = builder(engine).build().map_err(text)?.load(&object).map_err(text)?;
            let program = loaded.program(name).map_err(text)?;
            let mut process = program.process().map_err(text)?;
            let mut context = AnyPacket::for_program(program.program().linked())?;
            let run = move || {
                // The maps live as long as what was loaded.
                let _loaded = &loaded;
                for frame in frames {
                    context.set_frame(frame);
                    black_box(process.run_dyn(context.context(), &mut NoProbe).expect("it runs").r0);
                }
            };
            let name = format!("packet of {file}: {engine}");
            tasks.push(Task { name, units: frames.len() as f64, run: Box::new(run) });
        }
        let times = in_turns(tasks, options);
        all.extend(times.iter().map(|(name, ns)| Figure { name: name.clone(), value: *ns, unit: "ns" }));
        all.extend(times.into_iter().map(|(name, ns)| Figure {
            name: name.replacen("packet of", "packets a second of", 1),
            value: 1e9 / ns,
            unit: "",
        }));
    }
    Ok(all)
}

/// Microseconds from an object's bytes to a process, and to the end of its first run; and nanoseconds that machine code takes for an instruction
/// more than the interpreter's ops.
fn loads(options: &Options) -> Result<Vec<Figure>, String> {
    let programs = program::all();
    let (mut tasks, mut insns) = (Vec::new(), Vec::new());
    for program in programs.iter().filter(|program| matches!(program.name, "parse" | "large")) {
        let (_, _, linked) = crate::engine::link(program.object)?;
        insns.push((program.name, linked.code.len() as f64));
        for engine in ENGINES {
            let vm = builder(engine).build().map_err(text)?;
            let run = move || {
                let (_, _, linked) = crate::engine::link(program.object).expect("it links");
                let loaded = vm.add(linked, &[]).expect("it loads");
                let mut process = vm.process(&loaded, 0).expect("there is memory");
                let mut context = RawContext::with_len(program.memory[..1500].to_vec());
                black_box(process.run(&mut context).expect("it runs").r0);
                vm.remove_program(loaded.id());
            };
            let name = format!("load and first run of {}: {engine}", program.name);
            tasks.push(Task { name, units: 1.0, run: Box::new(run) });
        }
    }
    let times = in_turns(tasks, options);
    let took = |name: &str, engine: &str| {
        let row = format!("load and first run of {name}: {engine}");
        times.iter().find(|(known, _)| *known == row).map(|(_, ns)| *ns)
    };
    let compiled: Vec<Figure> = insns
        .into_iter()
        .filter_map(|(name, insns)| {
            let [interp, jit] = ENGINES.map(|engine| took(name, engine));
            let value = (jit? - interp?) / insns;
            Some(Figure { name: format!("compile {name}, an instruction: mimic-jit"), value, unit: "ns" })
        })
        .collect();
    Ok(figures(times, "µs", 1000.0).into_iter().chain(compiled).collect())
}
