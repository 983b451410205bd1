//! Tables of operations: their programs, and the states that their maps go through.
//!
//! Expected numbers are those of the kernel's selftests dummy_st_ops and bpf_tcp_ca, and what bpf(2) answers.

use mimic::LoadExt;
use mimic::Loaded;
use mimic::abi::Errno;
use mimic::linux::Linux;
use mimic::linux::maps::StructOpsState;
use mimic::linux::progs::Arg;
use mimic::object::Object;
use mimic::vm::Vm;

fn load() -> Loaded {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/struct_ops.bpf.o");
    let object = Object::parse(&std::fs::read(path).expect("it is committed")).expect("it is good");
    Vm::builder(Linux::default()).build().expect("memory").load(&object).expect("it loads")
}

#[test]
fn operations_get_what_their_prototypes_say() {
    let loaded = load();
    let dummy = loaded.struct_ops("dummy").expect("there");
    assert_eq!(dummy.type_name(), "bpf_dummy_ops");
    assert_eq!(dummy.members().collect::<Vec<_>>(), [("test_1", "test_1"), ("test_2", "test_2")]);
    let run = dummy.call("test_1", [Arg::Number(0)]).expect("it runs");
    assert_eq!(run.outcome.r0 as u32, 0xf2f3_f4f5);
    let state = Arg::Bytes { bytes: 0x1234i32.to_le_bytes().to_vec(), writable: true };
    let run = dummy.call("test_1", [state]).expect("it runs");
    assert_eq!(run.outcome.r0 as u32, 0x1234);
    assert!(matches!(&run.context.args[0], Arg::Bytes { bytes, .. } if bytes == &[0x5a, 0, 0, 0]));

    let state = Arg::bytes(7i32.to_le_bytes());
    let args =
        [state, Arg::Number(0xffff_0015), Arg::Number(0x1_0020), Arg::Number(0x1ff), Arg::Number(u64::MAX)];
    dummy.call("test_2", args).expect("it runs");
    let bss = loaded.map(".bss").expect("there").map().lookup_copy(&[0; 4], 0).expect("one value");
    let words: Vec<u64> = bss
        .chunks_exact(8)
        .take(5)
        .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
        .collect();
    assert_eq!(words, [7, 0xffff_ffff_ffff_0015, 0x20, u64::MAX, u64::MAX]);

    let error = dummy.call("test_1", []).expect_err("one argument is missing").to_string();
    assert!(error.contains("test_1 has 1 arguments (), not 0"), "{error}");
    let error = dummy.call("test_3", []).expect_err("there is none").to_string();
    assert!(error.contains("prototype is not known"), "{error}");
}

#[test]
fn a_table_goes_through_its_states() {
    let loaded = load();
    let gentle = loaded.struct_ops("gentle").expect("there");
    assert_eq!(gentle.state(), StructOpsState::Init);
    assert_eq!(gentle.unregister(), Err(Errno::ENOENT));
    assert_eq!(
        gentle.map().update_copy(&[1, 0, 0, 0], &vec![0; gentle.map().spec().value_size as usize], 0),
        Err(Errno::E2BIG)
    );
    assert_eq!(gentle.register(), Ok(()));
    assert_eq!((gentle.state(), gentle.register()), (StructOpsState::InUse, Err(Errno::EBUSY)));
    let value = gentle.map().lookup_copy(&[0; 4], 0).expect("it is there");
    assert_eq!(value[..8], [0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(value.windows(10).any(|text| text == b"bpf_gentle"));

    // Another of the same name waits.
    let linked = loaded.struct_ops("linked").expect("there");
    assert_eq!((linked.register(), linked.state()), (Err(Errno::EEXIST), StructOpsState::Ready));
    assert_eq!(gentle.unregister(), Ok(()));
    assert_eq!((gentle.state(), gentle.unregister()), (StructOpsState::ToBeFree, Err(Errno::EINPROGRESS)));
    assert_eq!(linked.register(), Ok(()));
    assert_eq!(linked.map().delete_key(&[0; 4]), Err(Errno::EOPNOTSUPP));
    assert_eq!(linked.unregister(), Ok(()));
    assert_eq!(linked.unregister(), Err(Errno::EINVAL));
}
