//! What several chores ask of the machine: where the project is, where a tool is, how to run many compilers at once.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The root of the project's tree.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The first of `candidates` that answers `--version`; the variable `name` of the environment goes first.
pub(crate) fn tool(name: &str, candidates: &[&str]) -> Option<String> {
    let chosen = std::env::var(name).ok();
    chosen
        .iter()
        .map(String::as_str)
        .chain(candidates.iter().copied())
        .find(|tool| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success()))
        .map(str::to_owned)
}

/// A compiler that has its standard library's source, for builds that bring their own library.
pub(crate) fn rustc_with_source() -> Result<String, String> {
    let chosen = std::env::var("MIMIC_CROSS_RUSTC").ok();
    let candidates = chosen.iter().map(String::as_str).chain(["rustc", "/usr/bin/rustc"]);
    for rustc in candidates {
        let Ok(output) = Command::new(rustc).args(["--print", "sysroot"]).output() else { continue };
        let sysroot = String::from_utf8_lossy(&output.stdout);
        if Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
            return Ok(rustc.to_owned());
        }
    }
    Err("no compiler with its library's source: rustup component add rust-src, or on Debian apt install rustc-web rust-web-src \
         (MIMIC_CROSS_RUSTC names another)"
        .into())
}

/// A temporary directory of this process, removed when dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// Makes the directory; `purpose` becomes part of its name.
    pub(crate) fn new(purpose: &str) -> Result<TempDir, String> {
        let path = std::env::temp_dir().join(format!("mimic-{purpose}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|err| format!("cannot make {}: {err}", path.display()))?;
        Ok(TempDir(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing is lost when it stays: it lies in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The directories that `clang` searches for the host's own headers: with `--target=bpf` it does not, but the
/// UAPI headers need `asm/`.
pub(crate) fn system_includes(clang: &str) -> Result<Vec<String>, String> {
    let output = Command::new(clang)
        .args(["-v", "-E", "-x", "c", "-"])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|err| format!("cannot run {clang}: {err}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text
        .lines()
        .skip_while(|line| !line.contains("<...> search starts here"))
        .skip(1)
        .take_while(|line| !line.starts_with("End of search list"))
        .map(|line| line.trim().to_owned())
        .collect())
}

/// Runs `work` over `items` on every CPU and returns the results in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Standard output of a command that must succeed, or its standard error as the message.
pub(crate) fn output_of(command: &mut Command) -> Result<Vec<u8>, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|err| format!("cannot run {:?}: {err}", command.get_program()))?;
    if status.success() { Ok(stdout) } else { Err(String::from_utf8_lossy(&stderr).trim_end().to_owned()) }
}
