//! The source, line by line: directives, comments, statements with their continuations and heredocs.

use super::statement::{cut, parts_of};
use super::{Part, PartKind, Shape, Statement, Tree};
use crate::diagnostic::Diagnostic;
use crate::directive::{Directives, Zone};
use crate::heredoc::{Marker, markers};
use crate::instruction::Heredoc;
use crate::line::{Line, Lines, LogicalLine, is_comment, without_continuation};
use crate::span::{Span, Spanned, offset};

/// What reading gives.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) directives: Directives,
    pub(crate) tree: Tree,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads a source into its tree.
pub(crate) fn read(source: &str, directives: Directives) -> Read {
    let mut reader = Reader {
        lines: Lines::new(source, 0),
        zone: Zone::default(),
        comments: Vec::new(),
        read: Read {
            directives,
            ..Read::default()
        },
    };
    if source.starts_with('\u{feff}') {
        let length = '\u{feff}'.len_utf8();
        reader.part(PartKind::ByteOrderMark, Span::new(0, offset(length)));
        reader.lines = Lines::new(source, length);
    }
    while let Some(line) = reader.lines.next() {
        reader.line(line);
    }
    reader.read
}

struct Reader<'s> {
    lines: Lines<'s>,
    zone: Zone,
    comments: Vec<Spanned<String>>,
    read: Read,
}

impl<'s> Reader<'s> {
    fn part(&mut self, kind: PartKind, span: Span) {
        if !span.is_empty() {
            self.read.tree.parts.push(Part { kind, span });
        }
    }

    /// A line that begins outside any statement.
    fn line(&mut self, line: Line<'s>) {
        let content = line.content();
        let stripped = content.trim_start();
        let start = line.start + offset(content.len() - stripped.len());
        let end = line.start + offset(content.len());
        self.part(PartKind::Blank, Span::new(line.start, start));
        if stripped.starts_with('#') {
            let span = Span::new(start, end);
            let is_directive = self.zone.comment(
                stripped,
                span,
                &mut self.read.directives,
                &mut self.read.diagnostics,
            );
            self.part(
                if is_directive {
                    PartKind::Directive
                } else {
                    PartKind::Comment
                },
                span,
            );
            if !is_directive {
                self.comment(stripped, start);
            }
        } else {
            self.zone.close();
            if !stripped.is_empty() {
                self.statement(line, stripped, start);
                return;
            }
        }
        self.part(PartKind::Blank, Span::new(end, line.span().end));
    }

    /// Remembers a comment for the statement below; an empty one forgets those above.
    fn comment(&mut self, text: &str, start: u32) {
        let inside = &text[1..];
        let trimmed = inside.trim();
        if trimmed.is_empty() {
            self.comments.clear();
            return;
        }
        let at = start + 1 + offset(inside.len() - inside.trim_start().len());
        self.comments.push(Spanned::new(
            trimmed.to_owned(),
            Span::new(at, at + offset(trimmed.len())),
        ));
    }

    fn statement(&mut self, first: Line<'s>, stripped: &'s str, start: u32) {
        let escape = self.read.directives.escape;
        let body = without_continuation(stripped, escape);
        let kept = body.unwrap_or(stripped);
        let mut line = LogicalLine::new(kept, start);
        let mut empty_line = None;
        let rest = Span::new(start + offset(kept.len()), first.span().end);
        let kind = if body.is_some() {
            PartKind::Continuation
        } else {
            PartKind::Blank
        };
        let mut between = vec![Part { kind, span: rest }];
        if body.is_some() {
            self.continuations(&mut line, &mut between, &mut empty_line);
        }
        let cut = cut(&line, escape, &mut self.read.diagnostics);
        let mut statement = cut.statement;
        let mut parts = parts_of(&line, &cut.marks);
        parts.append(&mut between);
        parts.retain(|part| !part.span.is_empty());
        parts.sort_unstable_by_key(|part| part.span.start);
        self.read.tree.parts.append(&mut parts);
        statement.empty_line = empty_line;
        statement.comments = std::mem::take(&mut self.comments);
        self.heredocs(&line, &mut statement);
        self.read.tree.statements.push(statement);
    }

