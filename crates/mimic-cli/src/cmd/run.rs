//! `mimic run`: a program over packets, contexts, or nothing where its type gets none.

use crate::args::{Engine, ReplayAs, Run, Scheduler};
use crate::packets::Packets;
use crate::recording::Recording;
use crate::tracer::Tracer;
use crate::{Done, Failure, machine, report, report_json};
use mimic::abi::AttachType;
use mimic::ctx::{Ctx, CtxFile, Mismatch, ReplayMode};
use mimic::linux::progs::IterLink;
use mimic::linux::{Linux, World};
use mimic::object::Object;
use mimic::pcap::{Frame, PacketSink, PacketSource, PcapngWriter};
use mimic::{Loaded, MapContents, Report, Runner, Verdict, VerdictKey};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

pub(crate) fn run(args: &Run) -> Done {
    check(args)?;
    let record_types = record_types(&args.record_type)?;
    let object = machine::object_of_type(&args.object, &args.of_type, args.prog.as_deref())?;
    if iterates(args, &object) {
        return iterate(args, &object);
    }
    let mut input = Inputs::open(args)?;
    let mut world = input.world(machine::world(args.machine.world.world.as_deref())?)?;
    world.seed = args.machine.seed.unwrap_or(world.seed);
    let loaded = machine::load(&args.machine, &object, world.clone())?;
    let program = machine::program(&loaded, args.prog.as_deref())?;
    let linked = program.program().linked();
    let mut runner = Runner::new(program)?;
    runner.repeat = args.repeat;
    let mut outputs = Outputs::new(args, &loaded, world)?;
    let mut same = true;
    match &mut input {
        Inputs::Packets(packets) if args.scheduler == Scheduler::PerCpu => {
            run_per_cpu(args, &mut runner, packets, linked, outputs.sinks.as_mut())?;
        }
        Inputs::Packets(packets) => {
            let mut context = mimic::AnyPacket::for_program(linked).map_err(Failure::Input)?;
            run_packets(args, &mut runner, packets, &mut context, &mut outputs)?;
        }
        Inputs::Contexts(_, _) if outputs.sinks.is_some() => {
            return Err(Failure::Usage("--out takes packets; contexts have none to write".into()));
        }
        Inputs::Contexts(_, _) if args.scheduler == Scheduler::PerCpu => {
            return Err(Failure::Usage("--scheduler per-cpu takes packets, not contexts".into()));
        }
        Inputs::Nothing => run_empty(args, &mut runner, linked)?,
        Inputs::Contexts(_, file) => same = run_contexts(args, &loaded, &mut runner, file, &mut outputs)?,
    }
    let report = runner.finish();
    machine::warn_of_unstated(&loaded);
    let Outputs { sinks, recording } = outputs;
    recording.map_or(Ok(()), Recording::finish)?;
    let files = sinks.map_or(Ok(Vec::new()), Sinks::finish)?;
    if args.record.as_deref() == Some(Path::new("-")) {
        // Standard output is the recording.
        return exit_code(&report);
    }
    let maps: Vec<MapContents> = loaded.maps().map(|map| map.contents()).collect::<Result<_, _>>()?;
    let mut trace = loaded.vm().emulator_as::<Linux>().map(Linux::take_trace).unwrap_or_default();
    // CPUs that run at once write in any order.
    trace.lines.sort_by_key(|line| line.time_ns);
    let text = report::Text {
        loaded: &loaded,
        program: program.program(),
        input: input.name(),
        report: &report,
        maps: &maps,
        trace: &trace,
        record_types: &record_types,
        entries: args.entries,
    };
    let mut to = anstream::stdout().lock();
    if args.json.json {
        writeln!(to, "{}", report_json::report(&text, &files))?;
    } else {
        text.print(&mut to)?;
        written(&mut to, &files)?;
    }
    to.flush()?;
    exit_code(&report)?;
    if same { Ok(()) } else { Err(Failure::Said(1)) }
}

