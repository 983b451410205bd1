//! Kfuncs that are not there, and why.

use mimic_abi::{Arg, ArgType, DynptrKind, HelperSpec, Support, arg};
use mimic_vm::Helper;

const ANY: ArgType = ArgType::Anything;
const DYNPTR: ArgType = ArgType::Dynptr(DynptrKind::Any);
const KEYS: &str = "needs the kernel's keyrings, which the emulated world does not have";
const WORK: &str = "needs a task that returns to user space, which the emulated world does not have";

pub(super) const ROWS: &[Helper] = &[
    row("bpf_lookup_user_key", &[arg("serial", ANY), arg("flags", ANY)], 6, 1, KEYS),
    row("bpf_lookup_system_key", &[arg("id", ANY)], 6, 1, KEYS),
    row("bpf_key_put", &[arg("bkey", ANY)], 6, 1, KEYS),
    row(
        "bpf_verify_pkcs7_signature",
        &[arg("data_p", DYNPTR), arg("sig_p", DYNPTR), arg("keyring", ANY)],
        6,
        1,
        KEYS,
    ),
    row(
        "bpf_task_work_schedule_signal_impl",
        &[
            arg("task", ANY),
            arg("tw", ANY),
            arg("map__map", ArgType::ConstMapPtr),
            arg("callback", ArgType::Func),
            arg("aux__prog", ANY),
        ],
        6,
        18,
        WORK,
    ),
    row(
        "bpf_task_work_schedule_resume_impl",
        &[
            arg("task", ANY),
            arg("tw", ANY),
            arg("map__map", ArgType::ConstMapPtr),
            arg("callback", ArgType::Func),
            arg("aux__prog", ANY),
        ],
        6,
        18,
        WORK,
    ),
];

const fn row(name: &'static str, args: &'static [Arg], major: u16, minor: u16, why: &'static str) -> Helper {
    Helper::listed(HelperSpec::new(0, name).args(args).since(major, minor).support(Support::Refused(why)))
}
