//! The Lua scripts, each in a file of its own with its interface. They touch keys of one hash tag only, and may be repeated without
//! harm.

use std::sync::LazyLock;

/// One script.
pub struct Script {
    /// What messages call it.
    pub name: &'static str,
    /// Its source.
    pub text: &'static str,
    sha1: LazyLock<String>,
}

impl Script {
    /// What Redis calls it once it has seen it.
    #[must_use]
    pub fn sha1(&self) -> &str {
        &self.sha1
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $constant:ident = $file:literal;)*) => {
        $($(#[$doc])* pub(super) static $constant: Script = Script {
            name: $file,
            text: include_str!(concat!("scripts/", $file, ".lua")),
            sha1: LazyLock::new(|| redis::Script::new($constant.text).get_hash().to_owned()),
        };)*

        /// All scripts.
        pub static ALL: &[&Script] = &[$(&$constant),*];
    };
}

scripts! {
    /// Settles a batch of a node's changes.
    WRITE = "write";
    /// Keeps an event as its channel's last, and publishes it.
    KEEP = "keep";
    /// Adds an event to its channel's history, and publishes it.
    RECORD = "record";
    /// Renews a lease.
    LEASE = "lease";
    /// Notes buckets of a node.
    REGISTER = "register";
    /// Gives a lease back.
    RESIGN = "resign";
    /// Holds a name.
    HOLD = "hold";
    /// Gives a name back.
    RELEASE = "release";
}
