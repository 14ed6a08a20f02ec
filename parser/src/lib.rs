//! Dockerfile text to typed instructions with spans.
//!
//! [`parse`] never fails and never panics: it gives what it understood and a list of
//! [`Diagnostic`]s. Nothing is expanded here; a [`Word`] keeps its variables until the
//! builder calls [`Word::expand`]. The crate reads no file and prints nothing.

mod diagnostic;
pub mod ignore;
mod instruction;
pub mod lint;
pub mod pattern;
mod render;
mod span;
mod suggest;
mod word;

pub use diagnostic::{Diagnostic, Severity};
pub use instruction::{
    Add, Arg, ArgItem, Command, Copy, Device, Env, Form, From, Healthcheck, HealthcheckTest,
    Heredoc, Instruction, Label, Mount, MountOption, Network, Onbuild, Pair, ResolvedMount, Run,
    Security, Sharing, Sources,
};
pub use instruction::{BindMount, CacheMount, SecretMount, SshMount, TmpfsMount};
pub use render::{LineColumn, line_column, render};
pub use span::{Span, Spanned};
pub use suggest::suggest;
pub use word::{Expansion, Word};

/// What a Dockerfile says, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The parser directives at the top of the file.
    pub directives: Directives,
    /// Every instruction that could be typed, in order.
    pub instructions: Vec<Spanned<Instruction>>,
    /// Everything that is wrong or worth saying, in order of the source.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether a diagnostic forbids building.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// The parser directives: comments at the very top that the builder reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: accepted as written, never fetched.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`: backslash or backtick.
    pub escape: char,
    /// `# check=`: what the lint skips.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            syntax: None,
            escape: '\\',
            check: None,
        }
    }
}

/// Reads a Dockerfile.
///
/// Never fails and never panics; several problems are reported in one run.
pub fn parse(source: &str) -> Parsed {
    let _ = source;
    Parsed::default()
}

/// Reads one `ONBUILD` trigger out of an image config.
pub fn parse_trigger(text: &str) -> Parsed {
    parse(text)
}

/// The tree of a Dockerfile as JSON; the schema is in `docs/parse-json.md`.
pub fn to_json(parsed: &Parsed, source: &str) -> serde_json::Value {
    let _ = (parsed, source);
    serde_json::Value::Null
}

/// Answers one line of `rbuild debug ask`: JSON in, JSON out.
pub fn ask(line: &str) -> String {
    let _ = line;
    String::new()
}
