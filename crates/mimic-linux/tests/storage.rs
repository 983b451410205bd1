//! Local storage as its users see it: values that go with tasks, sockets and control groups. Flags and errnos are the kernel's.

mod common;

use common::{linux, vm_in};
use mimic_abi::{Errno, MapType};
use mimic_linux::maps::{Attached, CgroupArray, CgroupStorage, LinuxMap, LocalStorage};
use mimic_linux::{Cgroup, ObjectKey, Socket, Task, World};
use mimic_object::MapSpec;
use mimic_vm::{MapRef, Vm};
use std::any::Any;
use std::sync::Arc;

const NO_PREALLOC: u32 = 1;
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;
const F_LOCK: u64 = 4;

fn vm() -> Arc<Vm> {
    vm_in(World {
        tasks: vec![Task { pid: 7, ..Task::default() }],
        cgroups: vec![Cgroup::child(20, 1, "a")],
        ..World::default()
    })
}

fn spec(kind: MapType) -> MapSpec {
    let map_flags = NO_PREALLOC;
    let spec = MapSpec { map_type: kind.id(), key_size: 4, value_size: 8, map_flags, ..MapSpec::default() };
    MapSpec { key_type: 1, value_type: 2, ..spec }
}

fn ops<T: 'static + mimic_linux::maps::Ops>(map: &MapRef) -> &T {
    (&*map.map as &dyn Any).downcast_ref::<LinuxMap<T>>().expect("the map's type").ops()
}

#[test]
fn users_name_owners_by_what_descriptors_stand_for() {
    let vm = vm();
    let map = vm.create_map(&spec(MapType::TaskStorage)).expect("a good map");
    let (pid, nobody) = (7u32.to_le_bytes(), 9u32.to_le_bytes());
    let (one, two) = (1u64.to_le_bytes(), 2u64.to_le_bytes());
    assert_eq!(map.lookup_copy(&pid, 0), Err(Errno::ENOENT));
    assert_eq!(map.lookup_copy(&nobody, 0), Err(Errno::EBADF));
    assert_eq!(map.update_copy(&nobody, &one, 0), Err(Errno::EBADF));
    assert_eq!(map.update_copy(&pid, &one, EXIST), Err(Errno::ENOENT));
    assert_eq!(map.update_copy(&pid, &one, EXIST | NOEXIST), Err(Errno::EINVAL));
    assert_eq!(map.update_copy(&pid, &one, F_LOCK), Err(Errno::EINVAL));
    assert_eq!(map.update_copy(&pid, &one, NOEXIST), Ok(()));
    assert_eq!(map.update_copy(&pid, &two, NOEXIST), Err(Errno::EEXIST));
    assert_eq!(map.lookup_copy(&pid, 0), Ok(one.to_vec()));
    assert_eq!(map.update_copy(&pid, &two, EXIST), Ok(()));
    assert_eq!(map.lookup_copy(&pid, 0), Ok(two.to_vec()));
    assert_eq!(map.next_key(None), Err(Errno::ENOTSUPP));
    assert_eq!(map.delete_key(&pid), Ok(()));
    assert_eq!(map.delete_key(&pid), Err(Errno::ENOENT));
    assert_eq!(map.delete_key(&nobody), Err(Errno::EBADF));
}

#[test]
fn values_go_with_their_owners() {
    let vm = vm();
    let map = vm.create_map(&spec(MapType::SkStorage)).expect("a good map");
    let storage: &LocalStorage = ops(&map);
    let cookie = linux(&vm).add_socket(Socket::default());
    let owner = ObjectKey::Socket(cookie);
    assert_eq!(storage.value(owner, None), Ok(None));
    let addr = storage.value(owner, Some(Some(&5u64.to_le_bytes()))).expect("room").expect("made");
    assert_eq!(storage.value(owner, Some(None)), Ok(Some(addr)));
    assert_eq!(map.lookup_copy(&(cookie as u32).to_le_bytes(), 0), Ok(5u64.to_le_bytes().to_vec()));
    linux(&vm).remove_socket(cookie);
    assert_eq!(storage.value(owner, None), Ok(None));
    // Its memory is the next one's, as zeros.
    let next = ObjectKey::Socket(cookie + 1);
    assert_eq!(storage.value(next, Some(None)), Ok(Some(addr)));
    let mut value = [1; 8];
    assert_eq!((storage.copy(next, &mut value), value), (Ok(()), [0; 8]));
}