/// Whether the program is an iterator's, which takes no input but a world.
fn iterates(args: &Run, object: &Object) -> bool {
    let program = match &args.prog {
        Some(name) => object.programs.iter().find(|program| program.name == *name),
        None => object.programs.first().filter(|_| object.programs.len() == 1),
    };
    program.is_some_and(|program| program.sec.attach_type == Some(AttachType::TraceIter))
}

/// Prints what a user reads from an iterator's file.
fn iterate(args: &Run, object: &Object) -> Done {
    let world = machine::world(args.machine.world.world.as_deref())?;
    let world = match &args.input.ctx {
        Some(_) => Inputs::open(args)?.world(world)?,
        None => world.unwrap_or_default(),
    };
    let loaded = machine::load(&args.machine, object, world)?;
    let out = machine::program(&loaded, args.prog.as_deref())?.iterate(&IterLink::default())?;
    let mut to = anstream::stdout().lock();
    to.write_all(&out.text)?;
    to.flush()?;
    match out.errno {
        None => Ok(()),
        Some(errno) => Err(Failure::Input(format!("the iterator's file ends with {errno}"))),
    }
}

/// What the parser cannot say: that an option wants one of several that exclude each other.
fn check(args: &Run) -> Done {
    if args.replay_as != ReplayAs::Prefer && args.input.replay.is_none() {
        return Err(Failure::Usage("--replay-as: there is no --replay whose answers it could mean".into()));
    }
    if args.strict && args.input.replay.is_none() && args.input.ctx.is_none() {
        return Err(Failure::Usage(
            "--strict: only contexts of --ctx and --replay have captured calls".into(),
        ));
    }
    if args.trace && args.machine.engine == Engine::Jit {
        let why = "--trace sees each instruction, which native code does not show; leave out --engine jit";
        return Err(Failure::Usage(why.into()));
    }
    Ok(())
}

/// Files that are written while a program runs.
struct Outputs {
    sinks: Option<Sinks>,
    recording: Option<Recording>,
}

impl Outputs {
    fn new(args: &Run, loaded: &Loaded, world: World) -> Result<Outputs, Failure> {
        let record = |path: &PathBuf| Recording::new(path, loaded, world);
        let recording = args.record.as_ref().map(record).transpose()?;
        Ok(Outputs { sinks: args.out.as_deref().map(Sinks::new).transpose()?, recording })
    }
}

/// What a program is run on.
enum Inputs {
    Packets(Box<Packets>),
    Contexts(String, CtxFile),
    /// Zeros, for programs that get no packets.
    Nothing,
}

/// The longest context file that is read, in bytes.
const CTX_LEN_MAX: u64 = 256 << 20;

impl Inputs {
    fn open(args: &Run) -> Result<Inputs, Failure> {
        if args.input.is_empty() {
            return Ok(Inputs::Nothing);
        }
        let Some(path) = args.input.ctx.as_ref().or(args.input.replay.as_ref()) else {
            return Ok(Inputs::Packets(Box::new(Packets::open(&args.input)?)));
        };
        let name = path.display().to_string();
        let named = |error: String| Failure::Input(format!("{name}: {error}"));
        let text =
            String::from_utf8(machine::read(path, CTX_LEN_MAX)?).map_err(|_| named("not UTF-8".into()))?;
        let file = CtxFile::read(&text).map_err(|error| named(error.to_string()))?;
        if file.contexts.is_empty() {
            return Err(named("there is no context in it".into()));
        }
        Ok(Inputs::Contexts(name, file))
    }

    fn name(&self) -> &str {
        match self {
            Inputs::Packets(packets) => &packets.name,
            Inputs::Contexts(name, _) => name,
            Inputs::Nothing => "a context of zeros",
        }
    }

