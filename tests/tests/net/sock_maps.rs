//! Sock maps: what users may put in, what programs may, and which sockets a lookup's program may select.

use crate::scene::{Input, Question, ask_kernel, ask_mimic, check};
use crate::sockets::{SOCKETS, input, make_sockets, world};
use mimic_abi::{Errno, MapType, ProgType};
use mimic_object::MapSpec;
use mimic_tests::kernel::{Map, MapAttr, Socket};
use mimic_vm::{MapRef, Vm};
use std::os::fd::AsRawFd;
use std::sync::Arc;

const KINDS: [MapType; 3] = [MapType::Sockmap, MapType::Sockhash, MapType::ReuseportSockarray];
/// A map of each kind has room for all but one of the sockets.
const ENTRIES: u32 = 20;

fn spec(kind: MapType, value_size: u32) -> MapSpec {
    MapSpec { map_type: kind.id(), key_size: 4, value_size, max_entries: ENTRIES, ..MapSpec::default() }
}

fn kernel_map(spec: &MapSpec) -> Map {
    let attr = MapAttr {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        ..MapAttr::default()
    };
    Map::create(&attr).expect("a good map")
}

/// What a user does with a map, by the number of a socket.
trait Side {
    fn update(&self, key: u32, socket: usize, flags: u64) -> Result<(), Errno>;
    /// Whether there is a socket.
    fn lookup(&self, key: u32) -> Result<bool, Errno>;
    fn delete(&self, key: u32) -> Result<(), Errno>;
    fn next(&self, key: Option<u32>) -> Result<Vec<u8>, Errno>;
}

struct Theirs<'a>(Map, &'a [Socket]);

impl Side for Theirs<'_> {
    fn update(&self, key: u32, socket: usize, flags: u64) -> Result<(), Errno> {
        let fd = self.1.get(socket).map_or(999, |socket| socket.as_raw_fd()) as u64;
        self.0.update(&key.to_ne_bytes(), &fd.to_ne_bytes(), flags)
    }

    fn lookup(&self, key: u32) -> Result<bool, Errno> {
        self.0.lookup(&key.to_ne_bytes()).map(|cookie| cookie != [0; 8])
    }

    fn delete(&self, key: u32) -> Result<(), Errno> {
        self.0.delete(&key.to_ne_bytes())
    }

    fn next(&self, key: Option<u32>) -> Result<Vec<u8>, Errno> {
        self.0.next_key(key.map(u32::to_ne_bytes).as_ref().map(|key| &key[..]))
    }
}

struct Ours(Arc<MapRef>);

impl Side for Ours {
    fn update(&self, key: u32, socket: usize, flags: u64) -> Result<(), Errno> {
        let cookie = if socket < SOCKETS.len() { socket as u64 + 1 } else { 999 };
        self.0.update_copy(&key.to_ne_bytes(), &cookie.to_ne_bytes(), flags)
    }

    fn lookup(&self, key: u32) -> Result<bool, Errno> {
        self.0.lookup_copy(&key.to_ne_bytes(), 0).map(|cookie| cookie != [0; 8])
    }

    fn delete(&self, key: u32) -> Result<(), Errno> {
        self.0.delete_key(&key.to_ne_bytes())
    }

    fn next(&self, key: Option<u32>) -> Result<Vec<u8>, Errno> {
        self.0.next_key(key.map(u32::to_ne_bytes).as_ref().map(|key| &key[..]))
    }
}

