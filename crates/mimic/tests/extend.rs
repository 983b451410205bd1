//! Extensions of programs (freplace), and programs that trace other ones.
//!
//! What the kernel takes and refuses is told by its selftests fexit_bpf2bpf (global functions only, same arguments, same return type).

use mimic::linux::Linux;
use mimic::linux::maps::{LinuxMap, PerfEventArray};
use mimic::linux::progs::XdpContext;
use mimic::object::Object;
use mimic::vm::{Checks, Engine, Vm};
use mimic::{LoadExt, Loaded};

fn load(engine: Engine) -> Loaded {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/extend.bpf.o");
    let object = Object::parse(&std::fs::read(path).expect("it is committed")).expect("it is good");
    let vm = Vm::builder(Linux::default()).engine(engine).checks(Checks::Precise).build().expect("memory");
    vm.load(&object).expect("it loads")
}

fn engines() -> Vec<Engine> {
    let jit = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    [Engine::Interp, Engine::Jit].into_iter().take(if jit { 2 } else { 1 }).collect()
}

fn run(loaded: &Loaded) -> u64 {
    loaded.program("filter").expect("there").run(XdpContext::packet([0; 64])).expect("it runs").outcome.r0
}

fn calls(loaded: &Loaded) -> u64 {
    loaded.map("calls").expect("there").get(&0u32).expect("an array")
}

#[test]
fn a_function_is_replaced() {
    for engine in engines() {
        let mut loaded = load(engine);
        assert_eq!((run(&loaded), calls(&loaded)), (64 + 7 + 2, 1));
        loaded.replace_by_own("filter", "weigh_other").expect("it fits");
        assert_eq!((run(&loaded), calls(&loaded)), (640 + 7 + 2, 101));
    }
}

#[test]
fn an_extension_of_another_object_brings_its_maps() {
    let mut loaded = load(Engine::Interp);
    let other = loaded.vm().load(loaded.object()).expect("it loads again");
    loaded.replace("filter", other.program("weigh_other").expect("there")).expect("it fits");
    assert_eq!(run(&loaded), 640 + 7 + 2);
    assert_eq!((calls(&loaded), calls(&other)), (0, 100));
    let elsewhere = load(Engine::Interp);
    let error = loaded.replace("filter", elsewhere.program("weigh_other").expect("there"));
    assert!(error.expect_err("not of this VM").to_string().contains("one VM"));
}

#[test]
fn the_main_function_is_replaced() {
    for engine in engines() {
        let mut loaded = load(engine);
        loaded.replace_by_own("filter", "filter_other").expect("it fits");
        assert_eq!(run(&loaded), 128);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut loaded = load(Engine::Interp);
    for (extension, why) in [
        ("weigh_few", "weigh_few has 1 arguments, weigh 2"),
        ("weigh_typed", "argument 2 of weigh_typed is of another type"),
        ("hidden_other", "hidden is not a global function"),
        ("of_frame_skb", "points at struct __sk_buff, that of of_frame at struct xdp_md"),
        ("filter", "names no function"),
    ] {
        let error = loaded.replace_by_own("filter", extension).expect_err(extension).to_string();
        assert!(error.contains(why), "{extension}: {error}");
    }
    let error = loaded.replace_by_own("weigh_other", "weigh_other").expect_err("an extension").to_string();
    assert!(error.contains("no function weigh"), "{error}");
    assert_eq!(run(&loaded), 64 + 7 + 2, "nothing has changed");
}

fn seen(loaded: &Loaded) -> Vec<i64> {
    let bytes = loaded.map(".bss").expect("there").map().lookup_copy(&[0; 4], 0).expect("one value");
    let word = |at: usize| i64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("8 bytes"));
    (0..16).map(word).filter(|value| *value != 0).collect()
}

#[test]
fn functions_of_a_program_are_traced() {
    let mut loaded = load(Engine::Interp);
    let trace = |loaded: &Loaded, names: &[&str]| {
        let tracers: Vec<_> = names.iter().map(|name| loaded.program(name).expect("there")).collect();
        let program = loaded.program("filter").expect("there");
        program.run_traced(XdpContext::packet([0; 64]), &tracers).map(|run| run.outcome.r0)
    };
    let all = ["weigh_ends", "weigh_begins"];
    assert_eq!(trace(&loaded, &all).expect("it runs"), 73);
    assert_eq!(seen(&loaded), [64, 7, 71]);
    // A replaced function is not called any more: nobody sees it.
    loaded.replace_by_own("filter", "weigh_other").expect("it fits");
    assert_eq!(trace(&loaded, &all).expect("it runs"), 649);
    assert_eq!(seen(&loaded), [64, 7, 71]);
    let error = trace(&loaded, &["weigh_other"]).expect_err("it traces nothing").to_string();
    assert!(error.contains("no fentry or fexit program"), "{error}");
}

/// A pointer to the context is one to the kernel's structure behind it.
#[test]
fn a_traced_context_is_the_kernels() {
    let loaded = load(Engine::Interp);
    let tracer = loaded.program("filter_ends").expect("there");
    let program = loaded.program("filter").expect("there");
    program.run_traced(XdpContext::packet([0; 64]), &[tracer]).expect("it runs");
    assert_eq!(seen(&loaded), [64, 73]);
}

/// `bpf_xdp_output`: the data, then as much of the traced program's packet as was asked for.
#[test]
fn a_traced_packet_is_shown() {
    let loaded = load(Engine::Interp);
    let tracer = loaded.program("filter_shown").expect("there");
    let program = loaded.program("filter").expect("there");
    loaded.map("events").expect("there").open_perf(1 << 16);
    program.run_traced(XdpContext::packet([7; 64]), &[tracer]).expect("it runs");
    assert_eq!(seen(&loaded), [100, -14, -22]);
    let map: &dyn std::any::Any = &*loaded.map("events").expect("there").map().map;
    let events = map.downcast_ref::<LinuxMap<PerfEventArray>>().expect("of this type").ops();
    let [sample] = &events.take()[..] else { panic!("one sample") };
    let expected = [&0x1122_3344_5566_7788u64.to_le_bytes()[..], &[7; 4]].concat();
    assert_eq!(sample.data[..12], expected);
}