    /// The world at the start: the one that was given, with what the contexts say of it; without one it is the time of the first packet.
    fn world(&self, given: Option<World>) -> Result<World, Failure> {
        match self {
            Inputs::Packets(packets) => {
                let is_given = given.is_some();
                let mut world = given.unwrap_or_default();
                if let Some(first_ns) = packets.first_ns.filter(|_| !is_given) {
                    world.clock.epoch_ns = first_ns.saturating_sub(world.clock.start_ns);
                }
                Ok(world)
            }
            Inputs::Nothing => Ok(given.unwrap_or_default()),
            Inputs::Contexts(name, file) => {
                let given = given.unwrap_or_default();
                let mut worlds = file.contexts.iter().map(|ctx| ctx.world_over(&given));
                let first = worlds.next().flatten();
                if worlds.any(|world| world.is_some() && world != first) {
                    let what = "its contexts state different worlds (\"emulator\"); run them one by one";
                    return Err(Failure::Input(format!("{name}: {what}")));
                }
                Ok(first.unwrap_or(given))
            }
        }
    }
}

/// Where `--trace` writes.
fn tracer(args: &Run) -> Option<Tracer<BufWriter<Box<dyn Write>>>> {
    args.trace.then(|| {
        let to: Box<dyn Write> = match args.json.json {
            true => Box::new(anstream::stderr()),
            false => Box::new(anstream::stdout()),
        };
        Tracer::new(BufWriter::new(to))
    })
}

/// Runs a program that gets no packets, on zeros.
fn run_empty(args: &Run, runner: &mut Runner<'_>, program: &mimic::object::Program) -> Done {
    if args.out.is_some() || args.record.is_some() || args.scheduler == Scheduler::PerCpu {
        let what =
            "--out, --record and --scheduler per-cpu want packets or contexts (--pcap, --hex, --file, --ctx)";
        return Err(Failure::Usage(what.into()));
    }
    let Some(mut context) = mimic::empty_context(program) else {
        let what = match mimic::AnyPacket::for_program(program) {
            Ok(_) => format!(
                "program {} runs over packets: give it some (--pcap, --hex, --file), or contexts (--ctx, --replay)",
                program.name
            ),
            Err(why) => why,
        };
        return Err(Failure::Usage(what));
    };
    let Some(mut tracer) = tracer(args) else {
        runner.context(&mut *context, None, &mut mimic::vm::NoProbe);
        return Ok(());
    };
    tracer.title("a context of zeros")?;
    let verdict = runner.context(&mut *context, None, &mut tracer);
    tracer.end(&verdict)?;
    Ok(())
}

/// Runs all contexts, and says how calls differ from captured ones. False if answers were verified and are others.
fn run_contexts(
    args: &Run,
    loaded: &Loaded,
    runner: &mut Runner<'_>,
    file: &CtxFile,
    outputs: &mut Outputs,
) -> Result<bool, Failure> {
    let mut tracer = tracer(args);
    let mut differences = 0;
    for ctx in &file.contexts {
        if let Some(captured) = ctx.captured() {
            if outputs.recording.is_some() {
                let what = format!("--record: context {} is captured already", ctx.name);
                return Err(Failure::Usage(what));
            }
            captured.time_ns.into_iter().for_each(|time_ns| runner.set_clock(time_ns));
            captured.maps.as_ref().map_or(Ok(()), |maps| loaded.preset_json(maps))?;
        }
        let (verdict, mut notes) = run_context(args, runner, ctx, tracer.as_mut(), outputs)?;
        if let Some(then) = ctx.captured().and_then(|captured| captured.returned)
            && !matches!(verdict, Verdict::Returned(now, _) if now == then)
        {
            notes.push(format!("the verdict is {}, captured was {then}", verdict.name()));
        }
        differences += notes.len();
        for note in notes {
            crate::out::warning(&format!("context {}: {note}", ctx.name));
        }
    }
    Ok(differences == 0 || args.replay_as != ReplayAs::Verify)
}