fn story(kind: MapType, map: &dyn Side) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |what: String, answer: String| lines.push(format!("{} {what}: {answer}", kind.word()));
    for at in 0..=SOCKETS.len() {
        let key = at as u32;
        for flags in [2, 0, 1, 2, 3] {
            say(format!("update {at} flags {flags}"), format!("{:?}", map.update(key, at, flags)));
        }
        say(format!("lookup {at}"), format!("{:?}", map.lookup(key)));
    }
    for (key, socket) in [(0, 2), (0, 0), (5, 10), (3, 3), (19, 19), (ENTRIES, 1), (77, 2)] {
        say(format!("update {key} to {socket}"), format!("{:?}", map.update(key, socket, 0)));
    }
    let mut key = None;
    for _ in 0..=ENTRIES {
        let next = map.next(key);
        say(format!("next of {key:?}"), format!("{next:?}"));
        let Ok(next) = next else { break };
        key = next.first_chunk().map(|next| u32::from_ne_bytes(*next));
    }
    for key in [0, 1, 1, 6, ENTRIES - 1, ENTRIES, 99] {
        say(format!("delete {key}"), format!("{:?}", map.delete(key)));
        say(format!("lookup {key}"), format!("{:?}", map.lookup(key)));
    }
    lines
}

#[test]
fn users_put_sockets_in_maps() {
    let theirs = || {
        let sockets = make_sockets();
        KINDS.iter().flat_map(|kind| story(*kind, &Theirs(kernel_map(&spec(*kind, 8)), &sockets))).collect()
    };
    let ours = |vm: &Arc<Vm>| {
        let story = |kind: &MapType| {
            let map = vm.create_map(&spec(*kind, 8)).expect("a good map");
            let lines = story(*kind, &Ours(map.clone()));
            // The sockets are free for the next map.
            drop(vm.remove_map(map.id));
            lines
        };
        KINDS.iter().flat_map(story).collect()
    };
    check("sock_maps.txt", &world(), theirs, ours);
}

