//! Security hooks, and what programs there ask of files; copies of user memory; sessions of probes.
//!
//! Expected answers are those of the kernel's selftests (test_d_path, ima, test_get_xattr, test_lsm, lsm_cgroup) and of its documentation.

mod common;

use common::{assemble_with_kfuncs, linux, vm_in};
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding, Linkage, TypeId};
use mimic_abi::{ByteOrder, Errno, RetRange};
use mimic_linux::progs::{
    Arch, Arg, FuncModel, KprobeContext, LsmHook, TracePoint, Traced, TracingContext, Trampoline,
};
use mimic_linux::{Cgroup, Effect, File, Inode, ObjectKey, Task, UserArea, World};
use mimic_vm::{Context, Process, Vm};
use std::sync::Arc;

fn types() -> Arc<Btf> {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntEncoding::SIGNED);
    let long = btf.int("long", 8, IntEncoding::default());
    let char = btf.int("char", 1, IntEncoding::default());
    let flag = btf.int("_Bool", 1, IntEncoding::BOOL);
    let path = btf.structure("path", 16, [Field::new("mnt", long, 0), Field::new("dentry", long, 64)]);
    let fields =
        [Field::new("f_flags", int, 0), Field::new("f_path", path, 64), Field::new("f_inode", long, 192)];
    let file = btf.structure("file", 32, fields);
    btf.structure("inode", 16, [Field::new("i_ino", long, 0)]);
    btf.structure("dentry", 16, [Field::new("d_inode", long, 0)]);
    btf.structure("task_struct", 16, [Field::new("pid", int, 0)]);
    btf.structure("linux_binprm", 16, [Field::new("file", long, 0), Field::new("filename", long, 64)]);
    btf.structure("kernfs_node", 16, [Field::new("id", long, 0)]);
    btf.structure("bpf_crypto_ctx", 8, [Field::new("usage", int, 0)]);
    btf.structure("cgroup", 24, [Field::new("kn", long, 64)]);
    let (file, text) = (btf.ptr(file), btf.ptr(char));
    for (name, ret, params) in [
        ("bpf_lsm_file_open", int, vec![("file", file)]),
        ("bpf_lsm_file_free_security", TypeId::VOID, vec![("file", file)]),
        ("bpf_lsm_inode_xattr_skipcap", int, vec![("name", text)]),
        ("bpf_lsm_vm_enough_memory", int, vec![("pages", long)]),
        ("traced", int, vec![("a", int), ("b", flag), ("c", long)]),
    ] {
        let proto = btf.func_proto(ret, params);
        btf.func(name, proto, Linkage::Static);
    }
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    Arc::new(Btf::parse(btf).expect("well-formed"))
}

fn world() -> World {
    let area =
        UserArea { start: 0x1000, len: 4096, flags: 3, bytes: b"hello\0world".to_vec(), pgoff: 0, file: 0 };
    let xattrs = [("user.kfuncs".to_owned(), b"hello".to_vec()), ("security.selinux".to_owned(), vec![1])];
    World {
        tasks: vec![Task { pid: 7, tgid: 7, exe: 2, memory: vec![area], ..Task::default() }],
        cgroups: vec![Cgroup { xattrs: xattrs.clone().into(), ..Cgroup::child(10, 1, "a") }],
        inodes: vec![
            Inode { ino: 20, ima: Some((4, vec![0xab; 32])), xattrs: xattrs.into(), ..Inode::default() },
            Inode { ino: 21, ..Inode::default() },
        ],
        files: vec![
            File { id: 1, path: "/etc/passwd".into(), ino: 20, ..File::default() },
            File { id: 2, path: "/usr/bin/x".into(), ino: 21, ..File::default() },
        ],
        ..World::default()
    }
}

fn vm() -> Arc<Vm> {
    let vm = vm_in(world());
    linux(&vm).offer_btf(&types());
    vm
}

fn process(vm: &Arc<Vm>, text: &str) -> Process {
    vm.process(&assemble_with_kfuncs(vm, text), 0).expect("memory")
}