/// Runs a context; answers what came of it, and what is not as it was captured.
fn run_context(
    args: &Run,
    runner: &mut Runner<'_>,
    ctx: &Ctx,
    tracer: Option<&mut Tracer<BufWriter<Box<dyn Write>>>>,
    outputs: &mut Outputs,
) -> Result<(Verdict, Vec<String>), Failure> {
    let mismatch = if args.strict { Mismatch::Fail } else { Mismatch::Warn };
    let mode = match args.replay_as {
        ReplayAs::Prefer => ReplayMode::Prefer,
        ReplayAs::Only => ReplayMode::Only,
        ReplayAs::Verify => ReplayMode::Verify,
    };
    let replay = ctx.replay(mode, mismatch);
    let notes = replay.as_ref().map(mimic::ctx::Replay::warnings);
    let hook = match (&outputs.recording, replay) {
        (Some(recording), _) => Some(recording.hook()),
        (None, replay) => replay.map(|replay| Box::new(replay) as Box<dyn mimic::vm::Hook>),
    };
    let mut context = ctx.context();
    let verdict = match tracer {
        None => runner.context(&mut *context, hook, &mut mimic::vm::NoProbe),
        Some(tracer) => {
            tracer.title(&format!("context {}", ctx.name))?;
            let verdict = runner.context(&mut *context, hook, tracer);
            tracer.end(&verdict)?;
            verdict
        }
    };
    if let Some(left) = ctx.after(&*context).filter(|_| !args.json.json) {
        anstream::println!("context {}: {left}", ctx.name);
    }
    if let Some(recording) = &mut outputs.recording {
        recording.put(ctx.clone(), None, &verdict)?;
    }
    let taken = |notes: std::sync::Arc<std::sync::Mutex<Vec<String>>>| {
        std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner))
    };
    Ok((verdict, notes.map(taken).unwrap_or_default()))
}

/// Runs all packets; with `--trace` prints what happens.
fn run_packets(
    args: &Run,
    runner: &mut Runner<'_>,
    packets: &mut Packets,
    context: &mut mimic::AnyPacket,
    outputs: &mut Outputs,
) -> Done {
    let mut tracer = tracer(args);
    let mut frame = Frame::default();
    let name = packets.name.clone();
    if tracer.is_none() && outputs.sinks.is_none() && outputs.recording.is_none() {
        let ran = runner.run_all(packets, context);
        return ran.map_err(|error| Failure::Input(format!("{name}: {error}")));
    }
    outputs.recording.iter().for_each(|recording| recording.watch(runner));
    while packets.next(&mut frame).map_err(|error| Failure::Input(format!("{name}: {error}")))? {
        let number = runner.report().total.packets + 1;
        let verdict = match &mut tracer {
            None => runner.packet(&frame, context, &mut mimic::vm::NoProbe),
            Some(tracer) => {
                tracer.title(&format!("packet {number}, {} bytes", frame.bytes.len()))?;
                let verdict = runner.packet(&frame, context, tracer);
                tracer.end(&verdict)?;
                verdict
            }
        };
        if let Some(recording) = &mut outputs.recording {
            let sub = context.to_ctx(&format!("packet {number}"));
            recording.put(sub, Some(frame.time_ns), &verdict)?;
        }
        if let Some(sinks) = &mut outputs.sinks {
            sinks.put(&frame, &verdict, context)?;
        }
    }
    Ok(())
}

/// Runs all packets, on all virtual CPUs at once.
fn run_per_cpu(
    args: &Run,
    runner: &mut Runner<'_>,
    packets: &mut Packets,
    program: &mimic::object::Program,
    sinks: Option<&mut Sinks>,
) -> Done {
    if args.trace {
        return Err(Failure::Usage("--trace follows one packet after the other: --scheduler inline".into()));
    }
    if args.record.is_some() {
        return Err(Failure::Usage("--record takes one packet after the other: --scheduler inline".into()));
    }
    let mut context = mimic::AnyPacket::for_program(program).map_err(Failure::Input)?;
    context.set_read_back(sinks.is_some());
    let name = packets.name.clone();
    let Some(sinks) = sinks else {
        let ran = runner.run_per_cpu(packets, || context.another(), None);
        return ran.map_err(|error| Failure::Input(format!("{name}: {error}")));
    };
    // What the sinks say keeps its kind.
    let mut failure = None;
    let mut put = |frame: &Frame, verdict: &Verdict, after: &[u8]| {
        sinks.put_packet(frame, verdict, after).map_err(|said| {
            failure = Some(said);
            mimic::Error::usage("the packets could not be written")
        })
    };
    let ran = runner.run_per_cpu(packets, || context.another(), Some(&mut put));
    match failure {
        Some(said) => Err(said),
        None => ran.map_err(|error| Failure::Input(format!("{name}: {error}"))),
    }
}

