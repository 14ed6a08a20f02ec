//! From the source to typed instructions.

use crate::diagnostic::Diagnostic;
use crate::directive::Directives;
use crate::instruction::{self, Instruction};
use crate::span::{Span, Spanned, offset};
use crate::syntax::{self, Tree};

/// What a Dockerfile says, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The parser directives at the top of the file.
    pub directives: Directives,
    /// Every instruction that could be typed, in order.
    pub instructions: Vec<Spanned<Instruction>>,
    /// The file as it is written; every statement, also those that could not be typed.
    pub tree: Tree,
    /// Everything that is wrong, in order of the source. What the lint finds is not here.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether a diagnostic forbids building.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// How many problems of one file are told; who has more has another problem.
const MAX_DIAGNOSTICS: usize = 100;

/// The largest source that spans can address.
const MAX_BYTES: usize = u32::MAX as usize - 1;

/// Reads a Dockerfile.
///
/// Never fails and never panics; several problems are reported in one run.
///
/// ```
/// let parsed = rbuild_parser::parse("FROM busybox\nWORKDRI /app\n");
/// assert_eq!(parsed.instructions.len(), 1);
/// assert_eq!(parsed.diagnostics[0].help.as_deref(), Some("did you mean `WORKDIR`?"));
/// ```
pub fn parse(source: &str) -> Parsed {
    let mut parsed = typed(source, Directives::default());
    if source.len() <= MAX_BYTES {
        stages(&mut parsed, source);
    }
    parsed.diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    let more = parsed.diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    if more > 0 {
        parsed.diagnostics.truncate(MAX_DIAGNOSTICS);
        let end = Span::at(offset(source.len()));
        let message = format!("there are {more} more problems; is this a Dockerfile?");
        parsed
            .diagnostics
            .push(Diagnostic::error("too-many-problems", end, message));
    }
    parsed
}

/// Reads one `ONBUILD` trigger out of an image config.
///
/// The escape character is the backslash, whatever the file had from which the image was built.
pub fn parse_trigger(text: &str) -> Parsed {
    let mut parsed = typed(text, Directives::default());
    if parsed.tree.statements.len() != 1 {
        let span = parsed
            .tree
            .statements
            .get(1)
            .map_or(Span::at(0), |second| second.span);
        parsed.diagnostics.push(Diagnostic::error(
            "bad-trigger",
            span,
            "an `ONBUILD` trigger must be one instruction",
        ));
    }
    parsed
}

fn typed(source: &str, directives: Directives) -> Parsed {
    if source.len() > MAX_BYTES {
        let message = "the file is larger than 4 GiB";
        return Parsed {
            diagnostics: vec![Diagnostic::error("too-large", Span::at(0), message)],
            ..Parsed::default()
        };
    }
    let read = syntax::read(source, directives);
    let mut diagnostics = read.diagnostics;
    let escape = read.directives.escape;
    let mut instructions = Vec::with_capacity(read.tree.statements.len());
    for statement in &read.tree.statements {
        if let Some(instruction) = instruction::read(statement, escape, &mut diagnostics) {
            instructions.push(Spanned::new(instruction, statement.span));
        }
    }
    Parsed {
        directives: read.directives,
        instructions,
        tree: read.tree,
        diagnostics,
    }
}

/// Checks that there are stages, and that only `ARG` stands before the first.
fn stages(parsed: &mut Parsed, source: &str) {
    let statements = &parsed.tree.statements;
    if statements.is_empty() {
        let end = Span::at(offset(source.len()));
        parsed.diagnostics.push(
            Diagnostic::error("no-instructions", end, "the file has no instructions")
                .with_help("begin with `FROM IMAGE`"),
        );
        return;
    }
    let mut known = statements
        .iter()
        .filter(|statement| statement.known.is_some());
    let first = known.find(|statement| !statement.is("ARG"));
    match first {
        Some(first) if first.is("FROM") => {}
        Some(first) => {
            let message = format!("`{}` stands before the first `FROM`", first.name());
            parsed.diagnostics.push(
                Diagnostic::error("no-stage", first.keyword.span, message)
                    .with_help("only `ARG` can; a stage begins with `FROM`"),
            );
        }
        None if statements.iter().all(|statement| statement.is("ARG")) => {
            let end = statements
                .last()
                .map_or(Span::at(0), |last| last.keyword.span);
            parsed.diagnostics.push(
                Diagnostic::error("no-stage", end, "the file has no stage")
                    .with_help("begin one with `FROM IMAGE`"),
            );
        }
        None => {}
    }
}