/// r0, r6 and, where it points, bytes.
fn run(vm: &Arc<Vm>, text: &str, context: &mut impl Context, len: usize) -> (i64, Vec<u8>) {
    let mut process = process(vm, text);
    let r0 = process.run(context).unwrap_or_else(|error| panic!("{text}: {error}")).r0;
    let mut bytes = vec![0; len];
    process.view().read(process.at().regs[6], &mut bytes).expect("r6 is an address");
    (r0 as i64, bytes)
}

fn file(id: u32) -> TracingContext {
    TracingContext::entry([Arg::Object(ObjectKey::File(id))])
}

#[test]
fn paths_of_files_are_written_with_their_end() {
    let vm = vm();
    let d_path = |len: usize| {
        let text = format!(
            "r1 = *(u64 *)(r1 + 0)\nr1 += 8\nr2 = r10\nr2 += -16\nr6 = r2\nr3 = {len}\ncall 147\nexit"
        );
        run(&vm, &text, &mut file(1), 12)
    };
    assert_eq!(d_path(16), (12, b"/etc/passwd\0".to_vec()));
    assert_eq!(d_path(12).0, 12);
    assert_eq!(d_path(11).0, -36);
    assert_eq!(d_path(0).0, 0);
    let kfunc =
        "r1 = *(u64 *)(r1 + 0)\nr1 += 8\nr2 = r10\nr2 += -16\nr6 = r2\nr3 = 0\ncall bpf_path_d_path\nexit";
    assert_eq!(run(&vm, kfunc, &mut file(1), 1).0 as i32, -22);
    let exe = "call 158\nr1 = r0\ncall bpf_get_task_exe_file\nr7 = r0\nr1 = r0\nr1 += 8\nr2 = r10\nr2 += -16\nr6 = r2\nr3 = 16
        call bpf_path_d_path\nr8 = r0\nr1 = r7\ncall bpf_put_file\nr0 = r8\nexit";
    assert_eq!(run(&vm, exe, &mut file(1), 11), (11, b"/usr/bin/x\0".to_vec()));
}

#[test]
fn measurements_are_the_worlds() {
    let vm = vm();
    let text = |helper: u32, load: &str| {
        format!("r1 = *(u64 *)(r1 + 0)\n{load}\nr2 = r10\nr2 += -8\nr6 = r2\nr3 = 8\ncall {helper}\nexit")
    };
    assert_eq!(run(&vm, &text(161, "r1 = *(u64 *)(r1 + 24)"), &mut file(1), 8), (4, vec![0xab; 8]));
    assert_eq!(run(&vm, &text(193, ""), &mut file(1), 8), (4, vec![0xab; 8]));
    let missing = i64::from(-Errno::EOPNOTSUPP.0);
    assert_eq!(run(&vm, &text(193, ""), &mut file(2), 8).0, missing);
}

