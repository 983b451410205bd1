//! docs/support.md, made of the rows: what of Linux is there, since when, how well.

use crate::{helpers, kfuncs, maps, progs};
use core::fmt::Write;
use mimic_abi::{HelperFlags, KernelVersion, Support};
use mimic_vm::Helper;

/// The whole page, in Markdown.
pub fn support_markdown() -> String {
    let mut page = String::from(
        "# What of Linux is there\n\n\
         Made from the tables that the code runs by; `MIMIC_BLESS=1 cargo test -p mimic-tests --test support` rewrites it.\n\n\
         - **full**: as Linux 6.18 does it.\n\
         - **partial**: with the difference that the note tells.\n\
         - **replay-only**: answered from a captured context, not computed.\n\
         - **refused**: not there; using it is an error that names it and what it needs.\n\n\
         Any helper and kfunc can be answered by a closure of yours (`VmBuilder::helper`), whatever is said here.\n",
    );
    prog_types(&mut page);
    map_types(&mut page);
    functions(&mut page, "Helpers", helpers::all().collect(), true);
    functions(&mut page, "Kernel functions (kfuncs)", kfuncs::all().collect(), false);
    page
}

fn prog_types(page: &mut String) {
    let rows = progs::PROG_TYPES.iter().map(|row| Row {
        cells: vec![
            format!("`{}`", row.prog_type.name().trim_start_matches("BPF_PROG_TYPE_")),
            row.about.into(),
        ],
        since: row.since,
        support: row.support,
    });
    table(page, "Program types", &["type", "what it is"], &rows.collect::<Vec<_>>());
}

fn map_types(page: &mut String) {
    let rows = maps::ROWS.iter().map(|row| Row {
        cells: vec![format!("`{}`", row.kind.name().trim_start_matches("BPF_MAP_TYPE_")), row.doc.into()],
        since: row.since,
        support: row.support,
    });
    table(page, "Map types", &["type", "what it is"], &rows.collect::<Vec<_>>());
}

fn functions(page: &mut String, title: &str, mut functions: Vec<&Helper>, numbered: bool) {
    functions.sort_by_key(|row| (row.spec.id, row.spec.name));
    let cells = |row: &Helper| {
        let mut cells = vec![];
        if numbered {
            cells.push(row.spec.id.to_string());
            cells.push(format!("`bpf_{}`", row.spec.name));
            cells.push(if row.spec.flags.has(HelperFlags::GPL_ONLY) { "yes" } else { "" }.into());
        } else {
            cells.push(format!("`{}`", row.spec.name));
        }
        cells
    };
    let rows: Vec<Row> = functions
        .into_iter()
        .map(|row| Row { cells: cells(row), since: row.spec.since, support: row.spec.support })
        .collect();
    table(page, title, if numbered { &["id", "name", "GPL only"] } else { &["name"] }, &rows);
}

/// A line of a table.
struct Row {
    cells: Vec<String>,
    since: KernelVersion,
    support: Support,
}

fn table(page: &mut String, title: &str, columns: &[&str], rows: &[Row]) {
    let count = |word: &str| rows.iter().filter(|row| row.support.word() == word).count();
    let counts = ["full", "partial", "replay-only", "refused"].map(|word| (word, count(word)));
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count != 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    // Writing to a string does not fail.
    let _ = write!(page, "\n## {title}\n\n{} in all: {}.\n\n", rows.len(), counts.join(", "));
    let _ = writeln!(page, "| {} | since | support | note |", columns.join(" | "));
    let _ = writeln!(page, "|{}", "---|".repeat(columns.len() + 3));
    for Row { cells, since, support } in rows {
        let _ =
            writeln!(page, "| {} | {since} | {} | {} |", cells.join(" | "), support.word(), support.note());
    }
}
