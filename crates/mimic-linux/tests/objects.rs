//! Kernel objects: the world's things in the layout of a kernel's types, references to them, and what helpers make of them.

mod common;

use common::{assemble_with_kfuncs, linux, try_run, vm_in};
use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
use mimic_linux::{Cgroup, Linux, ObjectKey, Socket, Task, View, World};
use mimic_vm::Vm;
use std::sync::Arc;

/// A small kernel: what is where differs from any real one.
fn types() -> Arc<Btf> {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntEncoding::default());
    let long = btf.int("long", 8, IntEncoding::default());
    let char = btf.int("char", 1, IntEncoding::default());
    let (comm, none) = (btf.array(char, int, 16), btf.array(long, int, 0));
    let kuid = btf.structure("kuid_t", 4, [Field::new("val", int, 0)]);
    btf.structure("cred", 8, [Field::new("uid", kuid, 32)]);
    btf.structure("kernfs_node", 16, [Field::new("id", long, 0), Field::new("name", long, 64)]);
    btf.structure(
        "cgroup",
        24,
        [Field::new("level", int, 0), Field::new("kn", long, 64), Field::new("ancestors", none, 192)],
    );
    btf.structure("css_set", 8, [Field::new("dfl_cgrp", long, 0)]);
    let ids = btf.structure("", 8, [Field::new("tgid", int, 0), Field::new("pid", int, 32)]);
    btf.structure(
        "task_struct",
        56,
        [
            Field::new("", ids, 0),
            Field::new("comm", comm, 64),
            Field::new("real_parent", long, 192),
            Field::new("cred", long, 256),
            Field::new("cgroups", long, 320),
            Field::new("flags", int, 384),
        ],
    );
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    Arc::new(Btf::parse(btf).expect("well-formed"))
}

fn world() -> World {
    World {
        tasks: vec![
            Task { pid: 7, tgid: 5, ppid: 1, uid: 33, cgroup: 20, comm: "web".into(), ..Task::default() },
            Task { pid: 1, tgid: 1, comm: "init".into(), ..Task::default() },
        ],
        cgroups: vec![Cgroup::child(10, 1, "system"), Cgroup::child(20, 10, "web")],
        ..World::default()
    }
}

fn vm() -> Arc<Vm> {
    let vm = vm_in(world());
    linux(&vm).offer_btf(&types());
    vm
}

fn run(vm: &Arc<Vm>, text: &str) -> Result<u64, String> {
    let program = assemble_with_kfuncs(vm, text);
    try_run(vm, 0, &program).map_err(|fault| fault.to_string())
}

#[test]
fn a_walk_by_pointers_agrees_with_helpers() {
    let vm = vm();
    for (text, expected) in [
        ("r0 = *(u32 *)(r0 + 4)", 7),
        ("r0 = *(u8 *)(r0 + 9)", u64::from(b'e')),
        ("r0 = *(u64 *)(r0 + 24)\nr0 = *(u32 *)(r0 + 4)", 1),
        ("r0 = *(u64 *)(r0 + 32)\nr0 = *(u32 *)(r0 + 4)", 33),
        ("r0 = *(u64 *)(r0 + 40)\nr0 = *(u64 *)(r0 + 0)\nr0 = *(u32 *)(r0 + 0)", 2),
        ("r0 = *(u64 *)(r0 + 40)\nr0 = *(u64 *)(r0 + 0)\nr0 = *(u64 *)(r0 + 8)\nr0 = *(u64 *)(r0 + 0)", 20),
        // The second ancestor's directory: its name.
        (
            "r0 = *(u64 *)(r0 + 40)\nr0 = *(u64 *)(r0 + 0)\nr0 = *(u64 *)(r0 + 32)\nr0 = *(u64 *)(r0 + 8)\n\
             r0 = *(u64 *)(r0 + 8)\nr0 = *(u16 *)(r0 + 0)",
            u64::from(u16::from_le_bytes(*b"sy")),
        ),
    ] {
        assert_eq!(run(&vm, &format!("call 158\n{text}\nexit")), Ok(expected), "{text}");
    }
    assert_eq!(run(&vm, "call 80\nexit"), Ok(20));
    assert_eq!(run(&vm, "r1 = 1\ncall 123\nexit"), Ok(10));
}