/// Programs put what they find into a map, look it up and take it out. `op` 1: into a SOCKMAP, 2: into a SOCKHASH.
fn program_side(map: u32) -> Question {
    let text = format!(
        "r6 = r1; r2 = 14; r3 = r10; r3 += -56; r4 = 56; call 26
         *(u64 *)(r10 - 64) = 0
         r1 = r6; r2 = r10; r2 += -56; r3 = 12; r4 = -1; r5 = 0; call 84; if r0 == 0 goto none; r7 = r0
         r1 = {map:#x}ffff ll; r2 = r10; r2 += -8; r3 = r7; r4 = 0; r4 = *(u32 *)(r10 - 16); call 2
         *(u32 *)(r10 - 56) = r0
         r1 = r7; call 86
         r1 = {map:#x}ffff ll; r2 = r10; r2 += -8; call 1; if r0 == 0 goto empty
         r7 = r0; r1 = *(u32 *)(r7 + 16); *(u32 *)(r10 - 52) = r1
         r1 = r7; call 86
         empty: r1 = {map:#x}ffff ll; r2 = r10; r2 += -8; call 3; *(u32 *)(r10 - 48) = r0
         r1 = r6; r2 = 14; r3 = r10; r3 += -56; r4 = 56; r5 = 0; call 9
         r0 = 1; exit
         none: r0 = 0; exit"
    );
    let mut inputs = Vec::new();
    for (src, dst) in [
        ("10.0.0.9:5000", "10.0.0.2:1000"),
        ("127.0.0.1:2005", "127.0.0.1:1005"),
        ("10.0.0.9:5000", "10.0.0.1:1008"),
        ("10.0.0.9:5000", "10.0.0.1:1011"),
    ] {
        for (key, flags) in [(0u64, 0i64), (3, 1), (3, 2), (3, 4), (19, 0), (20, 0), (400, 0)] {
            // The flags are where a lookup's namespace is, the key where its flags are.
            inputs.push(input(src, dst, 0, flags, key));
        }
    }
    let name = if map == 0 { "update of a sockmap" } else { "update of a sockhash" };
    Question { name, prog_type: ProgType::SchedCls, text, inputs }
}

#[test]
fn programs_put_sockets_in_maps() {
    let kinds = [MapType::Sockmap, MapType::Sockhash];
    let theirs = || {
        let _sockets = make_sockets();
        let maps = kinds.map(|kind| kernel_map(&spec(kind, 8)));
        (0..2).flat_map(|at| ask_kernel(&program_side(at), &maps)).collect()
    };
    let ours = |vm: &Arc<Vm>| {
        let maps = kinds.map(|kind| vm.create_map(&spec(kind, 8)).expect("a good map"));
        (0..2).flat_map(|at| ask_mimic(vm, &program_side(at), &maps)).collect()
    };
    check("sock_map_programs.txt", &world(), theirs, ours);
}

/// A socket lookup whose program selects sockets of a map: an array says which and how, and holds what was answered.
fn selects() -> Question {
    let text = "
        r6 = r1; *(u32 *)(r10 - 4) = 0
        r1 = 0xffff ll; r2 = r10; r2 += -4; call 1; if r0 == 0 goto out; r7 = r0
        r1 = 0x1ffff ll; r2 = r7; r2 += 8; call 1; if r0 == 0 goto out; r8 = r0
        r1 = r6; r2 = r8; r3 = *(u64 *)(r7 + 0); call 124; *(u64 *)(r7 + 16) = r0
        r1 = r6; r2 = r8; r3 = 0; call 124; *(u64 *)(r7 + 24) = r0
        r1 = r6; r2 = r8; r3 = 3; call 124; *(u64 *)(r7 + 32) = r0
        r1 = *(u32 *)(r7 + 12); if r1 == 0 goto keep
        r1 = r6; r2 = 0; r3 = 1; call 124; *(u64 *)(r7 + 40) = r0
        keep: r1 = r8; call 86
        r1 = *(u64 *)(r6 + 0); if r1 == 0 goto out; r1 = *(u32 *)(r1 + 16); *(u32 *)(r7 + 48) = r1
        out: r0 = 1; exit";
    let mut inputs = Vec::new();
    for (family, protocol) in [(2u32, 6u32), (2, 17), (10, 6), (10, 17), (2, 1)] {
        for key in 0..SOCKETS.len() as u32 {
            for (flags, mode) in [(0u64, 0u32), (1, 0), (2, 1), (4, 0)] {
                let mut payload = [0; 64];
                payload[..8].copy_from_slice(&flags.to_ne_bytes());
                payload[8..12].copy_from_slice(&key.to_ne_bytes());
                payload[12..16].copy_from_slice(&mode.to_ne_bytes());
                let mut ctx = vec![0; 72];
                ctx[8..12].copy_from_slice(&family.to_ne_bytes());
                ctx[12..16].copy_from_slice(&protocol.to_ne_bytes());
                let name =
                    format!("family {family} protocol {protocol} socket {key} flags {flags} mode {mode}");
                inputs.push((name, Input { payload: payload.into(), ctx }));
            }
        }
    }
    Question { name: "sk_lookup", prog_type: ProgType::SkLookup, text: text.into(), inputs }
}

#[test]
fn lookups_select_sockets_of_maps() {
    let array = MapSpec {
        map_type: MapType::Array.id(),
        key_size: 4,
        value_size: 64,
        max_entries: 1,
        ..MapSpec::default()
    };
    let theirs = || {
        let sockets = make_sockets();
        let maps = [kernel_map(&array), kernel_map(&spec(MapType::Sockmap, 8))];
        for (at, socket) in sockets.iter().enumerate().take(ENTRIES as usize) {
            let fd = socket.as_raw_fd() as u64;
            let _ = maps[1].update(&(at as u32).to_ne_bytes(), &fd.to_ne_bytes(), 0);
        }
        ask_kernel(&selects(), &maps)
    };
    let ours = |vm: &Arc<Vm>| {
        let maps = [vm.create_map(&array), vm.create_map(&spec(MapType::Sockmap, 8))];
        let maps = maps.map(|map| map.expect("a good map"));
        for at in 0..ENTRIES {
            let cookie = u64::from(at) + 1;
            let _ = maps[1].update_copy(&at.to_ne_bytes(), &cookie.to_ne_bytes(), 0);
        }
        ask_mimic(vm, &selects(), &maps)
    };
    check("sk_lookup.txt", &world(), theirs, ours);
}
