//! The patterns of `.dockerignore`, `--exclude` and `--parents`.

use super::automaton::{Part, Parts, class};
use super::{BadPattern, Glob};

/// One pattern with `**`, which matches whole paths from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    way: Way,
}

/// How a pattern is matched. Three simple forms have rules of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// No character has a meaning.
    Exact,
    /// Only `**` at the end: the path begins with what stands before.
    Prefix(String),
    /// Only `**` at the start: the path ends with what stands behind.
    Suffix(String),
    Parts(Parts),
}

impl PathPattern {
    /// Reads a pattern that has been cleaned; see [`super::clean`].
    ///
    /// ```
    /// use rbuild_parser::pattern::PathPattern;
    ///
    /// let pattern = PathPattern::new("**/*.log").expect("it is well formed");
    /// assert!(pattern.matches("a.log") && pattern.matches("x/y/a.log"));
    /// ```
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        Glob::new(text)?;
        let way = way(text).ok_or_else(|| BadPattern {
            pattern: text.to_owned(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            way,
        })
    }

    /// The pattern as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &str) -> bool {
        match &self.way {
            Way::Exact => path == self.text,
            Way::Prefix(prefix) => path.starts_with(prefix),
            Way::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Way::Parts(parts) => parts.matches(path),
        }
    }

    /// Whether the path or one of the directories above it matches.
    pub fn matches_with_parents(&self, path: &str) -> bool {
        match &self.way {
            Way::Parts(parts) => parts.matches_with_parents(path),
            _ => self.matches(path) || parents(path).any(|parent| self.matches(parent)),
        }
    }

    /// Whether something strictly below `directory` could match.
    pub fn could_match_below(&self, directory: &str) -> bool {
        let prefix = format!("{directory}/");
        match &self.way {
            Way::Exact => self.text.starts_with(&prefix),
            Way::Prefix(start) => start.starts_with(&prefix) || prefix.starts_with(start),
            Way::Suffix(_) => true,
            Way::Parts(parts) => parts.could_continue(&prefix),
        }
    }
}

/// The directories above a path, the topmost first; not the root itself.
pub(crate) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|parent| !parent.is_empty())
}

fn way(text: &str) -> Option<Way> {
    let mut parts = Vec::with_capacity(text.len());
    let mut special = false;
    let mut leading = false;
    let mut trailing = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let first = rest.len() == text.len();
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if rest.starts_with('*') => {
                rest = &rest[1..];
                // The slash after `**` belongs to it.
                rest = rest.strip_prefix('/').unwrap_or(rest);
                if rest.is_empty() {
                    parts.push(Part::Anything);
                    special |= leading;
                    trailing = !first;
                } else {
                    parts.extend([Part::Directories, Part::WithinDirectories]);
                    special |= !first;
                }
                leading |= first;
            }
            '*' => {
                parts.push(Part::Star);
                special = true;
            }
            '?' => {
                parts.push(Part::One);
                special = true;
            }
            '[' => {
                let (class, after) = class(rest)?;
                rest = after;
                parts.push(class);
                special = true;
            }
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                parts.push(Part::Literal(escaped));
                special = true;
            }
            ']' => {
                parts.push(Part::Literal(']'));
                special = true;
            }
            c => parts.push(Part::Literal(c)),
        }
    }
    Some(if special {
        Way::Parts(Parts::new(parts))
    } else if leading {
        Way::Suffix(text[2..].to_owned())
    } else if trailing {
        Way::Prefix(text[..text.len() - 2].to_owned())
    } else {
        Way::Exact
    })
}
