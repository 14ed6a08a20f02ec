//! The tree of a Dockerfile: keyword, flags, arguments, heredocs, each with its span.
//!
//! Nothing is interpreted here beyond what is needed to find where things end. Every byte of the
//! source belongs to exactly one [`Part`], so [`Tree::print`] gives the source back.

mod read;
mod statement;

pub(crate) use read::read;

use crate::span::{Span, Spanned};

/// A Dockerfile, cut up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The source in pieces, without gaps or overlaps, in order.
    pub parts: Vec<Part>,
    /// The instructions, in order.
    pub statements: Vec<Statement>,
}

/// A piece of the source and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Where it stands.
    pub span: Span,
}

/// What a piece of the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// The byte order mark at the very start.
    ByteOrderMark,
    /// White space and line ends.
    Blank,
    /// A comment line.
    Comment,
    /// A parser directive.
    Directive,
    /// The name of an instruction.
    Keyword,
    /// A flag of an instruction.
    Flag,
    /// Arguments of an instruction.
    Arguments,
    /// An escape character at a line end, with the line end.
    Continuation,
    /// The body of a heredoc.
    HeredocBody,
    /// The line that ends a heredoc.
    HeredocEnd,
}

/// One instruction, not yet typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The name as written.
    pub keyword: Spanned<String>,
    /// The name in upper case; `None` when there is no such instruction.
    pub known: Option<&'static str>,
    /// The flags, quotes resolved, `--` included.
    pub flags: Vec<Spanned<String>>,
    /// What follows the flags.
    pub arguments: Arguments,
    /// The heredocs, in order of their markers.
    pub heredocs: Vec<crate::Heredoc>,
    /// The instruction of an `ONBUILD`.
    pub child: Option<Box<Self>>,
    /// Comments right above, without `#`, since the last instruction or empty comment.
    pub comments: Vec<Spanned<String>>,
    /// The first empty line inside the continued instruction.
    pub empty_line: Option<Span>,
    /// From the keyword to the end of the arguments.
    pub line_span: Span,
    /// From the keyword to the end of the last heredoc.
    pub span: Span,
}

/// The arguments of an instruction, cut as its grammar says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// All of them, in one: continuations joined, comments dropped, no heredoc bodies. Empty where
    /// [`Self::shape`] has them in parts; the span is always there.
    pub text: Spanned<String>,
    /// How they are cut.
    pub shape: Shape,
}

/// How the arguments of an instruction are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Nothing is cut: the text of a command, a path, a user. Absent when there is nothing.
    Text,
    /// Words.
    Words(Vec<Spanned<String>>),
    /// Names and values.
    Pairs {
        /// In order.
        pairs: Vec<(Spanned<String>, Spanned<String>)>,
        /// `NAME VALUE`, without `=`.
        legacy: bool,
    },
    /// A JSON array of strings.
    Json(Vec<Spanned<String>>),
    /// `HEALTHCHECK`: the first word, and the rest in one of the command forms.
    Healthcheck {
        /// `CMD` or `NONE`, as written.
        kind: Option<Spanned<String>>,
        /// The strings of a JSON array; `None` for a shell command.
        json: Option<Vec<Spanned<String>>>,
        /// The rest as text.
        command: Spanned<String>,
    },
    /// `ONBUILD`: see [`Statement::child`].
    Child {
        /// What follows the keyword, untouched: what the image config stores.
        text: String,
    },
    /// Of an unknown instruction, or not readable.
    Unknown,
}

impl Tree {
    /// The source the tree was made from.
    pub fn print(&self, source: &str) -> String {
        self.parts
            .iter()
            .map(|part| part.span.text(source))
            .collect()
    }
}

impl Statement {
    /// The name in upper case; as written when there is no such instruction.
    pub fn name(&self) -> &str {
        self.known.unwrap_or(&self.keyword.value)
    }

    /// Whether this is the instruction of a name in upper case.
    pub fn is(&self, name: &str) -> bool {
        self.known == Some(name)
    }
}
