//! `Live`: a table of the world's things that change while programs run: tasks, sockets, control groups.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Things by id. A thing is looked at through an `Arc`, which stays as it was; a change makes a new one.
#[derive(Debug)]
pub struct Live<K, T> {
    rows: RwLock<BTreeMap<K, Arc<T>>>,
}

impl<K: Ord + Copy, T: Clone> Live<K, T> {
    /// A table of these things.
    pub(crate) fn new(rows: impl IntoIterator<Item = (K, T)>) -> Live<K, T> {
        let rows = rows.into_iter().map(|(key, row)| (key, Arc::new(row)));
        Live { rows: RwLock::new(rows.collect()) }
    }

    /// The thing of this id.
    pub fn get(&self, key: K) -> Option<Arc<T>> {
        self.read().get(&key).cloned()
    }

    /// Whether there is one.
    pub fn has(&self, key: K) -> bool {
        self.read().contains_key(&key)
    }

    /// All of them, by rising id.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read().values().cloned().collect()
    }

    /// The first, by rising id, that is wanted.
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.read().values().find(|row| wanted(row)).cloned()
    }

    /// The first that is wanted, with its id.
    pub(crate) fn entry(&self, wanted: impl Fn(&T) -> bool) -> Option<(K, Arc<T>)> {
        self.read().iter().find(|(_, row)| wanted(row)).map(|(key, row)| (*key, row.clone()))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// The one with the highest score; of equal ones the last, by rising id.
    pub(crate) fn best<S: Ord>(&self, score: impl Fn(&T) -> Option<S>) -> Option<Arc<T>> {
        let rows = self.read();
        let scored = rows.values().filter_map(|row| Some((score(row)?, row)));
        scored.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, row)| row.clone())
    }

    /// Adds or replaces one.
    pub(crate) fn set(&self, key: K, row: Arc<T>) {
        self.write().insert(key, row);
    }

    /// Takes one out.
    pub(crate) fn remove(&self, key: K) -> Option<Arc<T>> {
        self.write().remove(&key)
    }

    /// Changes one; none if it is not there.
    pub(crate) fn change<R>(&self, key: K, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.write().get_mut(&key).map(|row| change(Arc::make_mut(row)))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<K, Arc<T>>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<K, Arc<T>>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}
