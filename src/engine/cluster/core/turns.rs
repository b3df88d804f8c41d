//! Things that wait, each under a key: keys take turns, so that one with very many holds up only itself.

use std::collections::{BTreeMap, VecDeque};

/// A queue for each key, and whose turn it is.
pub(super) struct Turns<K, V> {
    turns: VecDeque<K>,
    waiting: BTreeMap<K, VecDeque<V>>,
    len: usize,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            waiting: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V> Turns<K, V> {
    /// Adds something behind what waits under the same key.
    pub(super) fn push(&mut self, key: K, value: V) {
        let theirs = self.waiting.entry(key).or_insert_with_key(|key| {
            self.turns.push_back(key.clone());
            VecDeque::new()
        });
        theirs.push_back(value);
        self.len += 1;
    }

    /// The first of the key whose turn it is.
    pub(super) fn pop(&mut self) -> Option<V> {
        let key = self.turns.pop_front()?;
        let theirs = self.waiting.get_mut(&key)?;
        let first = theirs.pop_front();
        self.len -= usize::from(first.is_some());
        if theirs.is_empty() {
            self.waiting.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        first
    }

    /// Everything that waits in front of its queue and matches.
    pub(super) fn take_first(&mut self, which: impl Fn(&V) -> bool) -> Vec<V> {
        let mut taken = Vec::new();
        self.waiting.retain(|_, theirs| {
            while theirs.front().is_some_and(&which) {
                taken.extend(theirs.pop_front());
            }
            !theirs.is_empty()
        });
        if !taken.is_empty() {
            self.len -= taken.len();
            self.turns.retain(|key| self.waiting.contains_key(key));
        }
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many wait under this key.
    pub(super) fn len_of(&self, key: &K) -> usize {
        self.waiting.get(key).map_or(0, VecDeque::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Turns<char, u32> {
        let mut turns = Turns::default();
        for (key, value) in [('a', 1), ('a', 2), ('a', 3), ('b', 4), ('a', 5), ('c', 6)] {
            turns.push(key, value);
        }
        turns
    }

    #[test]
    fn keys_take_turns_whatever_waits_under_them() {
        let mut turns = filled();
        assert_eq!((turns.len(), turns.len_of(&'a')), (6, 4));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, [1, 4, 6, 2, 3, 5]);
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_taken_has_no_turn() {
        let mut turns = filled();
        let mut taken = turns.take_first(|value| [1, 2, 4, 5].contains(value));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 4], "5 stands behind 3");
        assert_eq!((turns.len(), turns.len_of(&'b')), (3, 0));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, [3, 6, 5]);
    }
}
