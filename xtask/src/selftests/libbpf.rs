//! The kernel tree's own libbpf as the yardstick: what it opens, and the linking of those objects that only open together.
//!
//! libbpf is built statically from the tree, into the output folder, with the system's C compiler and libelf. Where they
//! are missing the table goes without its column, and says so.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{output_of, tool};

const SOURCE: &str = include_str!("libbpf.c");

/// A built program that asks libbpf.
pub(crate) struct Libbpf {
    program: PathBuf,
}

/// What libbpf says of an object.
pub(crate) struct Answer {
    /// The number of programs, or libbpf's last warning.
    pub(crate) opened: Result<usize, String>,
}

/// The instructions that libbpf would load, by program.
pub(crate) type Code = BTreeMap<String, Vec<u8>>;

impl Libbpf {
    /// Builds libbpf of the kernel tree `kernel` and the program into `out`.
    pub(crate) fn build(kernel: &Path, out: &Path) -> Result<Libbpf, String> {
        let program = out.join("libbpf-ask");
        let source = out.join("libbpf-ask.c");
        if program.exists() && std::fs::read_to_string(&source).is_ok_and(|old| old == SOURCE) {
            return Ok(Libbpf { program });
        }
        let cc = tool("CC", &["cc", "gcc", "clang"]).ok_or("no C compiler")?;
        let build = out.join("libbpf");
        std::fs::create_dir_all(&build).map_err(|err| format!("cannot make {}: {err}", build.display()))?;
        output_of(
            Command::new("make")
                .arg("-C")
                .arg(kernel.join("tools/lib/bpf"))
                .arg(format!("OUTPUT={}/", build.display()))
                .arg(format!("DESTDIR={}/root", build.display()))
                .args(["prefix=/usr", "BUILD_STATIC_ONLY=1", "install_headers"])
                .arg(build.join("libbpf.a")),
        )
        .map_err(|err| {
            format!("make of tools/lib/bpf failed (it needs libelf: libelf-dev): {}", last_line(&err))
        })?;

        std::fs::write(&source, SOURCE).map_err(|err| format!("cannot write {}: {err}", source.display()))?;
        output_of(
            Command::new(cc)
                .arg(format!("-I{}/root/usr/include", build.display()))
                .arg(&source)
                .arg(build.join("libbpf.a"))
                .args(["-Wl,--wrap=syscall", "-lelf", "-lz", "-o"])
                .arg(&program),
        )?;
        Ok(Libbpf { program })
    }

    /// Opens each object and returns what came of it, by path.
    pub(crate) fn open(&self, objects: &[PathBuf]) -> Result<BTreeMap<PathBuf, Answer>, String> {
        let text = output_of(Command::new(&self.program).arg("open").args(objects))?;
        let text = String::from_utf8_lossy(&text);
        let answer = |line: &str| {
            let mut fields = line.splitn(4, '\t');
            let (path, verdict) = (fields.next()?, fields.next()?);
            let (programs, warning) = (fields.next()?.parse().ok()?, fields.next()?);
            let warning = warning.trim_start_matches("libbpf: ").to_owned();
            let opened = if verdict == "ok" { Ok(programs) } else { Err(warning) };
            Some((PathBuf::from(path), Answer { opened }))
        };
        Ok(text.lines().filter_map(answer).collect())
    }

    /// The instructions of the object's programs as libbpf would load them; programs that it can't load are left out.
    pub(crate) fn code(&self, object: &Path) -> Result<Code, String> {
        let text = output_of(Command::new(&self.program).arg("code").arg(object))?;
        let text = String::from_utf8_lossy(&text);
        let program = |line: &str| {
            let mut fields = line.splitn(4, '\t').skip(1);
            let (name, verdict, hex) = (fields.next()?, fields.next()?, fields.next()?);
            (verdict == "ok").then(|| Some((name.to_owned(), bytes_of(hex)?))).flatten()
        };
        Ok(text.lines().filter_map(program).collect())
    }

    /// Links `inputs` into `out`.
    pub(crate) fn link(&self, out: &Path, inputs: &[PathBuf]) -> Result<(), String> {
        output_of(Command::new(&self.program).arg("link").arg(out).args(inputs)).map(|_| ())
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text)
}
