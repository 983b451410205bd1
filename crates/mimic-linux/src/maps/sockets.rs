//! SOCKMAP, SOCKHASH and REUSEPORT_SOCKARRAY: sockets by index or key. Documentation/bpf/map_sockmap.rst.
//!
//! To the kernel a user names a socket by a descriptor. Here users name it by its cookie, which is what a lookup answers in both; who has
//! descriptors looks the cookie up. A socket that goes is in no map any more.

use super::front::{LinuxMap, Ops};
use super::hasher::jenkins;
use super::local_storage::Stored;
use super::{Maker, next_index, word, word_bytes};
use crate::objects::ObjectKey;
use crate::world::socket::{AF_UNIX, SOCK_STREAM, TCP_ESTABLISHED, TCP_LISTEN};
use crate::world::{Socket, Tables};
use mimic_abi::uapi::update_flags::{BPF_EXIST, BPF_NOEXIST};
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_vm::{Map, MapError, MapRef};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_SOCKMAP`, `_SOCKHASH` and `_REUSEPORT_SOCKARRAY`.
pub struct SocketMap {
    kind: MapType,
    order: ByteOrder,
    entries: u32,
    value_len: u32,
    tables: Arc<Tables>,
    held: Arc<Held>,
}

/// What a map has, by key.
struct Held {
    kind: MapType,
    tables: Arc<Tables>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cookies: BTreeMap<Vec<u8>, u64>,
    /// Keys of a SOCKHASH by bucket, the last added first: the order of walks.
    buckets: BTreeMap<u32, Vec<Vec<u8>>>,
}

/// What keeps a socket from being put into other maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is so many times in SOCKMAPs and SOCKHASHes, and may be in more of them.
    Maps(u32),
    /// It is in a REUSEPORT_SOCKARRAY, and nowhere else.
    Array,
}

/// The longest key of a SOCKHASH: `MAX_BPF_STACK`.
const KEY_LEN_MAX: u32 = 512;
/// The most elements that a map gets.
const HELD_MAX: usize = 1 << 20;

impl SocketMap {
    pub(super) fn create(maker: &Maker<'_>, kind: MapType) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        if kind == MapType::Sockhash && spec.key_size > KEY_LEN_MAX {
            return Err(MapError::new(Errno::E2BIG, format!("a key has {KEY_LEN_MAX} bytes at most")));
        }
        let tables = maker.tables.clone();
        let held = Arc::new(Held { kind, tables: tables.clone(), state: Mutex::default() });
        tables.add_store(&(held.clone() as Arc<dyn Stored>));
        let (entries, value_len) = (spec.max_entries, spec.value_size);
        let map = SocketMap { kind, order: maker.order(), entries, value_len, tables, held };
        Ok(LinuxMap::make(spec, spec.value_size as usize, map))
    }

    /// The cookie of the socket at a key.
    pub fn socket(&self, key: &[u8]) -> Option<u64> {
        self.held.lock().cookies.get(key).copied()
    }

    /// The map's type.
    pub fn kind(&self) -> MapType {
        self.kind
    }

    /// Puts a socket in, by its cookie; checks and answers are those of `BPF_MAP_UPDATE_ELEM` with its descriptor.
    pub fn put(&self, key: &[u8], cookie: u64, flags: u64) -> Result<(), Errno> {
        let socket = self.tables.sockets.get(cookie);
        if self.kind == MapType::ReuseportSockarray {
            self.check_place(key, flags)?;
            let socket = socket.ok_or(Errno::EBADF)?;
            self.check_exists(key, flags)?;
            check_shares_port(&socket)?;
        } else {
            let socket = socket.ok_or(Errno::EBADF)?;
            check_redirectable(&socket)?;
            self.check_place(key, flags)?;
        }
        self.held.put(key, cookie, flags, self.entries)
    }

    /// Puts a connection in that just begins, in whatever state it is.
    pub(crate) fn put_connection(&self, key: &[u8], cookie: u64, flags: u64) -> Result<(), Errno> {
        if !self.tables.sockets.get(cookie).is_some_and(|socket| socket.is_tcp()) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.check_place(key, flags)?;
        self.held.put(key, cookie, flags, self.entries)
    }

    /// The key of an index.
    pub(crate) fn key_of(&self, index: u32) -> [u8; 4] {
        word_bytes(index, self.order)
    }

    fn check_place(&self, key: &[u8], flags: u64) -> Result<(), Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        if self.index(key)?.is_some_and(|index| index >= self.entries) { Err(Errno::E2BIG) } else { Ok(()) }
    }

    fn check_exists(&self, key: &[u8], flags: u64) -> Result<(), Errno> {
        match (self.socket(key), flags) {
            (Some(_), BPF_NOEXIST) => Err(Errno::EEXIST),
            (None, BPF_EXIST) => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    /// The index that a key is; none for SOCKHASH.
    fn index(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        match self.kind {
            MapType::Sockhash => Ok(None),
            _ => word(key, self.order).map(Some),
        }
    }

    fn next_in_hash(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let state = self.held.lock();
        let mut from = 0;
        if let Some(key) = key.filter(|key| state.cookies.contains_key(*key)) {
            let bucket = bucket(key, self.entries);
            let chain = state.buckets.get(&bucket).map_or(&[][..], Vec::as_slice);
            if let Some(next) = chain.iter().skip_while(|other| *other != key).nth(1) {
                return Ok(next.clone());
            }
            from = bucket + 1;
        }
        state.buckets.range(from..).find_map(|(_, chain)| chain.first().cloned()).ok_or(Errno::ENOENT)
    }
}

/// Whether sock maps take a socket at all, and in its state.
fn check_redirectable(socket: &Socket) -> Result<(), Errno> {
    let allowed = match (socket.is_tcp(), socket.is_udp(), socket.family) {
        (true, ..) => matches!(socket.state, TCP_ESTABLISHED | TCP_LISTEN),
        (_, true, _) => socket.is_hashed(),
        (_, _, AF_UNIX) => socket.sock_type != SOCK_STREAM || socket.state == TCP_ESTABLISHED,
        _ => false,
    };
    if allowed { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

fn check_shares_port(socket: &Socket) -> Result<(), Errno> {
    if !socket.is_tcp() && !socket.is_udp() {
        return Err(Errno::ENOTSUPP);
    }
    let fits = socket.is_rcu_freed() && socket.is_hashed() && socket.reuse.port;
    if fits { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Whether messages can be redirected to a socket.
pub(crate) fn takes_redirected(socket: &Socket) -> bool {
    if socket.is_tcp() { socket.state != TCP_LISTEN } else { socket.state == TCP_ESTABLISHED }
}

/// The map's sockets, if it is of such a type.
pub(crate) fn socket_map(map: &MapRef) -> Option<&SocketMap> {
    (&*map.map as &dyn Any).downcast_ref::<LinuxMap<SocketMap>>().map(LinuxMap::ops)
}

fn bucket(key: &[u8], entries: u32) -> u32 {
    jenkins(key, 0) & (entries.checked_next_power_of_two().unwrap_or(1 << 31) - 1)
}

impl Held {
    fn put(&self, key: &[u8], cookie: u64, flags: u64, entries: u32) -> Result<(), Errno> {
        let mut state = self.lock();
        self.claim(cookie)?;
        let known = state.cookies.get(key).copied();
        let limit = HELD_MAX.min(entries as usize);
        let refused = match known {
            Some(_) if flags == BPF_NOEXIST => Some(Errno::EEXIST),
            None if flags == BPF_EXIST => Some(Errno::ENOENT),
            None if state.cookies.len() >= limit => Some(Errno::E2BIG),
            _ => None,
        };
        if let Some(errno) = refused {
            self.let_go(cookie);
            return Err(errno);
        }
        if let Some(known) = known {
            self.let_go(known);
        }
        state.cookies.insert(key.to_vec(), cookie);
        if self.kind == MapType::Sockhash {
            let chain = state.buckets.entry(bucket(key, entries)).or_default();
            chain.retain(|other| other != key);
            chain.insert(0, key.to_vec());
        }
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Option<u64> {
        let mut state = self.lock();
        let cookie = state.cookies.remove(key)?;
        state.buckets.retain(|_, chain| {
            chain.retain(|other| other != key);
            !chain.is_empty()
        });
        self.let_go(cookie);
        Some(cookie)
    }

    fn claim(&self, cookie: u64) -> Result<(), Errno> {
        let mut claims = self.tables.lock_claims();
        let claim = match (claims.get(&cookie), self.kind) {
            (None, MapType::ReuseportSockarray) => Claim::Array,
            (Some(_), MapType::ReuseportSockarray) | (Some(Claim::Array), _) => return Err(Errno::EBUSY),
            (None, _) => Claim::Maps(1),
            (Some(Claim::Maps(count)), _) => Claim::Maps(count.saturating_add(1)),
        };
        claims.insert(cookie, claim);
        Ok(())
    }

    fn let_go(&self, cookie: u64) {
        let mut claims = self.tables.lock_claims();
        match claims.get_mut(&cookie) {
            Some(Claim::Maps(count)) if *count > 1 => *count -= 1,
            _ => drop(claims.remove(&cookie)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored for Held {
    fn drop_owner(&self, owner: ObjectKey) -> bool {
        let ObjectKey::Socket(gone) = owner else { return false };
        let state = self.lock();
        let keys: Vec<Vec<u8>> =
            state.cookies.iter().filter(|(_, cookie)| **cookie == gone).map(|(key, _)| key.clone()).collect();
        drop(state);
        keys.iter().filter(|key| self.remove(key).is_some()).count() > 0
    }
}

impl Ops for SocketMap {
    /// Programs get sockets, not values: `helpers/sockmap.rs` looks them up.
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Ok(None)
    }

    fn gives_references(&self) -> bool {
        true
    }

    /// What programs put in is a socket, not bytes.
    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let outside = self.index(key)?.is_some_and(|index| index >= self.entries);
        if !outside && self.held.remove(key).is_some() {
            return Ok(());
        }
        Err(match self.kind {
            MapType::Sockmap => Errno::EINVAL,
            MapType::ReuseportSockarray if outside => Errno::E2BIG,
            _ => Errno::ENOENT,
        })
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        match self.kind {
            MapType::Sockhash => self.next_in_hash(key),
            _ => next_index(key, self.entries, self.order),
        }
    }

    /// A socket is told by its cookie, which takes 8 bytes.
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        if self.value_len != 8 {
            return Err(Errno::ENOSPC);
        }
        let cookie = self.socket(key).ok_or(Errno::ENOENT)?;
        let bytes = match self.order {
            ByteOrder::Little => cookie.to_le_bytes(),
            ByteOrder::Big => cookie.to_be_bytes(),
        };
        value.copy_from_slice(&bytes);
        Ok(())
    }

    /// A value is a cookie, of 4 or 8 bytes.
    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let number = |bytes: [u8; 8]| match self.order {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        };
        let cookie = match value.first_chunk() {
            Some(bytes) => number(*bytes),
            None => word(value, self.order)?.into(),
        };
        self.put(key, cookie, flags)
    }

    fn release(&self) {
        let state = core::mem::take(&mut *self.held.lock());
        state.cookies.values().for_each(|cookie| self.held.let_go(*cookie));
    }
}
