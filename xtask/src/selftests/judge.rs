//! What mimic makes of an object: parsed or not, and each program linked and relocated against a kernel's BTF or not.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mimic_abi::btf::Btf;
use mimic_abi::{ByteOrder, RawInsn};
use mimic_object::{ExternKind, LoadErrors, Object, Program, RefTarget, Target};

use super::libbpf::Code;

/// The outcome for one object.
pub(crate) struct Judgement {
    /// How many programs it has, or why it does not parse.
    pub(crate) programs: Result<usize, Vec<String>>,
    /// The programs that do not link, each with its reasons.
    pub(crate) unlinked: Vec<(String, Vec<String>)>,
    /// The programs that link but for kernel functions that the target lacks (those of bpf_testmod, of options that
    /// the kernel was built without). libbpf opens such an object, and finds out when it loads it.
    pub(crate) lacking: Vec<(String, Vec<String>)>,
    /// How many programs have the instructions that libbpf would load.
    pub(crate) same: usize,
    /// The programs that have others, each with the first difference.
    pub(crate) different: Vec<(String, String)>,
    /// How long parsing took.
    pub(crate) parse_time: Duration,
}

impl Judgement {
    /// Whether it parses and every program of it links, and as libbpf has it, as far as that is up to mimic.
    pub(crate) fn is_good(&self) -> bool {
        self.programs.is_ok() && self.unlinked.is_empty() && self.different.is_empty()
    }
}

/// The target that objects are linked for: the baseline kernel with the BTF in the file `btf`.
pub(crate) fn target(btf: &Path) -> Result<Target, String> {
    let bytes = std::fs::read(btf).map_err(|err| format!("cannot read {}: {err}", btf.display()))?;
    let btf = Btf::parse(bytes).map_err(|err| format!("{}: {err}", btf.display()))?;
    Ok(Target { btf: Some(Arc::new(btf)), ..Target::default() })
}

/// Parses the object and links each of its programs; compares with `code`, libbpf's outcome, where there is one.
pub(crate) fn judge(path: &Path, target: &Target, code: Option<&Code>) -> Result<Judgement, String> {
    let bytes = std::fs::read(path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let start = Instant::now();
    let parsed = Object::parse(&bytes);
    let mut judgement = Judgement {
        programs: Ok(0),
        unlinked: Vec::new(),
        lacking: Vec::new(),
        same: 0,
        different: Vec::new(),
        parse_time: start.elapsed(),
    };
    match parsed {
        Ok(object) => judgement.link_all(&object, target, code),
        Err(errors) => judgement.programs = Err(texts(&errors)),
    }
    Ok(judgement)
}

impl Judgement {
    fn link_all(&mut self, object: &Object, target: &Target, code: Option<&Code>) {
        self.programs = Ok(object.programs.len());
        let asked_for = object.externs.iter().filter(|wanted| matches!(wanted.kind, ExternKind::Func { .. }));
        let kfuncs: BTreeSet<String> = asked_for.map(|wanted| wanted.name.clone()).collect();
        let generous = Target { kfuncs: Some(kfuncs), ..target.clone() };
        for spec in &object.programs {
            match object.link_spec(spec, target) {
                Ok(program) => self.compare(&program, code),
                Err(errors) => {
                    let lacking = object.link_spec(spec, &generous).is_ok();
                    let list = if lacking { &mut self.lacking } else { &mut self.unlinked };
                    list.push((spec.name.clone(), texts(&errors)));
                }
            }
        }
    }

    fn compare(&mut self, program: &Program, code: Option<&Code>) {
        let Some(bytes) = code.and_then(|code| code.get(&program.name)) else { return };
        match first_difference(program, bytes) {
            None => self.same += 1,
            Some(difference) => self.different.push((program.name.clone(), difference)),
        }
    }
}

/// Where the program and libbpf's instructions part. Maps are given by their index, addresses of kernel symbols are left out.
fn first_difference(program: &Program, bytes: &[u8]) -> Option<String> {
    let indices: Vec<i32> = (0..i32::from(u16::MAX)).collect();
    let ours = match program.code_for_bpf(&indices) {
        Ok(ours) => ours,
        Err(map) => return Some(format!("it refers to map {map}, more than there can be")),
    };
    let mut theirs = match RawInsn::parse_all(bytes, ByteOrder::Little) {
        Ok(theirs) => theirs,
        Err(err) => return Some(format!("libbpf's instructions: {err}")),
    };
    for reference in &program.refs {
        if let RefTarget::Ksym { btf_id: 0, .. } = reference.target {
            let at = reference.pc as usize;
            theirs.iter_mut().skip(at).take(2).for_each(|slot| slot.imm = 0);
        }
    }
    if let Some(pc) = ours.iter().zip(&theirs).position(|(our, their)| our != their) {
        let text = |slots: &[RawInsn]| {
            slots.get(pc).map(|slot| format!("{:016x}", slot.to_u64())).unwrap_or_default()
        };
        return Some(format!("pc {pc}: libbpf has {}, mimic {}", text(&theirs), text(&ours)));
    }
    (ours.len() != theirs.len()).then(|| format!("libbpf has {} slots, mimic {}", theirs.len(), ours.len()))
}

fn texts(errors: &LoadErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
