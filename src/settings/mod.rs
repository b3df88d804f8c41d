//! Settings: named values with a type, a default and documentation, which are read from any source into checked structs.
//!
//! A [`settings!`] struct is the only definition of its keys. The sample file, the tables of `docs/configuration.md`, the admin views and
//! the columns of SQL tables follow from [`Settings::FIELDS`]. Does not know which settings exist or where their values come from:
//! every source becomes a [`Value`] of the `config` crate, whose origin names file, line and column.

mod problem;
mod read;
pub mod sample;
pub mod schema;
mod takes;
pub mod toml;
mod types;

pub use ::config::{Map, Value, ValueKind};
pub use problem::{Problem, Problems};
pub use read::{MISSING, Path, Table, UNKNOWN, place_of};
pub use serde_json::Value as Json;
pub use takes::{Takes, of_json, to_json};
pub use types::{Count, Headers, Literal, Seconds, Text, Whole};

/// A value of one key: how it is read from a source and written to a view.
pub trait Setting: Sized {
    /// Which values the key takes.
    const TAKES: Takes;

    /// Reads and checks a value. `None`: it was refused, and `problems` says why.
    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self>;

    /// The value as JSON; null if there is nothing to show.
    fn write(&self, secrets: Secrets) -> Json;

    /// The value of a key that is left out and has no default of its own. `None`: the key is required.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

/// Whether a view may contain secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// For stores and exports.
    Shown,
    /// For people and logs.
    Hidden,
}

/// One key of a table.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// Its documentation in Markdown, line by line as in the source.
    pub doc: &'static [&'static str],
    /// Which values it takes.
    pub takes: Takes,
    /// The value of a key that is left out; `None`: it is required.
    pub default: fn() -> Option<Json>,
    /// For the sample file, where there is no default.
    pub example: Option<&'static str>,
}

/// A table of settings.
pub trait Settings: Sized {
    /// The keys, in groups that share one table.
    const FIELDS: &'static [&'static [Field]];

    /// Reads and checks the keys of this struct; other keys of the table are left alone.
    fn read(table: &Table<'_>, problems: &mut Problems) -> Option<Self>;

    /// Adds each key and its value.
    fn write_into(&self, secrets: Secrets, out: &mut serde_json::Map<String, Json>);
}

/// All keys of a table, in order.
pub fn fields(groups: &'static [&'static [Field]]) -> impl Iterator<Item = &'static Field> {
    groups.iter().copied().flatten()
}

/// The key of this name.
#[must_use]
pub fn find(groups: &'static [&'static [Field]], name: &str) -> Option<&'static Field> {
    fields(groups).find(|field| field.name == name)
}

/// The entries of a table in the order of its keys; unknown ones come last.
pub fn in_order<'a>(
    groups: &'static [&'static [Field]],
    table: &'a serde_json::Map<String, Json>,
) -> Vec<(&'a String, &'a Json)> {
    let position = |name: &str| fields(groups).position(|field| field.name == name);
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| position(name).unwrap_or(usize::MAX));
    entries
}

/// Leaves out every key whose value is its default, in tables within, too.
pub fn leave_out_defaults(
    groups: &'static [&'static [Field]],
    table: &mut serde_json::Map<String, Json>,
) {
    table.retain(|name, value| {
        let Some(field) = find(groups, name) else {
            return true;
        };
        if value.is_null() || (field.default)().as_ref() == Some(value) {
            return false;
        }
        if let (Some(groups), Json::Array(elements)) = (field.takes.keys(), value) {
            for element in elements.iter_mut().filter_map(Json::as_object_mut) {
                leave_out_defaults(groups, element);
            }
        }
        true
    });
}

/// Defines a struct of settings: for each field its documentation, type, default (`= …`) and example (`=> "…"`).
///
/// Groups (`..name: Type,`) are structs of settings that share the table; they come last. `first` sees the table before its keys are
/// read, `check` the whole struct; both may report problems that concern several keys.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $(= $default:expr)? $(=> $example:literal)?,
            )*
            $(..$group:ident: $group_type:ty,)*
        }
        $(first $first:path;)?
        $(check $check:path;)?
    ) => {
        $(#[$meta])*
        $visibility struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $(#[doc = concat!("See [`", stringify!($group_type), "`].")] pub $group: $group_type,)*
        }

        impl $crate::settings::Settings for $name {
            const FIELDS: &'static [&'static [$crate::settings::Field]] = &[
                &[$($crate::settings::Field {
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    takes: <$type as $crate::settings::Setting>::TAKES,
                    default: || {
                        let default: Option<$type> = $crate::settings::settings!(@default $type $(, $default)?);
                        default.map(|it| $crate::settings::Setting::write(&it, $crate::settings::Secrets::Shown))
                    },
                    example: $crate::settings::settings!(@example $($example)?),
                },)*],
                $(<$group_type as $crate::settings::Settings>::FIELDS[0],)*
            ];

            fn read(
                table: &$crate::settings::Table<'_>,
                problems: &mut $crate::settings::Problems,
            ) -> Option<Self> {
                $($first(table, problems);)?
                $(let $field: Option<$type> = table.read(stringify!($field), problems, || {
                    $crate::settings::settings!(@default $type $(, $default)?)
                });)*
                $(let $group = <$group_type as $crate::settings::Settings>::read(table, problems);)*
                let read = Self { $($field: $field?,)* $($group: $group?,)* };
                $($check(&read, table, problems);)?
                Some(read)
            }

            fn write_into(
                &self,
                secrets: $crate::settings::Secrets,
                out: &mut serde_json::Map<String, $crate::settings::Json>,
            ) {
                $(out.insert(
                    stringify!($field).to_owned(),
                    $crate::settings::Setting::write(&self.$field, secrets),
                );)*
                $($crate::settings::Settings::write_into(&self.$group, secrets, out);)*
            }
        }

        impl $crate::settings::Setting for $name {
            const TAKES: $crate::settings::Takes =
                $crate::settings::Takes::Table(<Self as $crate::settings::Settings>::FIELDS);

            fn read(
                value: &$crate::settings::Value,
                path: $crate::settings::Path<'_>,
                problems: &mut $crate::settings::Problems,
            ) -> Option<Self> {
                $crate::settings::Table::read_whole(value, path, problems)
            }

            fn write(&self, secrets: $crate::settings::Secrets) -> $crate::settings::Json {
                let mut out = serde_json::Map::new();
                <Self as $crate::settings::Settings>::write_into(self, secrets, &mut out);
                out.into()
            }

            fn absent() -> Option<Self> {
                $crate::settings::Table::read_nothing()
            }
        }
    };
    (@default $type:ty) => { <$type as $crate::settings::Setting>::absent() };
    (@default $type:ty, $default:expr) => {
        Some(<$type as $crate::settings::Literal>::of($default))
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}
pub(crate) use settings;

/// Defines an enum whose values are written as these words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// The word that stands for it.
            #[must_use]
            $visibility const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::settings::Text for $name {
            const TAKES: $crate::settings::Takes = $crate::settings::Takes::Word(&[$($word),+]);

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    // `Takes` says which words there are.
                    _ => Err(String::new()),
                }
            }

            fn text(&self, _: $crate::settings::Secrets) -> std::borrow::Cow<'_, str> {
                self.word().into()
            }
        }
    };
}
pub(crate) use words;