#[test]
fn maps_are_made_as_the_kernel_makes_them() {
    let vm = vm();
    let errno = |spec: &MapSpec| vm.create_map(spec).map(|_| ()).map_err(|error| error.errno);
    for kind in [MapType::SkStorage, MapType::TaskStorage, MapType::InodeStorage, MapType::CgrpStorage] {
        let good = spec(kind);
        let with = |change: &dyn Fn(&mut MapSpec)| {
            let mut spec = good.clone();
            change(&mut spec);
            errno(&spec)
        };
        assert_eq!(errno(&good), Ok(()), "{kind:?}");
        assert_eq!(with(&|spec| spec.map_flags = 0), Err(Errno::EINVAL));
        assert_eq!(with(&|spec| spec.map_flags |= 4), Err(Errno::EINVAL));
        assert_eq!(with(&|spec| spec.map_flags |= 0x200), Ok(()));
        assert_eq!(with(&|spec| spec.max_entries = 1), Err(Errno::EINVAL));
        assert_eq!(with(&|spec| spec.key_size = 8), Err(Errno::EINVAL));
        assert_eq!(with(&|spec| spec.key_type = 0), Err(Errno::EINVAL));
        assert_eq!(with(&|spec| spec.value_size = 65407), Ok(()));
        assert_eq!(with(&|spec| spec.value_size = 65408), Err(Errno::E2BIG));
    }
}

#[test]
fn a_map_has_a_limit() {
    let vm = vm();
    let map = vm.create_map(&MapSpec { value_size: 65400, ..spec(MapType::SkStorage) }).expect("a good map");
    let storage: &LocalStorage = ops(&map);
    let made =
        (0..).take_while(|cookie| storage.value(ObjectKey::Socket(*cookie), Some(None)).is_ok()).count();
    assert_eq!(made, (64 << 20) / 65400);
}

#[test]
fn cgroups_have_values_where_programs_are_attached() {
    let vm = vm();
    let spec = MapSpec { key_size: 16, map_flags: 0, ..spec(MapType::CgroupStorage) };
    let map = vm.create_map(&spec).expect("a good map");
    let storage: &CgroupStorage = ops(&map);
    let at = |cgroup, attach_type| Attached { cgroup, attach_type };
    storage.value(at(0, 1), 0).expect("room");
    assert_eq!(map.next_key(None), Err(Errno::ENOENT));
    let (a, b) = (storage.value(at(20, 0), 0).expect("room"), storage.value(at(20, 1), 0).expect("room"));
    assert_ne!(a, b);
    let first = map.next_key(None).expect("a key");
    assert_eq!(first, [20u64.to_le_bytes(), [0; 8]].concat());
    let second = map.next_key(Some(&first)).expect("a key");
    assert_eq!(map.next_key(Some(&second)), Err(Errno::ENOENT));
    assert_eq!(map.update_copy(&first, &[3; 8], EXIST), Ok(()));
    assert_eq!(map.update_copy(&first, &[3; 8], NOEXIST), Err(Errno::EINVAL));
    assert_eq!(map.update_copy(&[0; 16], &[3; 8], 0), Err(Errno::ENOENT));
    assert_eq!(map.lookup_copy(&first, 0), Ok(vec![3; 8]));
    assert_eq!(map.lookup_copy(&second, 0), Ok(vec![0; 8]));
    assert_eq!(map.delete_key(&first), Err(Errno::EINVAL));
}

#[test]
fn cgroup_arrays_hold_groups_of_the_world() {
    let vm = vm();
    let spec = MapSpec {
        map_type: MapType::CgroupArray.id(),
        key_size: 4,
        value_size: 4,
        max_entries: 2,
        ..MapSpec::default()
    };
    let map = vm.create_map(&spec).expect("a good map");
    let set = |index: u32, id: u32, flags| map.update_copy(&index.to_le_bytes(), &id.to_le_bytes(), flags);
    assert_eq!(set(0, 20, 0), Ok(()));
    assert_eq!(set(0, 21, 0), Err(Errno::EBADF));
    assert_eq!(set(2, 20, 0), Err(Errno::E2BIG));
    assert_eq!(set(0, 20, EXIST), Err(Errno::EINVAL));
    assert_eq!(map.lookup_copy(&[0; 4], 0), Err(Errno::ENOTSUPP));
    let array: &CgroupArray = ops(&map);
    let found = [0, 1, 2].map(|index| array.cgroup(index));
    assert_eq!(found, [Ok(20), Err(Errno::EAGAIN), Err(Errno::E2BIG)]);
    assert_eq!(map.delete_key(&[0; 4]), Ok(()));
    assert_eq!(map.delete_key(&[0; 4]), Err(Errno::ENOENT));
}
