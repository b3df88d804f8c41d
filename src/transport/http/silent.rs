//! Which connections of a worker have sent no request yet, and which of those has been silent for longest.

use std::collections::BTreeMap;

/// Those connections, or whatever stands for them, in the order in which they were heard of last.
#[derive(Debug)]
pub(super) struct Silent<T> {
    waiting: BTreeMap<u64, T>,
    next: u64,
}

// Derived, it would ask the same of `T`.
impl<T> Default for Silent<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Silent<T> {
    /// Adds one and returns its number here.
    pub(super) fn push(&mut self, one: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, one);
        number
    }

    /// One was heard of. Returns its new number; `None` if it is not here.
    pub(super) fn rise(&mut self, number: u64) -> Option<u64> {
        self.remove(number).map(|one| self.push(one))
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        self.waiting.remove(&number)
    }

    /// The one that has been silent for longest.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.values().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_one_that_was_not_heard_of_for_longest() {
        let mut silent = Silent::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| silent.push(name));
        assert_eq!(silent.first(), Some(&"a"));
        let a = silent.rise(a).expect("it is there");
        assert_eq!(silent.first(), Some(&"b"));
        assert_eq!(silent.remove(b), Some("b"));
        assert_eq!(silent.rise(b), None);
        assert_eq!(silent.first(), Some(&"c"));
        assert_eq!((silent.remove(c), silent.remove(a)), (Some("c"), Some("a")));
        assert_eq!(silent.first(), None);
    }
}
