//! `.dockerignore`: Moby's pattern rules, which are not gitignore's.
//!
//! Patterns are anchored at the root of the context, the last line that matches a path or a
//! directory above it wins, and `!` includes again, even below an ignored directory.

use std::fmt;

use crate::pattern::{PathPattern, clean};

/// The rules of one ignore file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
    patterns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// From 1.
    line: usize,
    /// `!`: includes again.
    includes: bool,
    pattern: PathPattern,
    /// The line as written, without blanks around it.
    text: String,
}

/// What the rules say about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the path is left out of the context.
    pub ignored: bool,
    /// The rule that decided: its line from 1, and its text. Absent when no rule speaks of the path.
    pub line: Option<(usize, String)>,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// The line as written, without blanks around it.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: {} in pattern `{}`",
            self.line, self.reason, self.text
        )
    }
}

impl std::error::Error for BadLine {}

impl Ignore {
    /// Reads an ignore file.
    ///
    /// ```
    /// use rbuild_parser::ignore::Ignore;
    ///
    /// let ignore = Ignore::parse("target\n!target/keep\n").expect("it is well formed");
    /// assert!(ignore.decide("target/debug").ignored);
    /// assert_eq!(ignore.decide("target/keep").line, Some((2, "!target/keep".to_owned())));
    /// ```
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut ignore = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, raw) in text.split('\n').enumerate() {
            let written = raw.trim();
            // Only at the very start of a line is `#` a comment.
            if raw.starts_with('#') || written.is_empty() {
                continue;
            }
            ignore.add(index + 1, written, true)?;
        }
        Ok(ignore)
    }

    /// Makes the rules from patterns given one by one, as `--exclude` does. Unlike in a file, a
    /// slash at the start of a pattern stays, so that it matches no relative path.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, BadLine> {
        let mut ignore = Self::default();
        for (index, pattern) in patterns.into_iter().enumerate() {
            let written = pattern.trim();
            if !written.is_empty() {
                ignore.add(index + 1, written, false)?;
            }
        }
        Ok(ignore)
    }

    fn add(&mut self, line: usize, written: &str, in_file: bool) -> Result<(), BadLine> {
        let bad = |reason| BadLine {
            line,
            text: written.to_owned(),
            reason,
        };
        let normal = if in_file {
            normalized(written)
        } else {
            written.to_owned()
        };
        let cleaned = clean(normal.trim());
        self.patterns.push(normal);
        let (includes, pattern) = match cleaned.strip_prefix('!') {
            Some("") => return Err(bad("nothing after `!`")),
            Some(rest) => (true, rest),
            None => (false, cleaned.as_str()),
        };
        let pattern = PathPattern::new(pattern).map_err(|_| bad("syntax error"))?;
        self.rules.push(Rule {
            line,
            includes,
            pattern,
            text: written.to_owned(),
        });
        Ok(())
    }

    /// Whether a path (relative to the root, `/` between components) is left out.
    ///
    /// The root itself, `.`, never is.
    pub fn decide(&self, path: &str) -> Decision {
        match self.deciding(path) {
            Some(rule) => Decision {
                ignored: !rule.includes,
                line: Some((rule.line, rule.text.clone())),
            },
            None => Decision {
                ignored: false,
                line: None,
            },
        }
    }

    /// Whether a path is left out; cheaper than [`Self::decide`].
    pub fn is_ignored(&self, path: &str) -> bool {
        self.deciding(path).is_some_and(|rule| !rule.includes)
    }

    fn deciding(&self, path: &str) -> Option<&Rule> {
        self.deciding_index(path).map(|index| &self.rules[index])
    }

    /// The last rule that changed the verdict.
    fn deciding_index(&self, path: &str) -> Option<usize> {
        let cleaned;
        let path = if is_clean(path) {
            path
        } else {
            cleaned = clean(path);
            &cleaned
        };
        if path == "." {
            return None;
        }
        let mut ignored = false;
        let mut deciding = None;
        for (index, rule) in self.rules.iter().enumerate() {
            // A rule that could not change the verdict is not asked.
            if rule.includes == ignored && rule.pattern.matches_with_parents(path) {
                ignored = !rule.includes;
                deciding = Some(index);
            }
        }
        deciding
    }

    /// The patterns in order, cleaned, `!` kept.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether something below an ignored directory could still be included by a `!` rule.
    ///
    /// A walker that gets `false` need not enter the directory. Only rules after the one that
    /// ignores the directory count, and only those that can match below it.
    pub fn may_contain_included(&self, directory: &str) -> bool {
        let Some(deciding) = self.deciding_index(directory) else {
            return true;
        };
        if self.rules[deciding].includes {
            return true;
        }
        let directory = clean(directory);
        self.rules[deciding..]
            .iter()
            .any(|rule| rule.includes && rule.pattern.could_match_below(&directory))
    }
}

/// A line of a file as the client hands it on: cleaned, and without a slash at its start, which
/// means nothing there.
fn normalized(written: &str) -> String {
    let (mark, pattern) = match written.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", written),
    };
    if pattern.is_empty() {
        return mark.to_owned();
    }
    let cleaned = clean(pattern);
    let relative = cleaned
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&cleaned);
    format!("{mark}{relative}")
}

/// Whether [`clean`] would leave the path as it is, for all but rare paths.
fn is_clean(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|component| !matches!(component, "" | "." | ".."))
}
