//! Dockerfile text to typed instructions with spans.
//!
//! [`parse`] never fails and never panics: it gives what it understood and a list of
//! [`Diagnostic`]s. Nothing is expanded here; a [`Word`] keeps its variables until the
//! builder calls [`Word::expand`]. The crate reads no file and prints nothing.

mod diagnostic;
mod directive;
mod duration;
mod expand;
pub mod fuzz;
mod heredoc;
pub mod ignore;
mod instruction;
mod json;
mod lex;
mod line;
pub mod lint;
mod parse;
pub mod pattern;
pub mod port;
mod render;
pub mod signal;
mod source;
mod span;
mod suggest;
pub mod syntax;
mod word;

pub use diagnostic::{CODES, Diagnostic, Severity};
pub use directive::Directives;
pub use instruction::{
    Add, Arg, ArgItem, Command, Copy, Device, Env, Form, From, Healthcheck, HealthcheckTest,
    Heredoc, Instruction, Label, Mount, MountOption, Network, Onbuild, Pair, ResolvedMount, Run,
    Script, Security, Sharing, Sources,
};
pub use instruction::{BindMount, CacheMount, SecretMount, SshMount, TmpfsMount};
pub use json::{ask, diagnostics_to_json, refusal, to_json};
pub use lint::{Options as LintOptions, lint_with};
pub use parse::{Parsed, parse, parse_trigger};
pub use render::render;
pub use source::{LineColumn, LineIndex, decode, line_column};
pub use span::{Span, Spanned};
pub use suggest::suggest;
pub use word::{Expansion, Word};
