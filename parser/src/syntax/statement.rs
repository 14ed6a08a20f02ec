//! One logical line to a statement: keyword, flags, and arguments cut by the instruction's grammar.

use super::{Arguments, PartKind, Shape, Statement};
use crate::diagnostic::Diagnostic;
use crate::instruction::NAMES;
use crate::lex::{self, JsonArray, Lexeme};
use crate::line::LogicalLine;
use crate::span::{Span, Spanned, offset};

/// How deep `ONBUILD ONBUILD …` is followed; one level is allowed, the rest is an error anyway.
const ONBUILD_DEPTH: usize = 4;

/// A statement, and which bytes of the logical line are what.
pub(super) struct Cut {
    pub(super) statement: Statement,
    pub(super) marks: Vec<(PartKind, u32, u32)>,
}

/// Cuts a logical line.
pub(super) fn cut(line: &LogicalLine<'_>, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Cut {
    let mut cutter = Cutter {
        line,
        escape,
        diagnostics,
        marks: Vec::with_capacity(4),
    };
    let statement = cutter.statement(line.text(), 0);
    Cut {
        statement,
        marks: cutter.marks,
    }
}

struct Cutter<'l, 's> {
    line: &'l LogicalLine<'s>,
    escape: char,
    diagnostics: &'l mut Vec<Diagnostic>,
    marks: Vec<(PartKind, u32, u32)>,
}

