//! The list of explained differences between mimic and the kernel. It may only shrink: an entry that explains nothing any
//! more is an error too.

/// An explained difference, or an answer that the kernel does not give twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The object's file name.
    pub object: String,
    /// Where, as in `Difference::path`; a `*` stands for any text without `/`.
    pub path: String,
    /// Why it differs.
    pub reason: String,
    /// Where the entry stands in the file.
    pub line: usize,
    /// The kernel itself answers one thing now and another then: not compared at all.
    pub unstable: bool,
}

/// The list, and which of its entries have been of use.
#[derive(Clone, Debug, Default)]
pub struct KnownList {
    entries: Vec<(Known, bool)>,
}

impl KnownList {
    /// Reads `[[difference]]` and `[[unstable]]` tables whose keys are `object`, `path` and `reason`, all strings: the part of
    /// TOML that is needed. The error names the line.
    pub fn parse(text: &str) -> Result<KnownList, String> {
        let mut entries: Vec<Known> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if matches!(line, "[[difference]]" | "[[unstable]]") {
                let unstable = line == "[[unstable]]";
                entries.push(Known { line: number, unstable, ..Known::default() });
                continue;
            }
            let wrong =
                || format!("line {number}: expected `key = \"text\"` in a [[difference]], found {line:?}");
            let entry = entries.last_mut().ok_or_else(wrong)?;
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let value =
                value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or_else(wrong)?;
            let field = match key.trim() {
                "object" => &mut entry.object,
                "path" => &mut entry.path,
                "reason" => &mut entry.reason,
                other => return Err(format!("line {number}: unknown key {other:?}")),
            };
            *field = value.into();
        }
        let complete =
            |known: &Known| ![&known.object, &known.path, &known.reason].iter().any(|text| text.is_empty());
        match entries.iter().find(|known| !complete(known)) {
            Some(known) => Err(format!("line {}: a difference needs object, path and reason", known.line)),
            None => Ok(KnownList { entries: entries.into_iter().map(|known| (known, false)).collect() }),
        }
    }

    /// Whether a difference is explained; marks the entry as used.
    pub fn explains(&mut self, object: &str, path: &str) -> bool {
        let mut explained = false;
        for (known, used) in &mut self.entries {
            if known.object == object && matches(&known.path, path) {
                *used = true;
                explained = true;
            }
        }
        explained
    }

    /// Whether the kernel's answer is one that it does not give twice.
    pub fn is_unstable(&self, object: &str, path: &str) -> bool {
        let unstable = |known: &Known| known.unstable && known.object == object && matches(&known.path, path);
        self.entries.iter().any(|(known, _)| unstable(known))
    }

    /// The differences that explained nothing. What is unstable may come out the same by chance.
    pub fn stale(&self) -> impl Iterator<Item = &Known> {
        self.entries.iter().filter(|(known, used)| !used && !known.unstable).map(|(known, _)| known)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(want, have)| *want == "*" || want == have)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_explains_and_grows_stale() {
        let text = "# why\n[[difference]]\nobject = \"a.o\"\npath = \"p/*/retval\"\nreason = \"time\"\n";
        let mut list = KnownList::parse(text).unwrap();
        assert_eq!(list.stale().count(), 1);
        assert!(!list.explains("a.o", "p/udp/errno"));
        assert!(!list.explains("b.o", "p/udp/retval"));
        assert!(list.explains("a.o", "p/udp/retval"));
        assert_eq!(list.stale().count(), 0);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line) in [
            ("object = \"a\"", "line 1"),
            ("[[difference]]\nobject = \"a\"", "line 1"),
            ("[[difference]]\nx = \"a\"", "line 2"),
        ] {
            let error = KnownList::parse(text).unwrap_err();
            assert!(error.starts_with(line), "{error}");
        }
    }
}