#[test]
fn attributes_are_read_set_and_removed() {
    let vm = vm();
    let attribute = |kfunc: &str, load: &str, name: &[u8], value: &[u8], flags: u64, key: ObjectKey| {
        // A name at r10-48, a value at r10-24, a dynptr at r10-16.
        let mut text = String::from("r7 = *(u64 *)(r1 + 0)\n");
        text += load;
        for (base, bytes) in [(48, name), (24, value)] {
            for (at, byte) in bytes.iter().enumerate() {
                text += &format!("*(u8 *)(r10 - {}) = {byte}\n", base - at);
            }
        }
        text += &format!(
            "r1 = r10\nr1 += -24\nr6 = r1\nr2 = {}\nr3 = 0\nr4 = r10\nr4 += -16\ncall 197\nr1 = r7\nr2 = r10\nr2 += -48
             r3 = r10\nr3 += -16\nr4 = {flags}\ncall {kfunc}\nexit",
            value.len()
        );
        let (r0, bytes) = run(&vm, &text, &mut TracingContext::entry([Arg::Object(key)]), value.len());
        (r0 as i32, bytes)
    };
    let (get, set) = ("bpf_get_file_xattr", "bpf_set_dentry_xattr");
    let dentry = "r7 = *(u64 *)(r7 + 16)\n";
    let key = ObjectKey::File(1);
    assert_eq!(attribute(get, "", b"user.kfuncs\0", &[0; 6], 0, key), (5, b"hello\0".to_vec()));
    assert_eq!(attribute(get, "", b"user.kfuncs\0", &[0; 4], 0, key).0, -34);
    assert_eq!(attribute(get, "", b"user.other\0", &[0; 4], 0, key).0, -61);
    assert_eq!(attribute(get, "", b"security.selinux\0", &[0; 4], 0, key).0, -1);
    let mine = b"security.bpf.x\0";
    assert_eq!(attribute(set, dentry, b"user.kfuncs\0", b"abc", 0, key).0, -1);
    assert_eq!(attribute(set, dentry, mine, b"abc", 2, key).0, -61);
    assert_eq!(attribute(set, dentry, mine, b"abc", 1, key).0, 0);
    assert_eq!(attribute(set, dentry, mine, b"abc", 1, key).0, -17);
    assert_eq!(attribute("bpf_get_dentry_xattr", dentry, mine, &[0; 3], 0, key), (3, b"abc".to_vec()));
    assert_eq!(attribute("bpf_remove_dentry_xattr", dentry, mine, b"abc", 0, key).0, 0);
    assert_eq!(attribute("bpf_remove_dentry_xattr", dentry, mine, b"abc", 0, key).0, -61);
    let cgroup = ObjectKey::Cgroup(10);
    let read = "bpf_cgroup_read_xattr";
    assert_eq!(attribute(read, "", b"user.kfuncs\0", &[0; 6], 0, cgroup).0, 5);
    assert_eq!(attribute(read, "", mine, &[0; 6], 0, cgroup).0, -1);
}

#[test]
fn a_program_may_be_run_securely() {
    let vm = vm();
    let text = |flags: u32| format!("r1 = *(u64 *)(r1 + 0)\nr6 = r1\nr2 = {flags}\ncall 159\nexit");
    let mut context = TracingContext::entry([Arg::Object(ObjectKey::Bprm(7))]);
    assert_eq!(run(&vm, &text(1), &mut context, 8).0, 0);
    assert_eq!(run(&vm, &text(2), &mut context, 8).0, -22);
    assert_eq!(linux(&vm).take_effects(), [Effect::SecureExec { pid: 7, secure: true }]);
    let name = "r6 = *(u64 *)(r1 + 0)\nr6 = *(u64 *)(r6 + 8)\nr0 = 0\nexit";
    assert_eq!(run(&vm, name, &mut context, 11).1, b"/usr/bin/x\0");
}

#[test]
fn hooks_are_known_by_their_types() {
    let btf = types();
    let hook = |name: &str| LsmHook::named(&btf, name);
    assert_eq!(hook("file_open").expect("there").range(), Some(RetRange::new(-4095, 0)));
    assert_eq!(hook("bpf_lsm_inode_xattr_skipcap").expect("there").range(), Some(RetRange::new(0, 1)));
    assert_eq!(hook("file_free_security").expect("there").range(), None);
    assert!(hook("vm_enough_memory").expect_err("disabled").to_string().contains("cannot be attached"));
    assert!(hook("nothing").expect_err("not there").to_string().contains("no function"));
    let error = hook("file_open").expect("there").ask(&mut [], []).expect_err("no argument").to_string();
    assert!(error.contains("1 arguments (file), not 0"), "{error}");
}

/// The first that says no is heard; the next sees what the one before it returned.
#[test]
fn a_hook_asks_its_programs_in_order() {
    let vm = vm();
    let hook = LsmHook::named(&types(), "file_open").expect("there");
    let ask = |texts: &[&str]| {
        let mut processes: Vec<Process> = texts.iter().map(|text| process(&vm, text)).collect();
        hook.ask(&mut processes, [Arg::Object(ObjectKey::File(1))]).expect("they run")
    };
    assert_eq!(ask(&[]), 0);
    assert_eq!(ask(&["r0 = 0\nexit", "r0 = -1\nexit", "r0 = -13\nexit"]), -1);
    assert_eq!(ask(&["r0 = *(u64 *)(r1 + 8)\nexit"]), 0);
}