impl<'l> Cutter<'l, '_> {
    fn statement(&mut self, text: &'l str, depth: usize) -> Statement {
        let trimmed = text.trim();
        let (keyword, rest) = lex::split_blank(trimmed);
        let rest = rest.unwrap_or(&trimmed[trimmed.len()..]);
        let lex::Flags { list, end, rest } = lex::flags(rest, self.escape);
        let arguments = rest.trim();
        self.mark(PartKind::Keyword, keyword);
        for slice in list.iter().map(|flag| flag.slice).chain(end) {
            self.mark(PartKind::Flag, slice);
        }
        let flags = list.iter().map(|flag| self.spanned(flag)).collect();
        let known = NAMES
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(keyword));
        let mut child = None;
        let mut shape = self.shape(known, arguments, depth, &mut child);
        if let Shape::Child { text: trigger } = &mut shape {
            let after = text.trim_start().get(keyword.len()..).unwrap_or_default();
            after
                .trim_start_matches(['\t', '\n', '\u{c}', '\r', ' '])
                .clone_into(trigger);
        }
        let whole = if matches!(shape, Shape::Text | Shape::Unknown) {
            arguments
        } else {
            ""
        };
        if child.is_none() {
            self.mark(PartKind::Arguments, arguments);
        }
        let span = self.line.span_of(trimmed);
        Statement {
            keyword: Spanned::new(keyword.to_owned(), self.line.span_of(keyword)),
            known,
            flags,
            arguments: Arguments {
                text: Spanned::new(whole.to_owned(), self.line.span_of(arguments)),
                shape,
            },
            heredocs: Vec::new(),
            child,
            comments: Vec::new(),
            empty_line: None,
            line_span: span,
            span,
        }
    }

    fn shape(
        &mut self,
        known: Option<&'static str>,
        text: &'l str,
        depth: usize,
        child: &mut Option<Box<Statement>>,
    ) -> Shape {
        let child_of = || Shape::Child {
            text: String::new(),
        };
        let Some(name) = known else {
            return Shape::Unknown;
        };
        match name {
            "ADD" | "COPY" | "VOLUME" => self.json_or(text, |cutter| cutter.blank_separated(text)),
            "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => self.json_or(text, |_| Shape::Text),
            "EXPOSE" | "FROM" => self.blank_separated(text),
            "MAINTAINER" | "STOPSIGNAL" | "USER" | "WORKDIR" => Shape::Text,
            "ARG" => Shape::Words(
                lex::words(text, self.escape)
                    .iter()
                    .map(|word| self.spanned(word))
                    .collect(),
            ),
            "ENV" | "LABEL" => self.pairs(name, text),
            "HEALTHCHECK" => self.healthcheck(text),
            "ONBUILD" if text.is_empty() => child_of(),
            "ONBUILD" if depth >= ONBUILD_DEPTH => {
                let span = self.line.span_of(text);
                self.diagnostics.push(Diagnostic::error(
                    "onbuild-nested",
                    span,
                    "`ONBUILD` is nested too deeply",
                ));
                Shape::Unknown
            }
            "ONBUILD" => {
                *child = Some(Box::new(self.statement(text, depth + 1)));
                child_of()
            }
            _ => Shape::Unknown,
        }
    }

    fn json_or(&mut self, text: &'l str, otherwise: impl FnOnce(&mut Self) -> Shape) -> Shape {
        match lex::json_array(text) {
            JsonArray::Strings(strings) => {
                Shape::Json(strings.iter().map(|string| self.spanned(string)).collect())
            }
            JsonArray::No => otherwise(self),
            JsonArray::Mixed(element) => {
                self.not_strings(element);
                Shape::Unknown
            }
        }
    }

    fn not_strings(&mut self, element: &str) {
        let message = "the elements of a JSON array must be strings here";
        self.diagnostics.push(
            Diagnostic::error("json-not-strings", self.line.span_of(element), message)
                .with_help("put double quotes around it"),
        );
    }

    fn blank_separated(&mut self, text: &'l str) -> Shape {
        Shape::Words(
            lex::blank_separated(text)
                .iter()
                .map(|word| self.spanned(word))
                .collect(),
        )
    }

    /// `NAME=VALUE …` or `NAME VALUE`: what the first word looks like decides.
    fn pairs(&mut self, keyword: &str, text: &'l str) -> Shape {
        let words = lex::words(text, self.escape);
        let Some(first) = words.first() else {
            return Shape::Pairs {
                pairs: Vec::new(),
                legacy: false,
            };
        };
        if !first.text.contains('=') {
            return self.legacy_pair(keyword, text);
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in &words {
            let Some((name, value)) = word.text.split_once('=') else {
                let message = format!("`{}` has no `=`", word.text);
                self.diagnostics.push(
                    Diagnostic::error(
                        "pair-without-equals",
                        self.line.span_of(word.slice),
                        message,
                    )
                    .with_help("a value with blanks needs quotes: `NAME=\"two words\"`"),
                );
                return Shape::Unknown;
            };
            let name_end = name.len();
            pairs.push((
                Spanned::new(name.to_owned(), self.line.span_of(&word.slice[..name_end])),
                Spanned::new(
                    value.to_owned(),
                    self.line.span_of(&word.slice[name_end + 1..]),
                ),
            ));
        }
        Shape::Pairs {
            pairs,
            legacy: false,
        }
    }

    fn legacy_pair(&mut self, keyword: &str, text: &'l str) -> Shape {
        let (name, value) = lex::split_blank(text);
        let Some(value) = value else {
            self.diagnostics.push(
                Diagnostic::error(
                    "missing-value",
                    self.line.span_of(name),
                    format!("`{keyword}` needs a value for `{name}`"),
                )
                .with_help(format!("write `{keyword} {name}=VALUE`")),
            );
            return Shape::Unknown;
        };
        let spanned = |part: &str| Spanned::new(part.to_owned(), self.line.span_of(part));
        Shape::Pairs {
            pairs: vec![(spanned(name), spanned(value))],
            legacy: true,
        }
    }

    fn healthcheck(&mut self, text: &'l str) -> Shape {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (kind, command) = (&text[..end], text[end..].trim_start());
        let json = match lex::json_array(command) {
            JsonArray::Strings(strings) => {
                Some(strings.iter().map(|string| self.spanned(string)).collect())
            }
            JsonArray::No => None,
            JsonArray::Mixed(element) => {
                self.not_strings(element);
                return Shape::Unknown;
            }
        };
        let spanned = |part: &str| Spanned::new(part.to_owned(), self.line.span_of(part));
        Shape::Healthcheck {
            kind: (!kind.is_empty()).then(|| spanned(kind)),
            json,
            command: spanned(command),
        }
    }

    fn spanned(&self, lexeme: &Lexeme<'_>) -> Spanned<String> {
        Spanned::new(
            lexeme.text.clone().into_owned(),
            self.line.span_of(lexeme.slice),
        )
    }

    /// Notes what a slice of the logical line is.
    fn mark(&mut self, kind: PartKind, slice: &str) {
        if slice.is_empty() {
            return;
        }
        let start = offset(slice.as_ptr() as usize - self.line.text().as_ptr() as usize);
        self.marks.push((kind, start, start + offset(slice.len())));
    }
}

/// The pieces of a logical line, each cut where one kind of part ends and the next begins.
pub(super) fn parts_of(line: &LogicalLine<'_>, marks: &[(PartKind, u32, u32)]) -> Vec<super::Part> {
    let mut parts = Vec::with_capacity(marks.len() * 2);
    for (in_text, span) in line.piece_spans() {
        let to_source = |at: u32| span.start + (at - in_text);
        let piece_end = in_text + span.len();
        let mut at = in_text;
        for (kind, start, end) in marks
            .iter()
            .filter(|(_, start, end)| *start < piece_end && *end > in_text)
        {
            let (start, end) = ((*start).max(in_text), (*end).min(piece_end));
            if at < start {
                parts.push(super::Part {
                    kind: PartKind::Blank,
                    span: Span::new(to_source(at), to_source(start)),
                });
            }
            parts.push(super::Part {
                kind: *kind,
                span: Span::new(to_source(start), to_source(end)),
            });
            at = end;
        }
        if at < piece_end {
            parts.push(super::Part {
                kind: PartKind::Blank,
                span: Span::new(to_source(at), to_source(piece_end)),
            });
        }
    }
    parts
}
