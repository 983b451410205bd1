//! From files and options to a VM with an object in it, ready to run.

use crate::Failure;
use crate::args::{Engine, Kernel, Machine, OfType};
use mimic::linux::{Linux, World};
use mimic::object::{Contents, Init, Object, Target};
use mimic::vm::{Limits, Vm};
use mimic::{LoadExt, Loaded, Runnable};
use std::path::Path;
use std::sync::Arc;

/// The longest object file that is read, in bytes.
const OBJECT_LEN_MAX: u64 = 256 << 20;

/// Reads an object file.
pub(crate) fn object(path: &Path) -> Result<Object, Failure> {
    let bytes = read(path, OBJECT_LEN_MAX)?;
    Object::parse(&bytes).map_err(|errors| Failure::Input(listed(path, &errors)))
}

/// Reads an object file whose program of this name is of this type, and all programs are whose sections do not say.
pub(crate) fn object_of_type(path: &Path, of_type: &OfType, name: Option<&str>) -> Result<Object, Failure> {
    let mut object = object(path)?;
    let only = object.programs.len() == 1;
    for program in &mut object.programs {
        let is_meant = only
            || name == Some(program.name.as_str())
            || program.sec.prog_type.is_none()
            || program.sec.loose;
        if let Some(prog_type) = of_type.prog_type.filter(|_| is_meant) {
            program.sec.prog_type = Some(prog_type);
        }
    }
    Ok(object)
}

/// All that is wrong with an object, one a line.
pub(crate) fn listed(path: &Path, errors: &mimic::object::LoadErrors) -> String {
    let lines: Vec<String> =
        errors.to_string().lines().map(|line| format!("{}: {line}", path.display())).collect();
    lines.join("\n       ")
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path, len_max: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let named = |error: std::io::Error| Failure::Input(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(len_max + 1).read_to_end(&mut bytes).map_err(named)?;
    } else {
        let file = std::fs::File::open(path).map_err(named)?;
        file.take(len_max + 1).read_to_end(&mut bytes).map_err(named)?;
    }
    if bytes.len() as u64 > len_max {
        return Err(Failure::Input(format!("{}: longer than {len_max} bytes", path.display())));
    }
    Ok(bytes)
}

/// The longest file of BTF, or with BTF in it, that is read, in bytes.
const BTF_LEN_MAX: u64 = 1 << 30;
/// The longest kernel configuration that is read, in bytes.
const KCONFIG_LEN_MAX: u64 = 16 << 20;

/// The kernel that an object's programs are linked for.
pub(crate) fn target(kernel: &Kernel, object: &Object) -> Result<Target, Failure> {
    let mut target = Target { btf: object.btf.clone(), ..Target::default() };
    if let Some(path) = &kernel.btf {
        let named = |error: String| Failure::Input(format!("--btf {}: {error}", path.display()));
        let btf = mimic::read_btf(&read(path, BTF_LEN_MAX)?).map_err(named)?;
        target.btf = Some(Arc::new(btf));
    }
    if let Some(path) = &kernel.kconfig {
        let text = read(path, KCONFIG_LEN_MAX)?;
        if text.starts_with(&[0x1f, 0x8b]) {
            let what = "is compressed; unpack it first, as in zcat /proc/config.gz > config";
            return Err(Failure::Input(format!("--kconfig {}: {what}", path.display())));
        }
        target.kconfig = Some(Target::parse_kconfig(&String::from_utf8_lossy(&text)));
    }
    Ok(target)
}

/// Says what of kernel structures read as zero for want of a layout, or of somebody who states it; each once.
pub(crate) fn warn_of_unstated(loaded: &Loaded) {
    for field in loaded.unstated_fields() {
        crate::out::warning(&format!("the world does not state {field}, so it read as zero"));
    }
    for name in loaded.vm().emulator_as::<Linux>().map(Linux::opaque_structs).unwrap_or_default() {
        crate::out::warning(&format!(
            "the layout of struct {name} is not known, so all in it read as zero; --btf FILE gives a kernel's"
        ));
    }
}

/// The longest World file that is read, in bytes.
const WORLD_LEN_MAX: u64 = 256 << 20;