/// lsm_cgroup: all are asked, 0 says no, and an errno may be set.
#[test]
fn a_control_groups_programs_are_all_asked() {
    let vm = vm();
    let hook = LsmHook::named(&types(), "file_open").expect("there");
    let ask = |texts: &[&str]| {
        let mut processes: Vec<Process> = texts.iter().map(|text| process(&vm, text)).collect();
        hook.ask_cgroup(&mut processes, [Arg::Object(ObjectKey::File(1))]).expect("they run")
    };
    let set = "r1 = -14\ncall 187\nr0 = 1\nexit";
    assert_eq!(ask(&["r0 = 1\nexit"]), 0);
    assert_eq!(ask(&["r0 = 0\nexit", "r0 = 1\nexit"]), -1);
    assert_eq!(ask(&[set, "r0 = 0\nexit"]), -14);
    assert_eq!(ask(&["r0 = 0\nexit", set]), -14);
}

#[test]
fn programs_run_around_a_function() {
    let vm = vm();
    let model = FuncModel::of(&types(), "traced").expect("there");
    let args =
        model.args([(-1i64 as u64).into(), 0x1ff.into(), 5.into()].map(|arg: Arg| arg)).expect("three");
    assert_eq!(args, [Arg::Number(u64::MAX), Arg::Number(0xff), Arg::Number(5)]);
    assert!(model.args([Arg::Number(1)]).is_err());
    let context = model.context(TracePoint::Exit, args.clone(), u64::from(u32::MAX)).expect("three");
    assert_eq!(context.returned(), Some(u64::MAX), "an int is signed");
    let mut trampoline = Trampoline {
        entry: vec![process(&vm, "r0 = 0\nexit")],
        modify_return: vec![process(&vm, "r0 = *(u64 *)(r1 + 16)\nr0 -= 5\nexit")],
        exit: vec![process(&vm, "r6 = *(u64 *)(r1 + 24)\nr0 = 0\nexit")],
    };
    assert_eq!(trampoline.call(&args, |_| 42).expect("they run"), Traced { ret: 42, called: true });
    assert_eq!(trampoline.exit[0].at().regs[6], 42);
    let args = [0.into(), 0.into(), Arg::Number(7)];
    assert_eq!(trampoline.call(&args, |_| 42).expect("they run"), Traced { ret: 2, called: false });
    assert_eq!(trampoline.exit[0].at().regs[6], 2);
}

#[test]
fn texts_of_users_are_copied() {
    let vm = vm();
    let copy = |from: u32, len: u32, flags: u32| {
        let text = format!(
            "r3 = -1\n*(u64 *)(r10 - 8) = r3\nr1 = r10\nr1 += -8\nr6 = r1\nr2 = {len}\nr3 = {from}\nr4 = {flags}\ncall bpf_copy_from_user_str\nexit"
        );
        let (r0, bytes) = run(&vm, &text, &mut file(1), 8);
        (r0 as i32, bytes)
    };
    assert_eq!(copy(0x1000, 8, 0), (6, b"hello\0\xff\xff".to_vec()));
    assert_eq!(copy(0x1000, 8, 1), (6, b"hello\0\0\0".to_vec()));
    assert_eq!(copy(0x1000, 3, 0), (3, b"he\0\xff\xff\xff\xff\xff".to_vec()));
    assert_eq!(copy(0x1000, 8, 2).0, -22);
    assert_eq!(copy(0x9000, 8, 0), (-14, vec![0xff; 8]));
    assert_eq!(copy(0x9000, 8, 1), (-14, vec![0; 8]));
    let dynptr =
        "*(u64 *)(r10 - 24) = 0\nr1 = r10\nr1 += -24\nr6 = r1\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -16\ncall 197
        r1 = r10\nr1 += -16\nr2 = 1\nr3 = 6\nr4 = 0x1000\ncall bpf_copy_from_user_str_dynptr\nexit";
    assert_eq!(run(&vm, dynptr, &mut file(1), 8), (6, b"\0hello\0\0".to_vec()));
}

