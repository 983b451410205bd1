//! The objects that are compared: the examples and the fixtures.

use std::path::{Path, PathBuf};

use mimic_object::{Object, Program, Target};

/// An object with its programs linked.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The file's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The object.
    pub object: Object,
    /// What it was linked for.
    pub target: Target,
    /// Its programs, in its order.
    pub programs: Vec<Program>,
}

/// Objects whose kernel functions are the user's own: no kernel has them.
const OF_USERS: &[&str] = &["kfunc.bpf.o"];

/// The files, by name, but for those that no kernel could load.
pub fn fixture_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [root.join("../examples"), root.join("fixtures")] {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.flatten().map(|entry| entry.path());
        let name =
            |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        files.extend(
            paths.filter(|path| name(path).ends_with(".bpf.o") && !OF_USERS.contains(&name(path).as_str())),
        );
    }
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    files
}

impl Fixture {
    /// Opens an object and links all its programs for `target`, or for a kernel whose types are those it was compiled with. The
    /// error is the reader's.
    pub fn open(path: &Path, target: Option<&Target>) -> Result<Fixture, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fail = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
        let object = Object::parse(&bytes).map_err(|errors| fail(&errors))?;
        let own = || Target { btf: object.btf.clone(), ..Target::default() };
        let target = target.cloned().unwrap_or_else(own);
        let link = |spec| object.link_spec(spec, &target).map_err(|errors| fail(&errors));
        let programs = object.programs.iter().map(link).collect::<Result<_, _>>()?;
        Ok(Fixture { name, path: path.into(), object, target, programs })
    }

    /// As `open`, but leaves out programs that can't be linked.
    pub fn open_what_links(path: &Path, target: Option<&Target>) -> Result<Fixture, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        let object = Object::parse(&bytes).map_err(|errors| format!("{name}: {errors}"))?;
        let own = || Target { btf: object.btf.clone(), ..Target::default() };
        let target = target.cloned().unwrap_or_else(own);
        let programs =
            object.programs.iter().filter_map(|spec| object.link_spec(spec, &target).ok()).collect();
        Ok(Fixture { name, path: path.into(), object, target, programs })
    }
}