#[test]
fn objects_follow_the_world() {
    let vm = vm();
    let flags = "call 158\nr0 = *(u32 *)(r0 + 48)\nexit";
    assert_eq!(run(&vm, flags), Ok(0));
    assert_eq!(linux(&vm).change_task(7, |task| task.flags = 4), Some(()));
    assert_eq!(run(&vm, flags), Ok(4));
    let addr = linux(&vm).object(vm.memory(), ObjectKey::Task(7), View::Kernel).expect("it is there");
    assert_eq!(linux(&vm).object_at(addr), Some((ObjectKey::Task(7), View::Kernel)));
    assert_eq!(linux(&vm).object_at(addr + 8), None);
    linux(&vm).remove_task(7);
    assert_eq!(linux(&vm).object_at(addr), None);
}

#[test]
fn references_are_given_back() {
    let vm = vm();
    let task = "r1 = 1\ncall bpf_task_from_pid\nif r0 == 0 goto out\nr6 = *(u32 *)(r0 + 4)\nr1 = r0";
    let good = format!("{task}\ncall bpf_task_release\nr0 = r6\nout:\nexit");
    assert_eq!(run(&vm, &good), Ok(1));
    let leak = run(&vm, &format!("{task}\nout:\nexit")).expect_err("a leak");
    assert!(leak.contains("reference to Task(1)") && leak.contains("pc 1"), "{leak}");
    let twice = format!("{task}\nr7 = r0\ncall bpf_task_release\nr1 = r7\ncall bpf_task_release\nout:\nexit");
    assert!(run(&vm, &twice).expect_err("one too many").contains("holds no reference"));
    assert_eq!(run(&vm, "r1 = 99\ncall bpf_task_from_pid\nexit"), Ok(0));
    assert_eq!(run(&vm, "r1 = 99\ncall bpf_cgroup_from_id\nexit"), Ok(0));
    assert!(run(&vm, "r1 = 4096\ncall bpf_task_acquire\nexit").expect_err("no task").contains("no task"));
}

#[test]
fn without_types_kernel_views_are_opaque() {
    let vm = vm_in(world());
    assert!(linux(&vm).opaque_structs().is_empty());
    let pid = linux(&vm).task(0).pid;
    let task = linux(&vm).object_at(run(&vm, "call 158\nexit").expect("a task"));
    assert_eq!(task, Some((ObjectKey::Task(pid), View::Kernel)));
    assert_eq!(run(&vm, "call 158\nr0 = *(u64 *)(r0 + 1000)\nexit"), Ok(0), "nothing is known of it");
    assert!(run(&vm, "call 158\n*(u64 *)(r0 + 8) = r0\nexit").is_err(), "it is the kernel's");
    assert_eq!(linux(&vm).opaque_structs(), ["task_struct"]);
    let cookie = linux(&vm).add_socket(Socket { family: 2, sock_type: 1, protocol: 6, ..Socket::default() });
    let linux: &Linux = linux(&vm);
    let sock = linux.object(vm.memory(), ObjectKey::Socket(cookie), View::Sock).expect("a UAPI view");
    let tcp = linux.object(vm.memory(), ObjectKey::Socket(cookie), View::TcpSock).expect("it is TCP");
    assert_ne!(sock, tcp);
    assert!(linux.object(vm.memory(), ObjectKey::Socket(cookie), View::Kernel).is_ok());
    let udp = linux.add_socket(Socket { family: 2, sock_type: 2, protocol: 17, ..Socket::default() });
    assert!(linux.object(vm.memory(), ObjectKey::Socket(udp), View::TcpSock).is_err());
}
