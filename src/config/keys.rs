//! How a key is described, and what a set of keys is: the walk, the documentation and the variables all read the same
//! table.

/// What a key's value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bool,
    Integer {
        min: u64,
        max: u64,
    },
    /// Bounds in seconds.
    Duration {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    /// A text; what of.
    Text(&'static str),
    /// A path on this machine; a leading `~/` is the home directory.
    Path,
    /// `never` or an RFC 3339 date and time.
    Time,
    /// At most `max` texts of one kind; a single text stands for a list of one.
    List {
        of: &'static str,
        max: usize,
    },
}

/// What a key is if it is not written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Default {
    /// Nothing. For a text key `""` says the same.
    None,
    /// It must be written.
    Required,
    Bool(bool),
    Integer(u64),
    Text(&'static str),
    List(&'static [&'static str]),
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.key`; the entries of a list are `section[].key`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// For people: one sentence or two.
    pub(super) meaning: &'static str,
    /// Its value is never printed, and its variable may also name a file (`..._FILE`).
    pub(super) secret: bool,
}

impl Key {
    pub(super) const fn new(path: &'static str, kind: Kind, default: Default, meaning: &'static str) -> Self {
        Self { path, kind, default, meaning, secret: false }
    }

    pub(super) const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The section it belongs to.
    pub(super) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section.
    pub(super) fn leaf(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, leaf)| leaf)
    }
}

/// The keys and sections that a kind of file may have.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    pub(super) keys: &'static [&'static Key],
    /// Path and what the section is for, in the order of the documentation.
    pub(super) sections: &'static [(&'static str, &'static str)],
}

impl Schema {
    pub(super) fn has_key(&self, path: &str) -> bool {
        self.keys.iter().any(|key| key.path == path)
    }

    pub(super) fn has_section(&self, path: &str) -> bool {
        self.sections.iter().any(|(section, _)| *section == path)
    }

    /// The names of the keys and sections directly in `path`.
    pub(super) fn names_in(&self, path: &str) -> Vec<&'static str> {
        let keys = self.keys.iter().filter(|key| key.section() == path).map(|key| key.leaf());
        let sections = self.sections.iter().filter_map(|(section, _)| {
            let (parent, leaf) = section.rsplit_once('.').unwrap_or(("", section));
            (parent == path).then(|| leaf.trim_end_matches("[]"))
        });
        keys.chain(sections).collect()
    }

    /// A section that has a key named `leaf`.
    pub(super) fn section_with(&self, leaf: &str) -> Option<&'static str> {
        self.keys.iter().find(|key| key.leaf() == leaf).map(|key| key.section())
    }
}

/// A section as it is written in a file.
pub(super) fn header(section: &str) -> String {
    match section.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{}]", section.replace("[]", "")),
    }
}

/// Seconds as people write them.
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        s if s >= 7200 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 7200 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s >= 120 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Makes a static per key and the list of all of them, so that a key cannot be in one and not in the other.
macro_rules! keys {
    ($all:ident: $($name:ident = $key:expr;)+) => {
        $(pub(in crate::config) static $name: Key = $key;)+
        /// Every key.
        pub(in crate::config) static $all: &[&Key] = &[$(&$name),+];
    };
}
pub(super) use keys;

/// Makes an enum whose values are words of the file, and the list of these words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])+ $value:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])+ $value,)+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The value that `word` names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$value),)+ _ => None }
            }

            /// The word of the file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }
    };
}
pub(super) use words;