    fn continuations(
        &mut self,
        line: &mut LogicalLine<'s>,
        between: &mut Vec<Part>,
        empty_line: &mut Option<Span>,
    ) {
        let escape = self.read.directives.escape;
        for next in self.lines.by_ref() {
            let content = next.content();
            let end = next.start + offset(content.len());
            if is_comment(next.raw) {
                let indent = offset(content.len() - content.trim_start().len());
                for (kind, start, end) in [
                    (PartKind::Blank, next.start, next.start + indent),
                    (PartKind::Comment, next.start + indent, end),
                    (PartKind::Blank, end, next.span().end),
                ] {
                    between.push(Part {
                        kind,
                        span: Span::new(start, end),
                    });
                }
                continue;
            }
            if content.trim_start().is_empty() {
                empty_line.get_or_insert(Span::new(next.start, end));
                between.push(Part {
                    kind: PartKind::Blank,
                    span: next.span(),
                });
                continue;
            }
            let body = without_continuation(content, escape);
            let kept = body.unwrap_or(content);
            line.push(kept, next.start);
            let kind = if body.is_some() {
                PartKind::Continuation
            } else {
                PartKind::Blank
            };
            between.push(Part {
                kind,
                span: Span::new(next.start + offset(kept.len()), next.span().end),
            });
            if body.is_none() {
                return;
            }
        }
    }

    /// Takes the bodies of the heredocs that the statement names.
    fn heredocs(&mut self, line: &LogicalLine<'_>, statement: &mut Statement) {
        if !may_have_heredocs(statement) {
            return;
        }
        let mut heredocs = Vec::new();
        for (marker, start, end) in markers(line.text()) {
            let Some(heredoc) = self.body(marker, line.span(start, end)) else {
                break;
            };
            statement.span = statement.span.join(heredoc.content_span);
            heredocs.push(heredoc);
        }
        if let Some(part) = self.read.tree.parts.last()
            && part.kind == PartKind::HeredocEnd
        {
            let line = part.span.text(self.lines.source());
            statement.span.end =
                part.span.start + offset(line.trim_end_matches(['\r', '\n']).len());
        }
        if let Some(child) = &mut statement.child {
            child.span.end = statement.span.end;
            child.heredocs.clone_from(&heredocs);
        }
        statement.heredocs = heredocs;
    }

    /// The lines up to the delimiter; `None` when it does not come.
    fn body(&mut self, marker: Marker, span: Span) -> Option<Heredoc> {
        let mut content_span = None;
        let mut near_miss = None;
        while let Some(line) = self.lines.next() {
            let all = content_span.get_or_insert(Span::at(line.start));
            let bare = line.raw.trim_end_matches(['\r', '\n']);
            let bare = if marker.strip_tabs {
                bare.trim_start_matches('\t')
            } else {
                bare
            };
            if bare == marker.name {
                let content_span = *all;
                self.part(PartKind::HeredocBody, content_span);
                self.part(PartKind::HeredocEnd, line.span());
                return Some(Heredoc {
                    name: marker.name,
                    fd: marker.fd,
                    content: content_span.text(self.lines.source()).to_owned(),
                    expand: marker.expand,
                    strip_tabs: marker.strip_tabs,
                    span,
                    content_span,
                });
            }
            if near_miss.is_none() && line.raw.trim() == marker.name {
                near_miss = Some(line);
            }
            all.end = line.span().end;
        }
        if let Some(rest) = content_span {
            self.part(PartKind::HeredocBody, rest);
        }
        let help = match near_miss {
            Some(line) => format!(
                "line {} is no end: `{}` must stand alone at the start of a line{}",
                self.lines.source()[..line.start as usize]
                    .matches('\n')
                    .count()
                    + 1,
                marker.name,
                if marker.strip_tabs {
                    ", after tabs only"
                } else {
                    "; after `<<-` tabs may precede it"
                },
            ),
            None => format!(
                "end it with a line that is `{}` and nothing else",
                marker.name
            ),
        };
        self.read.diagnostics.push(
            Diagnostic::error(
                "unterminated-heredoc",
                span,
                format!("heredoc `{}` does not end", marker.name),
            )
            .with_help(help),
        );
        None
    }
}

/// `ADD`, `COPY` and `RUN` take heredocs, also below `ONBUILD`, and not in the JSON form.
fn may_have_heredocs(statement: &Statement) -> bool {
    let statement = statement.child.as_deref().unwrap_or(statement);
    matches!(statement.known, Some("ADD" | "COPY" | "RUN"))
        && !matches!(statement.arguments.shape, Shape::Json(_))
}
