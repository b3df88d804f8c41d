//! Reading a table key by key, so that all of its problems are found at once.

use std::fmt;

use super::{
    Map, Problem, Problems, Setting, Settings, Value, ValueKind, fields, problem::DEFAULTS,
};

/// Where a value stands in its source: `apps[0].webhooks[1].url`. Costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The source as a whole.
    pub const ROOT: Self = Self {
        parent: None,
        step: Step::Root,
    };

    /// An entry of the table at this path.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Self {
        let step = Step::Key(key);
        Self {
            parent: Some(self),
            step,
        }
    }

    /// An element of the list at this path.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Self {
        let step = Step::Index(index);
        Self {
            parent: Some(self),
            step,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match (self.step, self.parent) {
            (Step::Root, _) => Ok(()),
            (Step::Index(index), _) => write!(f, "[{index}]"),
            (Step::Key(key), Some(parent)) if !matches!(parent.step, Step::Root) => {
                write!(f, ".{key}")
            }
            (Step::Key(key), _) => f.write_str(key),
        }
    }
}

/// A table that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Where it stands.
    pub path: Path<'a>,
    value: &'a Value,
    entries: &'a Map<String, Value>,
}

impl<'a> Table<'a> {
    /// Reads all keys of a table; a key that is not among them is a problem.
    pub fn read_whole<T: Settings>(
        value: &Value,
        path: Path<'_>,
        problems: &mut Problems,
    ) -> Option<T> {
        let ValueKind::Table(entries) = &value.kind else {
            let takes = super::Takes::Table(T::FIELDS);
            problems.refuse(value, path, takes.refusal(&value.kind));
            return None;
        };
        let table = Table {
            path,
            value,
            entries,
        };
        let mut unknown: Vec<_> = entries
            .iter()
            .filter(|(name, _)| fields(T::FIELDS).all(|field| field.name != **name))
            .collect();
        unknown.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in unknown {
            problems.refuse(value, path.key(name), UNKNOWN);
        }
        T::read(&table, problems)
    }

    /// What a table without any key is read as; `None` if a key is required.
    #[must_use]
    pub fn read_nothing<T: Settings>() -> Option<T> {
        let table = Table {
            path: Path::ROOT,
            value: &Value::default(),
            entries: &Map::new(),
        };
        T::read(&table, &mut Problems::default())
    }

    /// Reads one key. `absent` gives the value of a key that is left out.
    pub fn read<T: Setting>(
        &self,
        name: &str,
        problems: &mut Problems,
        absent: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        match self.entry(name) {
            Some(value) => T::read(value, self.path.key(name), problems),
            None => absent().or_else(|| {
                self.refuse_absent(name, problems);
                None
            }),
        }
    }

    /// Whether a key is there and not empty.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|value| match &value.kind {
            ValueKind::String(text) => !text.is_empty(),
            ValueKind::Array(values) => !values.is_empty(),
            _ => true,
        })
    }

    /// Adds a problem of a required key that is absent, unless it is known why.
    pub fn refuse_absent(&self, name: &str, problems: &mut Problems) {
        let key = self.path.key(name).to_string();
        if !problems.iter().any(|problem| problem.key == key) {
            problems.refuse(self.value, self.path.key(name), MISSING);
        }
    }

    /// The value of a key, if it is there. Null is as good as absent.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&'a Value> {
        let value = match self.entries.len() {
            // A few comparisons cost less than a hash.
            ..=FEW => {
                let mut entries = self.entries.iter();
                entries.find(|(key, _)| **key == *name)?.1
            }
            _ => self.entries.get(name)?,
        };
        (value.kind != ValueKind::Nil).then_some(value)
    }

    /// Where the value of a key came from.
    #[must_use]
    pub fn place(&self, name: &str) -> &'a str {
        let value = self.entry(name);
        value.and_then(Value::origin).unwrap_or(DEFAULTS)
    }

    /// Adds a problem of a key in a table within this one: in the table `section`, or in the element `index` of the list `section`.
    pub fn refuse_within(
        &self,
        (section, index): (&str, Option<usize>),
        name: &str,
        problems: &mut Problems,
        reason: impl Into<String>,
    ) {
        let path = self.path.key(section);
        let element = index.map(|index| path.index(index));
        problems.push(Problem {
            place: self.place_within((section, index), name).to_owned(),
            key: element.unwrap_or(path).key(name).to_string(),
            reason: reason.into(),
        });
    }

    /// Where the value of such a key came from; if it is absent, where its table stands.
    #[must_use]
    pub fn place_within(&self, (section, index): (&str, Option<usize>), name: &str) -> &'a str {
        let mut value = self.entry(section);
        if let (Some(index), Some(ValueKind::Array(list))) = (index, value.map(|it| &it.kind)) {
            value = list.get(index);
        }
        let entry = match value.map(|value| &value.kind) {
            Some(ValueKind::Table(entries)) => entries.get(name),
            _ => None,
        };
        let origin = entry.or(value).and_then(Value::origin);
        origin.unwrap_or(DEFAULTS)
    }

    /// Adds a problem of a key that was read.
    pub fn refuse(&self, name: &str, problems: &mut Problems, reason: impl Into<String>) {
        problems.push(Problem {
            place: self.place(name).to_owned(),
            key: self.path.key(name).to_string(),
            reason: reason.into(),
        });
    }
}

/// Where a key of a table within `root` has its value from.
#[must_use]
pub fn place_of<'a>(root: &'a Value, section: &str, name: &str) -> &'a str {
    let entry = |value: &'a Value, name: &str| match &value.kind {
        ValueKind::Table(entries) => entries.get(name),
        _ => None,
    };
    let value = entry(root, section).and_then(|section| entry(section, name));
    value.and_then(Value::origin).unwrap_or(DEFAULTS)
}

/// Entries of a table that are looked through one by one.
const FEW: usize = 8;

/// Said of a required key that is not there.
pub const MISSING: &str = "is missing";
/// Said of a key that no field has.
pub const UNKNOWN: &str = "is not a key";
