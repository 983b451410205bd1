//! The kernel as oracle: what every program of every example and fixture does in Linux and in mimic.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use mimic_abi::btf::Btf;
use mimic_object::{Program, Target};
use mimic_tests::kernel::{Kernel, Parts};
use mimic_tests::oracle::{Fixture, fixture_files};

/// The kernel takes what our reader and linker make of the objects.
#[test]
fn the_kernel_loads_what_we_link() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let target = running_kernel();
    let mut wrong = Vec::new();
    let (mut objects, mut programs) = (0, 0);
    for path in fixture_files() {
        let fixture = match Fixture::open(&path, &target) {
            Ok(fixture) => fixture,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        objects += 1;
        let linked: Vec<&Program> = fixture.programs.iter().collect();
        let parts =
            Parts { maps: &fixture.object.maps, programs: &linked, btf: fixture.object.btf.as_deref() };
        let loaded = match kernel.load(&parts) {
            Ok(loaded) => loaded,
            Err(error) => {
                wrong.push(format!("{}: {error}", fixture.name));
                continue;
            }
        };
        for (program, prog) in linked.iter().zip(&loaded.progs) {
            programs += 1;
            if let Err(error) = prog {
                wrong.push(format!("{}, {}: {error}", fixture.name, program.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {programs} programs in {objects} objects:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(programs > 100, "only {programs} programs in {objects} objects");
}

/// The kernel that runs here, as a target.
fn running_kernel() -> Target {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's BTF");
    let btf = Btf::parse(btf).expect("the kernel's BTF is well-formed");
    Target { btf: Some(Arc::new(btf)), ..Target::default() }
}
