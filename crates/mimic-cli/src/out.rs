//! Output: colours where they are wanted, errors, tables.

use anstyle::{AnsiColor, Style};
use std::io::Write;
use std::process::ExitCode;

/// For what is wrong.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// For what is odd.
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// For headings.
pub(crate) const HEAD: Style = Style::new().bold();
/// For what is less important.
pub(crate) const DIM: Style = Style::new().dimmed();
/// For what is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// For what is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// For names.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();

/// Says what is wrong, on standard error.
pub(crate) fn error(what: &str, code: u8) -> ExitCode {
    let mut to = anstream::stderr().lock();
    // Nobody is there to be told that nobody can be told.
    let _ = writeln!(to, "{ERROR}error{ERROR:#}: {what}");
    code.into()
}

/// Says what is odd, on standard error.
pub(crate) fn warning(what: &str) {
    let mut to = anstream::stderr().lock();
    // Nobody is there to be told that nobody can be told.
    let _ = writeln!(to, "{WARNING}warning{WARNING:#}: {what}");
}

/// Text from a guest or a file without what would move a terminal's cursor or change its colours.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// A table of text: columns as wide as they need to be, numbers to the right.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<(Vec<String>, Style)>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; a heading that begins with `>` has its column aligned right.
    pub(crate) fn new(head: &[&'static str]) -> Table {
        let right = head.iter().map(|name| name.starts_with('>')).collect();
        let head = head.iter().map(|name| name.trim_start_matches('>')).collect();
        Table { head, rows: Vec::new(), right }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled_row(cells, Style::new());
    }

    /// Adds a row in a style.
    pub(crate) fn styled_row(&mut self, cells: impl IntoIterator<Item = String>, style: Style) {
        self.rows.push((cells.into_iter().collect(), style));
    }

    /// Prints it, indented.
    pub(crate) fn print(&self, to: &mut impl Write, indent: usize) -> std::io::Result<()> {
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|(row, _)| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.head[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        write!(to, "{:indent$}{HEAD}", "")?;
        self.line(to, &widths, self.head.iter().copied())?;
        write!(to, "{HEAD:#}")?;
        writeln!(to)?;
        for (row, style) in &self.rows {
            write!(to, "{:indent$}{style}", "")?;
            self.line(to, &widths, row.iter().map(String::as_str))?;
            writeln!(to, "{style:#}")?;
        }
        Ok(())
    }

    fn line<'a>(
        &self,
        to: &mut impl Write,
        widths: &[usize],
        cells: impl ExactSizeIterator<Item = &'a str>,
    ) -> std::io::Result<()> {
        let last = cells.len().saturating_sub(1);
        for (at, cell) in cells.enumerate() {
            let width = widths.get(at).copied().unwrap_or(0);
            let gap = if at == 0 { "" } else { "  " };
            match self.right.get(at) {
                Some(true) => write!(to, "{gap}{cell:>width$}")?,
                _ if at == last && cell.is_empty() => {}
                _ if at == last => write!(to, "{gap}{cell}")?,
                _ => write!(to, "{gap}{cell:<width$}")?,
            }
        }
        Ok(())
    }
}
