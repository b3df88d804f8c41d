//! The types that settings are made of.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{Json, Path, Problems, Secrets, Setting, Takes, Value, ValueKind};

/// A setting whose default can be written as a literal.
pub trait Literal: Setting {
    /// The literal's type.
    type Plain;

    /// The value of a literal, which must be a valid one.
    fn of(plain: Self::Plain) -> Self;
}

/// A setting that is written as text of a certain form.
pub trait Text: Sized {
    /// [`Takes::Text`], [`Takes::Secret`] or [`Takes::Word`].
    const TAKES: Takes = Takes::Text;

    /// Reads the text. The error is the rest of a sentence that begins with the key; it never holds a secret.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text. What [`Secrets`] hides is empty.
    fn text(&self, secrets: Secrets) -> Cow<'_, str>;
}

impl<T: Text> Setting for T {
    const TAKES: Takes = <T as Text>::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let ValueKind::String(text) = &value.kind else {
            problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
            return None;
        };
        match (T::parse(text), Self::TAKES) {
            (Ok(read), _) => return Some(read),
            (Err(_), Takes::Word(_)) => {
                problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
            }
            (Err(reason), _) => problems.refuse(value, path, reason),
        }
        None
    }

    fn write(&self, secrets: Secrets) -> Json {
        match self.text(secrets) {
            text if text.is_empty() && Self::TAKES.is_secret() => Json::Null,
            text => text.into(),
        }
    }
}

impl<T: Text> Literal for T {
    type Plain = &'static str;

    fn of(plain: &'static str) -> Self {
        Self::parse(plain).expect("a test reads every default")
    }
}

impl Text for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        self.into()
    }
}

impl Setting for bool {
    const TAKES: Takes = Takes::Switch;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let ValueKind::Boolean(read) = value.kind else {
            problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
            return None;
        };
        Some(read)
    }

    fn write(&self, _: Secrets) -> Json {
        (*self).into()
    }
}

impl Literal for bool {
    type Plain = Self;

    fn of(plain: Self) -> Self {
        plain
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whole<const MIN: u32, const MAX: u32>(u32);

/// A number of things, at least one.
pub type Count = Whole<1, { u32::MAX }>;

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    /// The number, for counting in memory.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// The number itself.
    #[must_use]
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Debug for Whole<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32> Setting for Whole<MIN, MAX> {
    const TAKES: Takes = Takes::Number { min: MIN, max: MAX };

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        if let ValueKind::I64(number) = value.kind
            && let Ok(number) = u32::try_from(number)
            && (MIN..=MAX).contains(&number)
        {
            return Some(Self(number));
        }
        problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
        None
    }

    fn write(&self, _: Secrets) -> Json {
        self.0.into()
    }
}

impl<const MIN: u32, const MAX: u32> Literal for Whole<MIN, MAX> {
    type Plain = u32;

    fn of(plain: u32) -> Self {
        assert!((MIN..=MAX).contains(&plain), "a test reads every default");
        Self(plain)
    }
}

/// A time from `MIN` to `MAX` seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds<const MIN: u32, const MAX: u32>(Whole<MIN, MAX>);

impl<const MIN: u32, const MAX: u32> Seconds<MIN, MAX> {
    /// The time.
    #[must_use]
    pub fn get(self) -> Duration {
        Duration::from_secs(self.0.as_u32().into())
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Debug for Seconds<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32> Setting for Seconds<MIN, MAX> {
    const TAKES: Takes = Whole::<MIN, MAX>::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        Whole::read(value, path, problems).map(Self)
    }

    fn write(&self, secrets: Secrets) -> Json {
        self.0.write(secrets)
    }
}

impl<const MIN: u32, const MAX: u32> Literal for Seconds<MIN, MAX> {
    type Plain = u32;

    fn of(plain: u32) -> Self {
        Self(Whole::of(plain))
    }
}

impl Setting for u16 {
    const TAKES: Takes = Takes::Number {
        min: 0,
        max: Self::MAX as u32,
    };

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let read = Whole::<0, { Self::MAX as u32 }>::read(value, path, problems)?;
        Self::try_from(read.as_u32()).ok()
    }

    fn write(&self, _: Secrets) -> Json {
        (*self).into()
    }
}

impl Literal for u16 {
    type Plain = Self;

    fn of(plain: Self) -> Self {
        plain
    }
}

/// What may be left out. An empty text is as good as none.
impl<T: Setting> Setting for Option<T> {
    const TAKES: Takes = T::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        match (&value.kind, T::TAKES) {
            (ValueKind::String(text), _) if text.is_empty() => Some(None),
            (ValueKind::I64(..1), Takes::Number { min: 1, .. }) => {
                problems.refuse(value, path, "must be at least 1; leave it out for no limit");
                None
            }
            _ => T::read(value, path, problems).map(Some),
        }
    }

    fn write(&self, secrets: Secrets) -> Json {
        self.as_ref().map_or(Json::Null, |it| it.write(secrets))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Setting> Setting for Arc<T> {
    const TAKES: Takes = T::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        T::read(value, path, problems).map(Self::new)
    }

    fn write(&self, secrets: Secrets) -> Json {
        T::write(self, secrets)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const TAKES: Takes = Takes::List(&T::TAKES);

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let ValueKind::Array(values) = &value.kind else {
            problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
            return None;
        };
        let mut read = Some(Self::with_capacity(values.len()));
        for (index, value) in values.iter().enumerate() {
            match (T::read(value, path.index(index), problems), &mut read) {
                (Some(element), Some(read)) => read.push(element),
                _ => read = None,
            }
        }
        read
    }

    fn write(&self, secrets: Secrets) -> Json {
        self.iter().map(|it| it.write(secrets)).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// Names and texts that are never shown.
pub type Headers = BTreeMap<String, String>;

impl Setting for Headers {
    const TAKES: Takes = Takes::Headers;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let ValueKind::Table(entries) = &value.kind else {
            problems.refuse(value, path, Self::TAKES.refusal(&value.kind));
            return None;
        };
        let mut read = Some(Self::new());
        for (name, value) in entries {
            match (&value.kind, &mut read) {
                (ValueKind::String(text), Some(read)) => {
                    read.insert(name.clone(), text.clone());
                }
                (ValueKind::String(_), None) => {}
                (other, _) => {
                    problems.refuse(value, path.key(name), Takes::Secret.refusal(other));
                    read = None;
                }
            }
        }
        read
    }

    fn write(&self, secrets: Secrets) -> Json {
        let entries = self.iter().map(|(name, text)| match secrets {
            Secrets::Shown => (name.clone(), text.as_str().into()),
            Secrets::Hidden => (name.clone(), Json::Null),
        });
        Json::Object(entries.collect())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}
