//! Findings that do not stop a build.

use crate::Parsed;
use crate::diagnostic::Diagnostic;

/// Runs every rule that needs nothing but the Dockerfile.
pub fn lint(parsed: &Parsed, source: &str) -> Vec<Diagnostic> {
    let _ = (parsed, source);
    Vec::new()
}
