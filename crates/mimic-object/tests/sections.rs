//! Section names: what they say of the programs in them.

use mimic_abi::{AttachType, ProgType};
use mimic_object::SecDef;

#[test]
fn names_say_types_flags_and_targets() {
    // Name, program type, attach type, target; flags: a not autoloaded, s sleepable, f frags, b by BTF, l loose.
    let cases = [
        ("xdp", "xdp", "xdp", "", ""),
        ("?xdp.frags/devmap", "xdp", "xdp_devmap", "", "af"),
        ("xdp/cpumap", "xdp", "xdp_cpumap", "", ""),
        ("tp/syscalls/sys_enter_open", "tracepoint", "", "syscalls/sys_enter_open", ""),
        ("raw_tp.w/bpf_test", "raw_tracepoint_writable", "", "bpf_test", ""),
        ("raw_tracepoint", "raw_tracepoint", "", "", ""),
        ("tp_btf/task_newtask", "tracing", "trace_raw_tp", "task_newtask", "b"),
        ("fmod_ret.s/bpf_modify_return_test", "tracing", "modify_return", "bpf_modify_return_test", "sb"),
        ("iter.s/task", "tracing", "trace_iter", "task", "sb"),
        ("lsm_cgroup/socket_bind", "lsm", "lsm_cgroup", "socket_bind", "b"),
        ("freplace/target", "ext", "", "target", "b"),
        ("uprobe.multi.s//proc/self/exe:f*", "kprobe", "trace_uprobe_multi", "/proc/self/exe:f*", "s"),
        ("kprobe.session/f", "kprobe", "trace_kprobe_session", "f", ""),
        ("usdt/./a:b:c", "kprobe", "", "./a:b:c", ""),
        ("tcx/ingress", "sched_cls", "tcx_ingress", "", ""),
        ("netkit/peer", "sched_cls", "netkit_peer", "", ""),
        ("sk_skb/stream_verdict", "sk_skb", "sk_skb_stream_verdict", "", ""),
        ("sk_reuseport/migrate", "sk_reuseport", "sk_reuseport_select_or_migrate", "", ""),
        ("cgroup/connect_unix", "cgroup_sock_addr", "cgroup_unix_connect", "", ""),
        ("cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress", "", ""),
        ("struct_ops.s/init", "struct_ops", "", "init", "s"),
        ("syscall", "syscall", "", "", "s"),
        ("netfilter", "netfilter", "netfilter", "", ""),
        ("classifier", "sched_cls", "", "", ""),
        ("xdp_prog", "xdp", "xdp", "", "l"),
        ("classifier/from-container", "sched_cls", "", "from-container", "l"),
        ("sk_lookup/echo", "sk_lookup", "sk_lookup", "echo", "l"),
        ("socket1", "socket_filter", "", "", "l"),
        ("2/0", "", "", "", ""),
        ("?anything", "", "", "", "a"),
        ("kprobes", "", "", "", ""),
        ("", "", "", "", ""),
    ];
    for (name, prog, attach, target, flags) in cases {
        let sec = SecDef::parse(name);
        let set = [
            (!sec.autoload, 'a'),
            (sec.sleepable, 's'),
            (sec.frags, 'f'),
            (sec.attach_btf, 'b'),
            (sec.loose, 'l'),
        ];
        let set: String = set.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
        let words = (
            sec.prog_type.map_or("", ProgType::word),
            sec.attach_type.map_or("", AttachType::word),
            sec.target.as_deref().unwrap_or(""),
        );
        assert_eq!((words, set.as_str()), ((prog, attach, target), flags), "{name}");
    }
}

#[test]
fn every_known_name_is_exact_and_has_flags_of_its_own() {
    for (name, takes_target, prog_type, attach_type) in SecDef::known() {
        let sec = SecDef::parse(name);
        assert_eq!(
            (sec.prog_type, sec.attach_type, sec.loose),
            (Some(prog_type), attach_type, false),
            "{name}"
        );
        let sleepable = name.split('/').next().is_some_and(|word| word.ends_with(".s")) || name == "syscall";
        assert_eq!(sec.prog_flags() & 1 << 4 != 0, sleepable, "{name}");
        assert_eq!(sec.prog_flags() & 1 << 5 != 0, name.contains(".frags"), "{name}");
        let target = SecDef::parse(&format!("{name}/x")).target;
        assert!(!takes_target || target.as_deref() == Some("x"), "{name}");
    }
}