/// The world that a file states; none without one.
pub(crate) fn world(path: Option<&Path>) -> Result<Option<World>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let named =
        |error: &dyn std::fmt::Display| Failure::Input(format!("--world {}: {error}", path.display()));
    let text = String::from_utf8(read(path, WORLD_LEN_MAX)?).map_err(|_| named(&"not UTF-8"))?;
    mimic::world::read_world(&text).map(Some).map_err(|error| named(&error))
}

/// Says that kernel structures are taken to be as the object declares them: nobody sees that from what it reads.
fn warn_of_core(kernel: &Kernel, object: &Object) {
    const SHOWN: usize = 4;
    let structs = object.core_structs();
    if kernel.btf.is_some() || structs.is_empty() {
        return;
    }
    let more = structs.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = structs[..structs.len().min(SHOWN)].join(", ");
    crate::out::warning(&format!(
        "fields of {names}{more} are read where this object declares them; --btf FILE gives a kernel's layout"
    ));
}

/// What a VM is made with.
pub(crate) struct Settings {
    pub(crate) cpus: u32,
    pub(crate) seed: u64,
    pub(crate) budget: u64,
    pub(crate) engine: Engine,
}

/// Loads an object into a VM of this kind, in this world, with presets.
pub(crate) fn load(machine: &Machine, object: &Object, mut world: World) -> Result<Loaded, Failure> {
    let Machine { cpus, seed, budget, engine, .. } = *machine;
    let target = target(&machine.kernel, object)?;
    warn_of_core(&machine.kernel, object);
    if let Some(seed) = seed {
        world.seed = seed;
    }
    let loaded = load_with(&Settings { cpus, seed: world.seed, budget, engine }, object, &target, world)?;
    preset(machine, &loaded)?;
    Ok(loaded)
}

/// The same without presets.
pub(crate) fn load_with(
    settings: &Settings,
    object: &Object,
    target: &Target,
    world: World,
) -> Result<Loaded, Failure> {
    let vm = Vm::builder(Linux::new(world))
        .engine(settings.engine.into())
        .cpus(settings.cpus)
        .seed(settings.seed)
        .byte_order(object.byte_order)
        .limits(Limits { insns_max: settings.budget, ..Limits::default() })
        .build()
        .map_err(|error| Failure::Input(error.to_string()))?;
    Ok(vm.load_for(object, target)?)
}

/// The longest file of presets that is read, in bytes.
const PRESET_LEN_MAX: u64 = 256 << 20;

fn preset(machine: &Machine, loaded: &Loaded) -> Result<(), Failure> {
    if let Some(path) = &machine.preset {
        let bytes = read(path, PRESET_LEN_MAX)?;
        let named = |error: String| Failure::Input(format!("{}: {error}", path.display()));
        let document = serde_json::from_slice(&bytes).map_err(|error| named(error.to_string()))?;
        loaded.preset_json(&document).map_err(|error| named(error.to_string()))?;
    }
    for text in &machine.map {
        loaded.preset_text(text).map_err(|error| Failure::Input(format!("--map: {error}")))?;
    }
    Ok(())
}

/// The program to run: the one of this name, or the only one that can be meant: programs in slots of program arrays are called by others.
pub(crate) fn program<'a>(loaded: &'a Loaded, name: Option<&str>) -> Result<Runnable<'a>, Failure> {
    if let Some(name) = name {
        return Ok(loaded.program(name)?);
    }
    let object = loaded.object();
    let is_called = |name: &str| {
        object.maps.iter().any(|map| match &map.contents {
            Contents::Slots(slots) => {
                slots.iter().any(|slot| matches!(&slot.init, Init::Program(called) if called == name))
            }
            Contents::Empty | Contents::Data { .. } => false,
        })
    };
    let names: Vec<&str> = object.programs.iter().map(|program| program.name.as_str()).collect();
    let entries: Vec<&str> = names.iter().copied().filter(|name| !is_called(name)).collect();
    match (names.as_slice(), entries.as_slice()) {
        ([], _) => Err(Failure::Input("the object has no program".into())),
        ([name], _) | (_, [name]) => Ok(loaded.program(name)?),
        (names, _) => {
            let what = format!(
                "the object has {} programs; choose one with --prog: {}",
                names.len(),
                names.join(", ")
            );
            Err(Failure::Input(what))
        }
    }
}
