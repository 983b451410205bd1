//! `mimic object`: what is in an object file.

use crate::args::ObjectArgs;
use crate::out::{BAD, DIM, HEAD, Table};
use crate::{Done, Failure, machine};
use mimic::object::{Extern, ExternKind, MapSpec, Object, ProgramSpec};
use serde_json::{Value, json};
use std::io::Write;

pub(crate) fn run(args: &ObjectArgs) -> Done {
    let object = machine::object(&args.file)?;
    let target = machine::target(&args.kernel, &object)?;
    let linked: Vec<Result<usize, String>> = object
        .programs
        .iter()
        .map(|spec| {
            let program = object.link_spec(spec, &target);
            program.map(|program| program.code.len()).map_err(|errors| errors.to_string())
        })
        .collect();
    let mut to = anstream::stdout().lock();
    if args.json.json {
        writeln!(to, "{}", as_json(&object, &linked))?;
    } else {
        text(&mut to, &args.file.display().to_string(), &object, &linked)?;
    }
    let mut errors = Vec::new();
    for (spec, linked) in object.programs.iter().zip(&linked) {
        for line in linked.as_ref().err().into_iter().flat_map(|errors| errors.lines()) {
            let line = format!("program {}: {line}", spec.name);
            // What a kernel does not have, or has in a module whose types are elsewhere, is no fault of the file.
            let is_lacking = line.contains("CO-RE: ") || line.contains(" is not in the target");
            if is_lacking { crate::out::warning(&line) } else { errors.push(line) }
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::Input(errors.join("\n       "))),
    }
}

fn text(
    to: &mut impl Write,
    name: &str,
    object: &Object,
    linked: &[Result<usize, String>],
) -> std::io::Result<()> {
    let order = match object.byte_order {
        mimic::abi::ByteOrder::Little => "little-endian",
        mimic::abi::ByteOrder::Big => "big-endian",
    };
    let license = object.license.as_deref().unwrap_or("none");
    let types = object
        .btf
        .as_ref()
        .map_or("no BTF".to_owned(), |btf| format!("BTF of {} types", btf.type_count() - 1));
    writeln!(to, "{HEAD}{name}{HEAD:#}  {DIM}{order}, licence {license}, {types}{DIM:#}")?;
    if !object.programs.is_empty() {
        let mut table = Table::new(&["PROGRAM", "SECTION", "TYPE", "ATTACH", ">INSNS"]);
        for (spec, linked) in object.programs.iter().zip(linked) {
            let insns = linked.as_ref().map_or("-".into(), ToString::to_string);
            let style = if linked.is_ok() { anstyle::Style::new() } else { BAD };
            table.styled_row(program_row(spec, insns), style);
        }
        writeln!(to)?;
        table.print(to, 2)?;
    }
    if !object.maps.is_empty() {
        let mut table = Table::new(&["MAP", "TYPE", "KEY", "VALUE", ">ENTRIES", "FLAGS"]);
        for spec in &object.maps {
            table.row(map_row(object, spec));
        }
        writeln!(to)?;
        table.print(to, 2)?;
    }
    if !object.externs.is_empty() {
        let mut table = Table::new(&["EXTERN", "KIND"]);
        for symbol in &object.externs {
            table.row([symbol.name.clone(), extern_kind(symbol)]);
        }
        writeln!(to)?;
        table.print(to, 2)?;
    }
    if !object.struct_ops.is_empty() {
        let mut table = Table::new(&["STRUCT_OPS", "TYPE", ">FUNCTIONS"]);
        for ops in &object.struct_ops {
            table.row([ops.name.clone(), ops.type_name.clone(), ops.funcs.len().to_string()]);
        }
        writeln!(to)?;
        table.print(to, 2)?;
    }
    if !object.warnings.is_empty() {
        writeln!(to)?;
    }
    for warning in &object.warnings {
        writeln!(to, "  {DIM}note: {warning}{DIM:#}")?;
    }
    Ok(())
}

