//! `MapHandle`: a map from the user's side: typed access, iteration.

use crate::error::{Error, ResultExt};
use crate::loaded::Loaded;
use mimic_abi::{ByteOrder, Errno};
use mimic_object::{MapSpec, Object};
use mimic_vm::MapRef;
use std::sync::Arc;

/// A value with a fixed layout: integers and arrays of bytes. In maps numbers are in guest byte order.
pub trait Plain: Sized {
    /// Bytes that it takes.
    const LEN: usize;

    /// Writes it.
    fn put(&self, order: ByteOrder, to: &mut Vec<u8>);

    /// Reads it from [`Plain::LEN`] bytes.
    fn take(order: ByteOrder, from: &[u8]) -> Self;
}

macro_rules! plain {
    ($($int:ty)*) => {
        $(impl Plain for $int {
            const LEN: usize = size_of::<$int>();

            fn put(&self, order: ByteOrder, to: &mut Vec<u8>) {
                match order {
                    ByteOrder::Little => to.extend_from_slice(&self.to_le_bytes()),
                    ByteOrder::Big => to.extend_from_slice(&self.to_be_bytes()),
                }
            }

            fn take(order: ByteOrder, from: &[u8]) -> Self {
                let bytes = from.try_into().expect("the caller checked the length");
                match order {
                    ByteOrder::Little => Self::from_le_bytes(bytes),
                    ByteOrder::Big => Self::from_be_bytes(bytes),
                }
            }
        })*
    };
}

plain! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

impl<const N: usize> Plain for [u8; N] {
    const LEN: usize = N;

    fn put(&self, _order: ByteOrder, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn take(_order: ByteOrder, from: &[u8]) -> Self {
        from.try_into().expect("the caller checked the length")
    }
}

/// A key and its value, as bytes.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A map of a loaded object.
#[derive(Clone, Copy)]
pub struct MapHandle<'a> {
    loaded: &'a Loaded,
    spec: &'a MapSpec,
    map: &'a Arc<MapRef>,
}

impl<'a> MapHandle<'a> {
    pub(crate) fn new(loaded: &'a Loaded, spec: &'a MapSpec, map: &'a Arc<MapRef>) -> MapHandle<'a> {
        MapHandle { loaded, spec, map }
    }

    /// Its name in the object.
    pub fn name(&self) -> &'a str {
        &self.spec.name
    }

    /// What the object says of it.
    pub fn spec(&self) -> &'a MapSpec {
        self.spec
    }

    /// The object that it belongs to.
    pub fn object(&self) -> &'a Object {
        self.loaded.object()
    }

    /// What it was loaded with.
    pub fn loaded(&self) -> &'a Loaded {
        self.loaded
    }

    /// The map itself, in the kernel's terms.
    pub fn map(&self) -> &'a Arc<MapRef> {
        self.map
    }

    /// The value of a key. For a per-CPU map use [`MapHandle::get_percpu`].
    pub fn get<K: Plain, V: Plain>(&self, key: &K) -> Result<V, Error> {
        let bytes = self.bytes_of(key)?;
        self.value(&bytes)
    }

    /// The values of a key on all CPUs, of a per-CPU map.
    pub fn get_percpu<K: Plain, V: Plain>(&self, key: &K) -> Result<Vec<V>, Error> {
        let bytes = self.bytes_of(key)?;
        self.check::<V>("value", self.spec.value_size)?;
        let values = self.lookup(&bytes)?;
        Ok(values
            .chunks_exact(V::LEN.next_multiple_of(8))
            .map(|value| V::take(self.order(), &value[..V::LEN]))
            .collect())
    }

    /// Sets the value of a key, new or not.
    pub fn set<K: Plain, V: Plain>(&self, key: &K, value: &V) -> Result<(), Error> {
        let bytes = self.bytes_of(key)?;
        self.check::<V>("value", self.spec.value_size)?;
        let mut to = Vec::with_capacity(V::LEN);
        value.put(self.order(), &mut to);
        self.map.update_copy(&bytes, &to, 0).context(|| format!("setting a value of map {}", self.name()))
    }

    /// Removes a key. False if it was not there.
    pub fn remove<K: Plain>(&self, key: &K) -> Result<bool, Error> {
        match self.map.delete(0, &self.bytes_of(key)?) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::from(errno).context(format!("removing a key of map {}", self.name()))),
        }
    }

    /// All keys and values as bytes, in the map's own order. Values of per-CPU maps are those of all CPUs, each rounded up to 8 bytes.
    pub fn entries(&self) -> Result<Vec<Pair>, Error> {
        let mut entries = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        loop {
            let next = match self.map.next_key(key.as_deref()) {
                Ok(next) => next,
                Err(Errno::ENOENT) => return Ok(entries),
                Err(errno) => return Err(Error::from(errno).context(format!("walking map {}", self.name()))),
            };
            // An element can go between the two calls; then it is not one of the map's any more.
            if let Ok(value) = self.map.lookup_copy(&next, 0) {
                entries.push((next.clone(), value));
            }
            key = Some(next);
        }
    }

    fn value<V: Plain>(&self, key: &[u8]) -> Result<V, Error> {
        self.check::<V>("value", self.spec.value_size)?;
        let value = self.lookup(key)?;
        if value.len() != V::LEN {
            let what = format!(
                "map {} is per-CPU: it has {} bytes for a key (get_percpu)",
                self.name(),
                value.len()
            );
            return Err(Error::usage(what));
        }
        Ok(V::take(self.order(), &value))
    }

    fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        self.map.lookup_copy(key, 0).context(|| format!("looking up a key of map {}", self.name()))
    }

    fn bytes_of<K: Plain>(&self, key: &K) -> Result<Vec<u8>, Error> {
        self.check::<K>("key", self.spec.key_size)?;
        let mut bytes = Vec::with_capacity(K::LEN);
        key.put(self.order(), &mut bytes);
        Ok(bytes)
    }

    fn check<T: Plain>(&self, what: &str, len: u32) -> Result<(), Error> {
        if T::LEN == len as usize {
            return Ok(());
        }
        Err(Error::usage(format!("a {what} of map {} has {len} bytes, not {}", self.name(), T::LEN)))
    }

    pub(crate) fn order(&self) -> ByteOrder {
        self.loaded.object().byte_order
    }
}
