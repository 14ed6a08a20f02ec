//! Path patterns: Go's `filepath.Match`, and the `**` patterns of ignore files.
//!
//! Both are matched by one pass over the path with the set of places reached in the pattern, so no
//! pattern can make matching slow.

mod automaton;
mod moby;

use std::fmt;

use automaton::{Part, Parts};
pub use moby::PathPattern;

/// Why a pattern cannot be used: a bracket or an escape that does not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// The pattern as given.
    pub pattern: String,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "syntax error in pattern `{}`", self.pattern)
    }
}

impl std::error::Error for BadPattern {}

/// Go's `filepath.Match` on a slash-separated path: `*` and `?` stop at `/`, `[…]` is a class,
/// a backslash takes the next character literally.
///
/// ```
/// use rbuild_parser::pattern::glob;
///
/// assert_eq!(glob("src/*.rs", "src/lib.rs"), Ok(true));
/// assert_eq!(glob("*.rs", "src/lib.rs"), Ok(false));
/// assert!(glob("[", "a").is_err());
/// ```
pub fn glob(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    Glob::new(pattern).map(|glob| glob.matches(path))
}

/// A `filepath.Match` pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    parts: Parts,
}

impl Glob {
    /// Reads a pattern.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern {
            pattern: pattern.to_owned(),
        };
        let mut parts = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            parts.push(match c {
                '*' => Part::Star,
                '?' => Part::One,
                '[' => {
                    let (class, after) = automaton::class(rest).ok_or_else(bad)?;
                    rest = after;
                    class
                }
                '\\' => {
                    let escaped = rest.chars().next().ok_or_else(bad)?;
                    rest = &rest[escaped.len_utf8()..];
                    Part::Literal(escaped)
                }
                c => Part::Literal(c),
            });
        }
        Ok(Self {
            parts: Parts::new(parts),
        })
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &str) -> bool {
        self.parts.matches(path)
    }

    /// Whether a path could match that begins with `prefix`: what a walker asks about a directory,
    /// with a `/` at its end.
    pub fn could_match_below(&self, prefix: &str) -> bool {
        self.parts.could_continue(prefix)
    }
}

/// Whether a text has any character that a pattern gives a meaning.
pub fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// Go's `filepath.Clean`: no empty or `.` components, `..` resolved as far as it goes.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if rooted => {}
            component => kept.push(component),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