fn program_row(spec: &ProgramSpec, insns: String) -> [String; 5] {
    let kind = spec.sec.prog_type.map_or("-".to_owned(), |kind| kind.word().to_owned());
    let attach = match (spec.sec.attach_type, &spec.sec.target) {
        (Some(kind), Some(target)) => format!("{} {target}", kind.word()),
        (Some(kind), None) => kind.word().to_owned(),
        (None, Some(target)) => target.clone(),
        (None, None) => "-".to_owned(),
    };
    [spec.name.clone(), spec.section.clone(), kind, attach, insns]
}

/// A type in C, or its size.
fn type_name(object: &Object, ty: u32, size: u32) -> String {
    match object.btf.as_deref().filter(|_| ty != 0) {
        Some(btf) if size > 0 => {
            let name = btf.c_decl(mimic::abi::btf::TypeId(ty), "").to_string();
            format!("{} ({size})", name.trim())
        }
        _ if size == 0 => "-".into(),
        _ => format!("{size} bytes"),
    }
}

fn map_row(object: &Object, spec: &MapSpec) -> [String; 6] {
    let kind = spec.kind().map_or_else(|_| spec.map_type.to_string(), |kind| kind.word().to_owned());
    let value = match spec.is_data() {
        true => format!("{} bytes of variables", spec.value_size),
        false => type_name(object, spec.value_type, spec.value_size),
    };
    let flags = match spec.map_flags {
        0 => "-".into(),
        flags => format!("{flags:#x}"),
    };
    [
        spec.name.clone(),
        kind,
        type_name(object, spec.key_type, spec.key_size),
        value,
        spec.max_entries.to_string(),
        flags,
    ]
}

fn extern_kind(symbol: &Extern) -> String {
    let weak = if symbol.weak { "weak " } else { "" };
    let kind = match symbol.kind {
        ExternKind::Kconfig { .. } => "kconfig",
        ExternKind::Var { .. } => "kernel variable",
        ExternKind::Func { .. } => "kernel function",
    };
    format!("{weak}{kind}")
}

fn as_json(object: &Object, linked: &[Result<usize, String>]) -> Value {
    let program = |(spec, linked): (&ProgramSpec, &Result<usize, String>)| {
        json!({
            "name": spec.name, "section": spec.section,
            "type": spec.sec.prog_type.map(|kind| kind.word()),
            "attach_type": spec.sec.attach_type.map(|kind| kind.word()),
            "target": spec.sec.target,
            "insns": linked.as_ref().ok(),
            "errors": linked.as_ref().err().map(|errors| errors.lines().collect::<Vec<_>>()),
        })
    };
    let map = |spec: &MapSpec| {
        json!({
            "name": spec.name, "type": spec.kind().map_or_else(|_| spec.map_type.to_string(), |kind| kind.word().to_owned()),
            "key_size": spec.key_size, "value_size": spec.value_size, "max_entries": spec.max_entries,
            "flags": spec.map_flags, "pinned": spec.is_pinned(), "data": spec.is_data(),
        })
    };
    let symbol =
        |symbol: &Extern| json!({ "name": symbol.name, "weak": symbol.weak, "kind": extern_kind(symbol) });
    let order = match object.byte_order {
        mimic::abi::ByteOrder::Little => "little",
        mimic::abi::ByteOrder::Big => "big",
    };
    json!({
        "version": 1,
        "byte_order": order,
        "license": object.license,
        "types": object.btf.as_ref().map(|btf| btf.type_count() - 1),
        "programs": object.programs.iter().zip(linked).map(program).collect::<Vec<_>>(),
        "maps": object.maps.iter().map(map).collect::<Vec<_>>(),
        "externs": object.externs.iter().map(symbol).collect::<Vec<_>>(),
        "struct_ops": object.struct_ops.iter().map(|ops| json!({ "name": ops.name, "type": ops.type_name })).collect::<Vec<_>>(),
        "warnings": object.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
