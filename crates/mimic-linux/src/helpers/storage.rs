//! Local storage of cgroups, sockets, inodes and tasks.

use crate::Linux;
use crate::maps::{Attached, CgroupStorage, LinuxMap, LocalStorage};
use crate::objects::{ObjectKey, cgroup_at, inode_at, socket_at, task_at};
use mimic_abi::{ArgType, Errno, HelperSpec, MapType, RetType, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(81, "get_local_storage")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .returns(RetType::MapValue)
            .since(4, 19),
        get_local_storage,
    ),
    Helper::new(
        HelperSpec::new(107, "sk_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("sk", ArgType::BtfIdSockCommon),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 2),
        sk_storage_get,
    ),
    Helper::new(
        HelperSpec::new(108, "sk_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("sk", ArgType::BtfIdSockCommon)])
            .since(5, 2),
        sk_storage_delete,
    ),
    Helper::new(
        HelperSpec::new(145, "inode_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("inode", ArgType::BtfId("inode")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 10),
        inode_storage_get,
    ),
    Helper::new(
        HelperSpec::new(146, "inode_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("inode", ArgType::BtfId("inode"))])
            .since(5, 10),
        inode_storage_delete,
    ),
    Helper::new(
        HelperSpec::new(156, "task_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("task", ArgType::BtfId("task_struct")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 11),
        task_storage_get,
    ),
    Helper::new(
        HelperSpec::new(157, "task_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("task", ArgType::BtfId("task_struct"))])
            .since(5, 11),
        task_storage_delete,
    ),
    Helper::new(
        HelperSpec::new(210, "cgrp_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("cgroup", ArgType::BtfId("cgroup")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(6, 2),
        cgrp_storage_get,
    ),
    Helper::new(
        HelperSpec::new(211, "cgrp_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("cgroup", ArgType::BtfId("cgroup"))])
            .since(6, 2),
        cgrp_storage_delete,
    ),
];

/// Make what is not there: `BPF_LOCAL_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

/// The value of the cgroup that the program is attached to.
fn get_local_storage(call: &mut Call<'_>, map: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let cgroup = Linux::of(call).attach().cgroup;
    let attach_type = call.program().linked().attach_type.map_or(0, |attach_type| attach_type.id());
    let storage = call.map_as::<LinuxMap<CgroupStorage>>(map)?.ops();
    let addr = storage.value(Attached { cgroup, attach_type }, call.cpu());
    let addr = addr.map_err(|errno| call.unsupported(format!("no room for the cgroup's value ({errno})")))?;
    call.memory_changed();
    Ok(addr)
}

fn sk_storage_get(call: &mut Call<'_>, map: u64, sk: u64, value: u64, flags: u64, _: u64) -> HelperResult {
    match full_socket(call, sk)? {
        Some(owner) => get(call, (MapType::SkStorage, map), owner, value, flags),
        None => Ok(0),
    }
}

fn sk_storage_delete(call: &mut Call<'_>, map: u64, sk: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let owner = full_socket(call, sk)?.ok_or(Errno::EINVAL)?;
    delete(call, (MapType::SkStorage, map), owner)
}

fn inode_storage_get(
    call: &mut Call<'_>,
    map: u64,
    inode: u64,
    value: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    if inode == 0 {
        return Ok(0);
    }
    let owner = ObjectKey::Inode(inode_at(call, inode)?.ino);
    get(call, (MapType::InodeStorage, map), owner, value, flags)
}

fn inode_storage_delete(call: &mut Call<'_>, map: u64, inode: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if inode == 0 {
        return Err(Errno::EINVAL.into());
    }
    let owner = ObjectKey::Inode(inode_at(call, inode)?.ino);
    delete(call, (MapType::InodeStorage, map), owner)
}

fn task_storage_get(
    call: &mut Call<'_>,
    map: u64,
    task: u64,
    value: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    if task == 0 {
        return Ok(0);
    }
    let owner = ObjectKey::Task(task_at(call, task)?.pid);
    get(call, (MapType::TaskStorage, map), owner, value, flags)
}

fn task_storage_delete(call: &mut Call<'_>, map: u64, task: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if task == 0 {
        return Err(Errno::EINVAL.into());
    }
    let owner = ObjectKey::Task(task_at(call, task)?.pid);
    delete(call, (MapType::TaskStorage, map), owner)
}

fn cgrp_storage_get(
    call: &mut Call<'_>,
    map: u64,
    cgroup: u64,
    value: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    if cgroup == 0 {
        return Ok(0);
    }
    let owner = ObjectKey::Cgroup(cgroup_at(call, cgroup)?.id);
    get(call, (MapType::CgrpStorage, map), owner, value, flags)
}

fn cgrp_storage_delete(call: &mut Call<'_>, map: u64, cgroup: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if cgroup == 0 {
        return Err(Errno::EINVAL.into());
    }
    let owner = ObjectKey::Cgroup(cgroup_at(call, cgroup)?.id);
    delete(call, (MapType::CgrpStorage, map), owner)
}

/// The socket, if there is one and it is a whole one: others have no storage.
fn full_socket(call: &Call<'_>, sk: u64) -> Result<Option<ObjectKey>, Trap> {
    if sk == 0 {
        return Ok(None);
    }
    let socket = socket_at(call, sk)?;
    Ok(socket.is_full().then_some(ObjectKey::Socket(socket.cookie)))
}

fn get(
    call: &mut Call<'_>,
    (kind, map): (MapType, u64),
    owner: ObjectKey,
    value: u64,
    flags: u64,
) -> HelperResult {
    if flags & !CREATE != 0 {
        return Ok(0);
    }
    let storage = storage(call, kind, map)?;
    // What a new value begins as is only looked at if there is to be one.
    let addr = match storage.value(owner, None) {
        Ok(None) if flags & CREATE != 0 => {
            let len = call.map(map)?.spec().value_size;
            let value = if value == 0 { None } else { Some(call.read_vec(value, len.into())?) };
            let made = storage.value(owner, Some(value.as_deref()));
            call.memory_changed();
            made
        }
        found => found,
    };
    // Without memory there is none.
    Ok(addr.ok().flatten().unwrap_or(0))
}

fn delete(call: &Call<'_>, (kind, map): (MapType, u64), owner: ObjectKey) -> HelperResult {
    storage(call, kind, map)?.remove_of(owner)?;
    Ok(0)
}

/// The map, which must be for owners of the kind.
fn storage<'a>(call: &Call<'a>, kind: MapType, map: u64) -> Result<&'a LocalStorage, Trap> {
    let storage = call.map_as::<LinuxMap<LocalStorage>>(map)?.ops();
    if storage.owner() != kind {
        let why = format!("the map is of type {}, not {}", storage.owner().word(), kind.word());
        return Err(call.bad_argument(why));
    }
    Ok(storage)
}
