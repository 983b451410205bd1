//! `mimic list`: views of the tables that the emulator runs from.

use crate::args::{List, Listing};
use crate::out::Table;
use crate::{Done, Failure};
use mimic::abi::{HelperSpec, MapOps, MapTypeSpec, ProgTypeSpec, isa};
use mimic::linux::{maps, progs};
use mimic::vm::{Emulator, Helper};
use serde_json::{Value, json};
use std::io::Write;

pub(crate) fn run(args: &List) -> Done {
    let linux = mimic::linux::Linux::default();
    let (head, rows): (&[&'static str], Vec<Vec<String>>) = match args.what {
        Listing::Helpers => (
            &[">ID", "HELPER", "SINCE", "SUPPORT", "PROTOTYPE", "NOTE"],
            linux.helpers().map(helper).collect(),
        ),
        Listing::Kfuncs => {
            let row = |row: &Helper| helper(row).split_off(1);
            (&["KFUNC", "SINCE", "SUPPORT", "PROTOTYPE", "NOTE"], linux.kfuncs().map(row).collect())
        }
        Listing::Maps => {
            let head = &[">ID", "MAP TYPE", "SINCE", "SUPPORT", "PROGRAMS", "USERS", "NOTE"];
            (head, maps::ROWS.iter().map(map).collect())
        }
        Listing::Progs => {
            let head = &[">ID", "PROGRAM TYPE", "SINCE", "SUPPORT", "TEST-RUN", "CONTEXT", "ABOUT", "NOTE"];
            (head, progs::PROG_TYPES.iter().map(prog).collect())
        }
        Listing::Insns => (&["OPCODE", "NAME", "SYNTAX", "GROUP", "SINCE"], isa::rows().map(insn).collect()),
    };
    let wanted = |row: &&Vec<String>| {
        args.filter
            .as_ref()
            .is_none_or(|filter| row.iter().take(2).any(|cell| cell.contains(filter.as_str())))
    };
    let rows: Vec<&Vec<String>> = rows.iter().filter(wanted).collect();
    if let (Some(filter), true) = (&args.filter, rows.is_empty()) {
        return Err(Failure::Input(format!("there is nothing with {filter:?} in its name")));
    }
    let mut to = anstream::stdout().lock();
    if args.json.json {
        let object = |row: &&Vec<String>| {
            let key = |name: &&str| name.trim_start_matches('>').to_lowercase().replace(' ', "_");
            Value::Object(head.iter().map(key).zip(row.iter().map(|cell| json!(cell))).collect())
        };
        let rows: Vec<Value> = rows.iter().map(object).collect();
        writeln!(to, "{}", json!({ "version": 1, "rows": rows }))?;
        return Ok(());
    }
    let mut table = Table::new(head);
    for row in rows {
        table.row(row.iter().cloned());
    }
    table.print(&mut to, 0)?;
    Ok(())
}

fn helper(row: &Helper) -> Vec<String> {
    let HelperSpec { id, name, args, ret, since, support, .. } = row.spec;
    let args: Vec<String> = args.iter().map(|arg| format!("{}: {:?}", arg.name, arg.ty)).collect();
    let name = if id == 0 { name.to_owned() } else { format!("bpf_{name}") };
    let prototype = format!("({}) -> {ret:?}", args.join(", "));
    vec![id.to_string(), name, since.to_string(), support.word().into(), prototype, support.note().into()]
}

fn map(row: &MapTypeSpec) -> Vec<String> {
    let words = |ops: MapOps| ops.words().collect::<Vec<_>>().join(" ");
    let MapTypeSpec { kind, since, support, prog_ops, user_ops, .. } = row;
    vec![
        kind.id().to_string(),
        kind.word().into(),
        since.to_string(),
        support.word().into(),
        words(*prog_ops),
        words(*user_ops),
        support.note().into(),
    ]
}

fn prog(row: &ProgTypeSpec) -> Vec<String> {
    vec![
        row.prog_type.id().to_string(),
        row.prog_type.word().into(),
        row.since.to_string(),
        row.support.word().into(),
        if row.test_run { "yes" } else { "no" }.into(),
        row.context.map_or("-".into(), |layout| layout.name.into()),
        row.about.into(),
        row.support.note().into(),
    ]
}

fn insn(row: &isa::InsnRow) -> Vec<String> {
    vec![
        format!("{:#04x}", row.opcode()),
        row.name.into(),
        row.syntax.to_string(),
        format!("{:?}", row.group).to_lowercase(),
        row.since.map_or("-".into(), |since| since.to_string()),
    ]
}
