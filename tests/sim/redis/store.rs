//! The keys: values of five types, some with an expiry.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use bytes::Bytes;

use super::{reply::ErrorReply, shuffled::Shuffled};

pub(super) type Hash = Shuffled<Bytes>;
pub(super) type Set = Shuffled<()>;
pub(super) type List = VecDeque<Bytes>;

/// A key's value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Bytes),
    Hash(Hash),
    Set(Set),
    Sorted(Sorted),
    List(List),
}

impl Value {
    /// As `TYPE` names it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::Sorted(_) => "zset",
            Self::List(_) => "list",
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Hash(hash) => hash.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Sorted(sorted) => sorted.len() == 0,
            Self::List(list) => list.is_empty(),
        }
    }
}

/// One of the types that a value may have.
pub(super) trait Kind: Sized {
    fn empty(seed: u64) -> Self;
    fn wrap(self) -> Value;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! kind {
    ($kind:ty, $variant:ident, $empty:expr) => {
        impl Kind for $kind {
            fn empty(seed: u64) -> Self {
                let empty: fn(u64) -> Self = $empty;
                empty(seed)
            }

            fn wrap(self) -> Value {
                Value::$variant(self)
            }

            fn of(value: &Value) -> Option<&Self> {
                match value {
                    Value::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$variant(value) => Some(value),
                    _ => None,
                }
            }
        }
    };
}

kind!(Bytes, Text, |_| Bytes::new());
kind!(Hash, Hash, Shuffled::new);
kind!(Set, Set, Shuffled::new);
kind!(Sorted, Sorted, |_| Sorted::default());
kind!(List, List, |_| List::new());

/// A sorted set.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    scores: BTreeMap<Bytes, f64>,
    order: BTreeSet<(Score, Bytes)>,
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(super) fn score(&self, member: &Bytes) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Gives a member a score that is a number. As in a small set of a real server, -0 becomes 0.
    pub(super) fn set(&mut self, member: &Bytes, score: f64) {
        let score = score + 0.0;
        self.remove(member);
        self.scores.insert(member.clone(), score);
        self.order.insert((Score(score), member.clone()));
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, member: &Bytes) -> bool {
        match self.scores.remove(member) {
            Some(score) => self.order.remove(&(Score(score), member.clone())),
            None => false,
        }
    }

    /// The members by score, and by their bytes where scores are equal.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Bytes, f64)> {
        self.order.iter().map(|(score, member)| (member, score.0))
    }
}

/// A score, which is never NaN; 0 and -0 are equal.
#[derive(Clone, Copy, Debug)]
struct Score(f64);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.partial_cmp(&other.0).expect("scores are numbers")
    }
}

/// What accesses to keys have to know.
#[derive(Clone, Copy)]
pub(super) struct Now {
    /// Since the Unix epoch.
    pub(super) ms: i64,
    pub(super) expired: Expired,
}

/// What becomes of a key that has expired when it is met: it is not found in either case.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Expired {
    Removed,
    /// A replica waits for its master to remove it.
    Kept,
}

impl Now {
    pub(super) fn is_past(self, expires_ms: Option<i64>) -> bool {
        expires_ms.is_some_and(|expires_ms| self.ms > expires_ms)
    }
}

/// A key's value and its expiry. A copy shares the value until one of the two changes it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    value: Rc<Value>,
    /// In ms since the Unix epoch. The key is gone when the clock has passed it.
    pub(super) expires_ms: Option<i64>,
}

impl Entry {
    pub(super) fn value(&self) -> &Value {
        &self.value
    }
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyspace {
    pub(super) entries: Shuffled<Entry>,
}

impl Keyspace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Shuffled::new(seed),
        }
    }

    pub(super) fn find(&mut self, key: &Bytes, now: Now) -> Option<&mut Entry> {
        if now.is_past(self.entries.get(key)?.expires_ms) {
            if now.expired == Expired::Removed {
                self.entries.remove(key);
            }
            return None;
        }
        self.entries.get_mut(key)
    }

    /// The value to read, if there is one and it is of this type.
    pub(super) fn read<K: Kind>(
        &mut self,
        key: &Bytes,
        now: Now,
    ) -> Result<Option<&K>, ErrorReply> {
        match self.find(key, now) {
            None => Ok(None),
            Some(entry) => K::of(&entry.value)
                .map(Some)
                .ok_or_else(ErrorReply::wrong_type),
        }
    }

    /// The value to change. What may empty it ends with [`Self::prune`].
    pub(super) fn change<K: Kind>(
        &mut self,
        key: &Bytes,
        now: Now,
    ) -> Result<Option<&mut K>, ErrorReply> {
        let Some(entry) = self.find(key, now) else {
            return Ok(None);
        };
        if K::of(&entry.value).is_none() {
            return Err(ErrorReply::wrong_type());
        }
        Ok(K::of_mut(Rc::make_mut(&mut entry.value)))
    }

    /// The value to change, made if there is none.
    pub(super) fn create<K: Kind>(&mut self, key: &Bytes, now: Now) -> Result<&mut K, ErrorReply> {
        if self.find(key, now).is_none() {
            let empty = K::empty(self.entries.seed());
            self.put(key.clone(), empty.wrap(), None);
        }
        let value = self.change(key, now)?;
        Ok(value.expect("the key is there"))
    }

    /// Sets a key, whatever it was.
    pub(super) fn put(&mut self, key: Bytes, value: Value, expires_ms: Option<i64>) {
        let value = Rc::new(value);
        self.entries.insert(key, Entry { value, expires_ms });
    }

    /// Removes a key whose value has become empty.
    pub(super) fn prune(&mut self, key: &Bytes) {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| entry.value.is_empty())
        {
            self.entries.remove(key);
        }
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&mut self, key: &Bytes, now: Now) -> bool {
        self.find(key, now).is_some() && self.entries.remove(key).is_some()
    }

    /// Removes every key that has expired.
    pub(super) fn expire(&mut self, now: Now) {
        self.entries.retain(|entry| !now.is_past(entry.expires_ms));
    }
}
