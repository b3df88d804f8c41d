//! What commands there are: their arity, their keys and their flags, as `COMMAND INFO` of a real Redis has them.

use std::{collections::HashMap, sync::LazyLock};

use bytes::Bytes;

use super::{
    Call, hashes, keys, lists, pubsub,
    reply::{ErrorReply, Outcome},
    scripts, sets, slot, sorted, strings,
};

/// A command.
pub(crate) struct Spec {
    /// In lower case; a subcommand as `script|load`.
    pub(crate) name: &'static str,
    /// The number of words; negative: at least that many.
    pub(crate) arity: i64,
    pub(crate) keys: Keys,
    pub(crate) flags: &'static [Flag],
    pub(super) run: fn(&mut Call<'_>) -> Outcome,
}

/// Which words of a command are keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keys {
    None,
    /// The one behind the name.
    First,
    /// All behind the name.
    All,
    /// As many as the third word says, behind it.
    Counted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flag {
    /// Changes keys; a replica refuses it.
    Write,
    /// May need memory; refused when there is none.
    DenyOom,
    /// Works while the dataset is loaded.
    Loading,
    /// Not for scripts.
    NoScript,
}

/// The flags that most commands have.
pub(super) const READ: &[Flag] = &[];
pub(super) const WRITE: &[Flag] = &[Flag::Write];
pub(super) const GROW: &[Flag] = &[Flag::Write, Flag::DenyOom];

impl Spec {
    pub(super) const fn new(
        name: &'static str,
        arity: i64,
        keys: Keys,
        flags: &'static [Flag],
        run: fn(&mut Call<'_>) -> Outcome,
    ) -> Self {
        Self {
            name,
            arity,
            keys,
            flags,
            run,
        }
    }

    pub(super) fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }

    pub(super) fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).expect("few words");
        if self.arity < 0 {
            words >= -self.arity
        } else {
            words == self.arity
        }
    }

    /// The hash slot of all keys, if there are any.
    pub(super) fn slot(&self, args: &[Bytes]) -> Result<Option<u16>, ErrorReply> {
        let keys = match self.keys {
            Keys::None => &[],
            Keys::First => &args[1..2],
            Keys::All => &args[1..],
            Keys::Counted => scripts::keys(args).unwrap_or_default(),
        };
        let mut slots = keys.iter().map(|key| slot::of(key));
        let first = slots.next();
        if slots.any(|slot| Some(slot) != first) {
            let line = "CROSSSLOT Keys in request don't hash to the same slot";
            return Err(ErrorReply::from_line(line));
        }
        Ok(first)
    }
}

/// All commands.
pub(crate) fn commands() -> impl Iterator<Item = &'static Spec> {
    [
        keys::COMMANDS,
        strings::COMMANDS,
        hashes::COMMANDS,
        sets::COMMANDS,
        sorted::COMMANDS,
        lists::COMMANDS,
        pubsub::COMMANDS,
        scripts::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Spec>> = LazyLock::new(|| {
    commands()
        .map(|spec| (spec.name.as_bytes(), spec))
        .collect()
});

/// The command that is meant by these words.
pub(super) fn find(args: &[Bytes]) -> Result<&'static Spec, ErrorReply> {
    let name = args[0].to_ascii_lowercase();
    if name == b"script" || name == b"pubsub" {
        return subcommand(name, args);
    }
    BY_NAME
        .get(&name[..])
        .copied()
        .ok_or_else(|| unknown_command(args))
}

fn subcommand(mut name: Vec<u8>, args: &[Bytes]) -> Result<&'static Spec, ErrorReply> {
    let Some(second) = args.get(1) else {
        return Err(ErrorReply::arity(&String::from_utf8_lossy(&name)));
    };
    name.push(b'|');
    name.extend(second.to_ascii_lowercase());
    BY_NAME.get(&name[..]).copied().ok_or_else(|| {
        let second = String::from_utf8_lossy(second);
        let name = String::from_utf8_lossy(&args[0]).to_uppercase();
        ErrorReply::plain(format!("unknown subcommand '{second}'. Try {name} HELP."))
    })
}

fn unknown_command(args: &[Bytes]) -> ErrorReply {
    let quoted = |word: &Bytes| format!("'{}' ", String::from_utf8_lossy(word));
    let rest: String = args[1..].iter().map(quoted).collect();
    let name = String::from_utf8_lossy(&args[0]);
    let line = format!("ERR unknown command '{name}', with args beginning with: {rest}");
    ErrorReply::from_line(&line)
}
