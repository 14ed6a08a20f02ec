//! `.dockerignore`: Moby's pattern rules, which are not gitignore's.

use crate::pattern::BadPattern;

/// The rules of one ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<String>,
}

/// What the rules say about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the path is left out of the context.
    pub ignored: bool,
    /// The last rule that spoke about it: its line from 1, and its text.
    pub line: Option<(usize, String)>,
}

impl Ignore {
    /// Reads an ignore file.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let _ = text;
        Ok(Self::default())
    }

    /// Whether a path (relative to the root, `/` between components) is left out.
    pub fn decide(&self, path: &str) -> Decision {
        let _ = path;
        Decision {
            ignored: false,
            line: None,
        }
    }

    /// The patterns in order, cleaned, `!` kept.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether something below an ignored directory could still be included by a `!` rule.
    ///
    /// A walker that gets `false` need not enter the directory.
    pub fn may_contain_included(&self, directory: &str) -> bool {
        let _ = directory;
        true
    }
}
