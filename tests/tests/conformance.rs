//! Every conformance case gives its answer, in mimic and (where Linux loads it) in the kernel; every form of instruction is
//! in some case.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mimic_abi::isa::{self, Form, Imm64Kind};
use mimic_abi::{Insn, RawInsn};
use mimic_tests::conformance::{
    Case, parse_alu, parse_branches, parse_cases, parse_refused, run_bytes, run_code,
};

#[test]
fn every_case_gives_its_answer() {
    let mut wrong = Vec::new();
    for case in cases() {
        match run_code(case.code.clone(), &case.memory) {
            Ok(r0) if r0 == case.r0 => {}
            Ok(r0) => wrong.push(format!("{}: {r0:#x} instead of {:#x}", case.name, case.r0)),
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_no_instruction_is_refused() {
    for (name, slot) in refused() {
        let code = between_zero_and_exit(slot);
        assert!(run_code(code, &[]).is_err(), "{name}");
    }
}

/// As the plug-in gets them: what is wrong is found when the program is read, loaded or run.
#[test]
fn what_is_no_program_is_refused() {
    let text = std::fs::read_to_string(folder().join("refuse_programs.table")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).chain([" # nothing at all"]);
    let mut count = 0;
    for line in lines {
        let (bytes, why) = line.split_once('#').unwrap();
        let byte = |byte| u8::from_str_radix(byte, 16).unwrap();
        let bytes: Vec<u8> = bytes.split_whitespace().map(byte).collect();
        let result = run_bytes(&bytes, &[]);
        assert!(result.is_err(), "{why}: {result:?}");
        count += 1;
    }
    assert!(count > 30, "only {count} programs");
}

#[test]
fn every_form_is_in_a_case() {
    let mut missing: HashSet<String> = isa::rows().map(|row| format!("{:?}", row.form)).collect();
    for case in cases() {
        let mut pc = 0;
        while pc < case.code.len() {
            let insn = Insn::decode(&case.code[pc..]).unwrap();
            missing.remove(&format!("{:?}", insn.form()));
            pc += insn.slots();
        }
    }
    // These need maps, packets or arenas.
    let kinds = [
        Imm64Kind::MapFd,
        Imm64Kind::MapFdValue,
        Imm64Kind::BtfId,
        Imm64Kind::MapIdx,
        Imm64Kind::MapIdxValue,
    ];
    let mut expected: HashSet<String> =
        kinds.iter().map(|kind| format!("{:?}", Form::LdImm64(*kind))).collect();
    let others = [Form::AddrSpaceCast(0, 1), Form::AddrSpaceCast(1, 0)];
    expected.extend(others.iter().map(|form| format!("{form:?}")));
    missing.retain(|form| !form.starts_with("Packet"));
    assert_eq!(missing, expected);
}

#[cfg(target_os = "linux")]
mod in_the_kernel {
    use std::os::fd::AsRawFd;

    use mimic_abi::ByteOrder;
    use mimic_tests::kernel::{Kernel, LoadError, Map, MapAttr, MapKind, Prog, ProgAttr, TestRunAttr};

    use super::*;

    #[test]
    fn the_kernel_gives_the_same_answers() {
        let Some(_kernel) = Kernel::or_skip() else { return };
        let attr = MapAttr {
            map_type: MapKind::ARRAY.0,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..MapAttr::default()
        };
        let result = Map::create(&attr).unwrap();
        let mut wrong = Vec::new();
        for case in cases() {
            match (r0(&case, &result), &case.kernel_refuses) {
                (Ok(r0), None) if r0 == case.r0 => {}
                (Err(_), Some(_)) => {}
                (Ok(_), Some(why)) => wrong.push(format!("{}: loads, but should not: {why}", case.name)),
                (Ok(r0), None) => wrong.push(format!("{}: {r0:#x} instead of {:#x}", case.name, case.r0)),
                (Err(error), None) => wrong.push(format!("{}: {error}", case.name)),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_kernel_refuses_the_same() {
        let Some(_kernel) = Kernel::or_skip() else { return };
        for (name, slot) in refused() {
            assert!(load(&between_zero_and_exit(slot), &[]).is_err(), "{name}");
        }
    }

    /// As a subprogram of an XDP program that hands it the packet and keeps its r0 in the map.
    fn r0(case: &Case, result: &Map) -> Result<u64, LoadError> {
        let len = case.memory.len();
        let call = if len == 0 {
            "r1 = 0\n r2 = 0\n".into()
        } else {
            format!(
                "r3 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r2 = r1\n r2 += {len}\n if r2 > r3 goto out\n r2 = {len}\n"
            )
        };
        let text = format!(
            "{call} call case\n r1 = map[idx:0][0]+0\n *(u64 *)(r1 + 0) = r0\nout:\n r0 = 0\n exit\ncase:\n"
        );
        let mut code = mimic_abi::asm::assemble(&text, &()).unwrap().slots;
        code.extend(&case.code);
        let prog = load(&code, &[result.as_raw_fd()])?;
        let mut packet = case.memory.clone();
        packet.resize(len.max(64), 0);
        let answer = prog.test_run(&TestRunAttr { data_in: Some(&packet), ..TestRunAttr::default() });
        assert_eq!(answer.errno, 0, "{}", case.name);
        let value = result.lookup(&[0; 4]).unwrap();
        Ok(u64::from_ne_bytes(value.try_into().unwrap()))
    }

    fn load(code: &[RawInsn], fd_array: &[i32]) -> Result<Prog, LoadError> {
        const XDP: u32 = 6;
        let insns = RawInsn::write_all(code, ByteOrder::NATIVE);
        let attr =
            ProgAttr { prog_type: XDP, insns: &insns, license: "GPL", fd_array, ..ProgAttr::default() };
        Prog::load_or_explain(&attr)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
        let parsed = match name.as_str() {
            "alu.table" => parse_alu(&text),
            "branch.table" => parse_branches(&text),
            "refuse.table" | "refuse_programs.table" => continue,
            _ => parse_cases(&text),
        };
        let parsed = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
        cases.extend(parsed.into_iter().map(|case| Case { name: format!("{name}, {}", case.name), ..case }));
    }
    assert!(cases.len() > 500, "only {} cases were found", cases.len());
    cases
}

fn refused() -> Vec<(String, RawInsn)> {
    parse_refused(&std::fs::read_to_string(folder().join("refuse.table")).unwrap()).unwrap()
}

fn between_zero_and_exit(slot: RawInsn) -> Vec<RawInsn> {
    let parts = ["r0 = 0\n *(u64 *)(r10 - 8) = 0", "exit"]
        .map(|text| mimic_abi::asm::assemble(text, &()).unwrap().slots);
    let [start, end] = parts;
    [start, vec![slot], end].concat()
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}
