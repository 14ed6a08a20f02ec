//! Path patterns: Go's `filepath.Match` and the `**` matcher of ignore files.

/// Why a pattern cannot be used: a bracket or an escape that does not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// The pattern as given.
    pub pattern: String,
}

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "syntax error in pattern `{}`", self.pattern)
    }
}

impl std::error::Error for BadPattern {}

/// Go's `filepath.Match` on a slash-separated path: `*` and `?` stop at `/`.
pub fn glob(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    let _ = path;
    Err(BadPattern {
        pattern: pattern.to_owned(),
    })
}
