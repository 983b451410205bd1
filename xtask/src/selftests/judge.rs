//! What mimic makes of an object: parsed or not, and each program linked and relocated against a kernel's BTF or not.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mimic_abi::btf::Btf;
use mimic_object::{ExternKind, LoadErrors, Object, Target};

/// The outcome for one object.
pub(crate) struct Judgement {
    /// How many programs it has, or why it does not parse.
    pub(crate) programs: Result<usize, Vec<String>>,
    /// The programs that do not link, each with its reasons.
    pub(crate) unlinked: Vec<(String, Vec<String>)>,
    /// The programs that link but for kernel functions that the target lacks (those of bpf_testmod, of options that
    /// the kernel was built without). libbpf opens such an object, and finds out when it loads it.
    pub(crate) lacking: Vec<(String, Vec<String>)>,
    /// How long parsing took.
    pub(crate) parse_time: Duration,
}

impl Judgement {
    /// Whether it parses and every program of it links, as far as that is up to mimic.
    pub(crate) fn is_good(&self) -> bool {
        self.programs.is_ok() && self.unlinked.is_empty()
    }
}

/// The target that objects are linked for: the baseline kernel with the BTF in the file `btf`.
pub(crate) fn target(btf: &Path) -> Result<Target, String> {
    let bytes = std::fs::read(btf).map_err(|err| format!("cannot read {}: {err}", btf.display()))?;
    let btf = Btf::parse(bytes).map_err(|err| format!("{}: {err}", btf.display()))?;
    Ok(Target { btf: Some(Arc::new(btf)), ..Target::default() })
}

/// Parses the object and links each of its programs.
pub(crate) fn judge(path: &Path, target: &Target) -> Result<Judgement, String> {
    let bytes = std::fs::read(path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let start = Instant::now();
    let parsed = Object::parse(&bytes);
    let mut judgement =
        Judgement { programs: Ok(0), unlinked: Vec::new(), lacking: Vec::new(), parse_time: start.elapsed() };
    match parsed {
        Ok(object) => link_all(&object, target, &mut judgement),
        Err(errors) => judgement.programs = Err(texts(&errors)),
    }
    Ok(judgement)
}

fn link_all(object: &Object, target: &Target, judgement: &mut Judgement) {
    judgement.programs = Ok(object.programs.len());
    let asked_for = object.externs.iter().filter(|wanted| matches!(wanted.kind, ExternKind::Func { .. }));
    let kfuncs: BTreeSet<String> = asked_for.map(|wanted| wanted.name.clone()).collect();
    let generous = Target { kfuncs: Some(kfuncs), ..target.clone() };
    for spec in &object.programs {
        let Err(errors) = object.link_spec(spec, target) else { continue };
        let lacking = object.link_spec(spec, &generous).is_ok();
        let list = if lacking { &mut judgement.lacking } else { &mut judgement.unlinked };
        list.push((spec.name.clone(), texts(&errors)));
    }
}

fn texts(errors: &LoadErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