/// 3 if a program was stopped; what happened was said in the report.
fn exit_code(report: &Report) -> Done {
    match report.verdicts.contains_key(&VerdictKey::Faulted) {
        true => Err(Failure::Said(3)),
        false => Ok(()),
    }
}

fn record_types(given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |text: &String| {
        let pair = text.split_once('=').map(|(map, ty)| (map.to_owned(), ty.to_owned()));
        pair.ok_or_else(|| {
            Failure::Usage(format!("--record-type {text}: expected MAP=TYPE, as in events=event"))
        })
    };
    given.iter().map(split).collect()
}

fn written(to: &mut impl Write, files: &[(PathBuf, u64)]) -> std::io::Result<()> {
    if !files.is_empty() {
        writeln!(to)?;
    }
    for (path, packets) in files {
        writeln!(to, "  {} in {}", report::counted(*packets, "packet"), path.display())?;
    }
    Ok(())
}

/// The most files that `--out` makes: programs that return lengths have many values.
const SINKS_MAX: usize = 64;

/// One pcapng for each verdict.
struct Sinks {
    dir: PathBuf,
    files: BTreeMap<String, (PathBuf, PcapngWriter<BufWriter<File>>, u64)>,
}

impl Sinks {
    fn new(dir: &Path) -> Result<Sinks, Failure> {
        let named = |error| Failure::Input(format!("--out {}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(named)?;
        Ok(Sinks { dir: dir.to_owned(), files: BTreeMap::new() })
    }

    fn put(&mut self, frame: &Frame, verdict: &Verdict, context: &mimic::AnyPacket) -> Done {
        self.put_packet(frame, verdict, context.packet())
    }

    /// Takes a packet, and what the program made of it.
    fn put_packet(&mut self, frame: &Frame, verdict: &Verdict, after: &[u8]) -> Done {
        let mut name = verdict.name();
        if !self.files.contains_key(&name) && self.files.len() >= SINKS_MAX - 1 {
            name = "other".into();
        }
        let dir = &self.dir;
        let named = |error| Failure::Input(format!("--out {}: {error}", dir.display()));
        if !self.files.contains_key(&name) {
            let path = dir.join(format!("{name}.pcapng"));
            let file = File::create(&path).map_err(named)?;
            let writer = PcapngWriter::new(BufWriter::new(file)).map_err(named)?;
            self.files.insert(name.clone(), (path, writer, 0));
        }
        let Some((_, writer, count)) = self.files.get_mut(&name) else { return Ok(()) };
        let (bytes, comment) = match verdict {
            Verdict::Returned(..) => (after, verdict.name()),
            Verdict::Faulted(fault) => (frame.bytes.as_slice(), fault.to_string()),
            Verdict::Refused(why) => (frame.bytes.as_slice(), why.clone()),
        };
        let cut = frame.wire_len.saturating_sub(frame.bytes.len() as u32);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let after =
            Frame { time_ns: frame.time_ns, wire_len: len.saturating_add(cut), bytes: bytes.to_vec() };
        *count += 1;
        writer.put(&after, &comment).map_err(named)
    }

    fn finish(self) -> Result<Vec<(PathBuf, u64)>, Failure> {
        let dir = self.dir;
        let named = |error| Failure::Input(format!("--out {}: {error}", dir.display()));
        let mut files = Vec::new();
        for (path, mut writer, count) in self.files.into_values() {
            writer.get_mut().flush().map_err(named)?;
            files.push((path, count));
        }
        Ok(files)
    }
}