#[test]
fn signals_are_sent_to_tasks() {
    let vm = vm();
    let send = |kind: u32| {
        let text = format!(
            "r6 = r10\nr6 += -8\n*(u64 *)(r6 + 0) = 0\ncall 158\nr1 = r0\nr2 = 10\nr3 = {kind}\nr4 = 0\ncall bpf_send_signal_task\nexit"
        );
        run(&vm, &text, &mut file(1), 8).0 as i32
    };
    assert_eq!((send(0), send(1), send(2)), (0, 0, -22));
    let signal = |thread| Effect::Signal { pid: 7, signal: 10, thread };
    assert_eq!(linux(&vm).take_effects(), [signal(true), signal(false)]);
}

/// kprobe.session: the run at the end finds what the one at the beginning left, and each session begins anew.
#[test]
fn a_session_shares_a_cookie() {
    let vm = vm();
    let text = "call bpf_session_is_return\nr7 = r0\ncall bpf_session_cookie\nr1 = *(u64 *)(r0 + 0)\nif r7 != 0 goto out
        r1 += 5\n*(u64 *)(r0 + 0) = r1\nout:\nr0 = r1\nexit";
    let mut process = process(&vm, text);
    for _ in 0..2 {
        let mut run = |is_return| {
            let mut context = KprobeContext::call(Arch::X86_64, &[]).in_session(is_return);
            process.run(&mut context).expect("it runs").r0
        };
        assert_eq!((run(false), run(true)), (5, 5));
    }
    let fault = process.run(&mut KprobeContext::default()).expect_err("no session").to_string();
    assert!(fault.contains("needs a session"), "{fault}");
}

/// crypto_sanity: a context with a key, and text there and back.
#[test]
fn ciphers_are_made_and_used() {
    let vm = vm();
    // struct bpf_crypto_params, 408 bytes, at r10-432; its error at r10-440.
    let text = |algorithm: &str, key_len: u32| {
        let mut text = String::from("r7 = 0\nr2 = r10\nr2 += -432\n");
        for off in (0..408).step_by(8) {
            text += &format!("*(u64 *)(r2 + {off}) = r7\n");
        }
        for (base, bytes) in [(0, "skcipher"), (16, algorithm), (144, "0123456789abcdef")] {
            for (at, byte) in bytes.bytes().enumerate() {
                text += &format!("*(u8 *)(r2 + {}) = {byte}\n", base + at);
            }
        }
        text +=
            &format!("*(u32 *)(r2 + 400) = {key_len}\nr1 = r2\nr2 = 408\nr3 = r10\nr3 += -440\nr6 = r3\n");
        text += "*(u64 *)(r3 + 0) = 0\ncall bpf_crypto_ctx_create\n";
        text
    };
    let failed = |algorithm: &str, key_len: u32| {
        let text = text(algorithm, key_len) + "exit";
        let (r0, err) = run(&vm, &text, &mut file(1), 4);
        assert_eq!(r0, 0);
        i32::from_le_bytes(err.try_into().expect("4 bytes"))
    };
    assert_eq!(failed("ctr(aes)", 16), -Errno::EOPNOTSUPP.0);
    assert_eq!(failed("ecb(aes)", 15), -Errno::EINVAL.0);
    assert_eq!(failed("ecb(aes)", 0), -Errno::EINVAL.0);
    // 16 bytes at r10-16, their dynptr at r10-32.
    let both = text("ecb(aes)", 16)
        + "r7 = r0\nr6 = r10\nr6 += -16\nr1 = 7\n*(u64 *)(r6 + 0) = r1\n*(u64 *)(r6 + 8) = r1\nr1 = r6\nr2 = 16\nr3 = 0
        r4 = r10\nr4 += -32\ncall 197\nr1 = r7\nr2 = r10\nr2 += -32\nr3 = r2\nr4 = 0\ncall bpf_crypto_encrypt
        r8 = *(u64 *)(r6 + 0)\nr1 = r7\nr2 = r10\nr2 += -32\nr3 = r2\nr4 = 0\ncall bpf_crypto_decrypt
        r1 = r7\ncall bpf_crypto_ctx_release\nr0 = 0\nif r8 == 7 goto out\nr0 = 1\nout:\nexit";
    assert_eq!(run(&vm, &both, &mut file(1), 16), (1, [7u64.to_le_bytes(); 2].concat()));
}
