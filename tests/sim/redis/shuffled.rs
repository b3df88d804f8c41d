//! A map whose order is derived from a seed, for everything that Redis leaves unordered.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A map from byte strings. It iterates in an order that depends on the seed and on nothing else: not on the history of the map,
/// the machine or the build.
#[derive(Clone, Debug)]
pub(super) struct Shuffled<V> {
    seed: u64,
    entries: BTreeMap<(u64, Bytes), V>,
}

impl<V> Default for Shuffled<V> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<V> Shuffled<V> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn contains(&self, name: &Bytes) -> bool {
        self.entries.contains_key(&self.place(name))
    }

    pub(super) fn get(&self, name: &Bytes) -> Option<&V> {
        self.entries.get(&self.place(name))
    }

    pub(super) fn get_mut(&mut self, name: &Bytes) -> Option<&mut V> {
        let place = self.place(name);
        self.entries.get_mut(&place)
    }

    pub(super) fn insert(&mut self, name: Bytes, value: V) -> Option<V> {
        let place = self.place(&name);
        self.entries.insert(place, value)
    }

    pub(super) fn remove(&mut self, name: &Bytes) -> Option<V> {
        let place = self.place(name);
        self.entries.remove(&place)
    }

    /// Removes the entry that comes first.
    pub(super) fn pop(&mut self) -> Option<(Bytes, V)> {
        let ((_, name), value) = self.entries.pop_first()?;
        Some((name, value))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.entries.retain(|_, value| keep(value));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &V)> {
        self.entries.iter().map(|((_, name), value)| (name, value))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.iter().map(|(name, _)| name)
    }

    /// One step of a scan: about `count` entries from the cursor on, and the cursor that goes on from there; 0 is both start and end.
    /// What is there from the first step to the last is returned exactly once, whatever else comes and goes.
    pub(super) fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<(&Bytes, &V)>) {
        let mut found = Vec::new();
        let mut last = None;
        for ((place, name), value) in self.entries.range((cursor, Bytes::new())..) {
            // Names that share a place cannot be told apart by a cursor.
            if found.len() >= count && last != Some(*place) {
                return (*place, found);
            }
            last = Some(*place);
            found.push((name, value));
        }
        (0, found)
    }

    fn place(&self, name: &Bytes) -> (u64, Bytes) {
        const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
        let mut hash = self.seed ^ (name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for chunk in name.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
            hash ^= hash >> 29;
        }
        hash = hash.wrapping_mul(FACTOR);
        // Zero is the end of a scan.
        ((hash ^ (hash >> 32)).max(1), name.clone())
    }
}
