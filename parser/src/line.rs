//! Physical lines joined to logical ones, with a way back to the source.
//!
//! A logical line is an instruction with its continuations: escape characters at line ends
//! dropped, comments and empty lines in between dropped, nothing put in their place.

use std::borrow::Cow;

use crate::span::{Span, offset};

/// An instruction with its continuation lines joined, as one text.
///
/// Joining drops bytes, so the text has its own offsets; `pieces` leads them back.
#[derive(Debug, Clone)]
pub(crate) struct LogicalLine<'s> {
    text: Cow<'s, str>,
    /// In rising order of both offsets; the first piece begins at text offset 0.
    pieces: Vec<Piece>,
    /// Where an empty text stands.
    start: u32,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    in_text: u32,
    in_source: u32,
}

impl<'s> LogicalLine<'s> {
    /// A line of one piece.
    pub(crate) fn new(text: &'s str, in_source: u32) -> Self {
        Self {
            text: Cow::Borrowed(text),
            pieces: vec![Piece {
                in_text: 0,
                in_source,
            }],
            start: in_source,
        }
    }

    /// Appends a further piece.
    pub(crate) fn push(&mut self, text: &str, in_source: u32) {
        if text.is_empty() {
            return;
        }
        let in_text = offset(self.text.len());
        if in_text == 0 {
            self.pieces.clear();
        }
        self.pieces.push(Piece { in_text, in_source });
        self.text.to_mut().push_str(text);
    }

    /// The joined text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The spans of the pieces, in order.
    pub(crate) fn piece_spans(&self) -> impl Iterator<Item = (u32, Span)> + '_ {
        let ends = self
            .pieces
            .iter()
            .skip(1)
            .map(|next| next.in_text)
            .chain([offset(self.text.len())]);
        self.pieces.iter().zip(ends).map(|(piece, end)| {
            (
                piece.in_text,
                Span::new(piece.in_source, piece.in_source + (end - piece.in_text)),
            )
        })
    }

    /// Where `fragment`, a slice of [`Self::text`], stands in the source.
    pub(crate) fn span_of(&self, fragment: &str) -> Span {
        let start = (fragment.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.span(start, start + fragment.len())
    }

    /// Where the bytes `start..end` of [`Self::text`] stand in the source.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        let first = self.physical(offset(start));
        if start >= end {
            return Span::at(first);
        }
        Span::new(first, self.physical(offset(end) - 1) + 1)
    }

    fn physical(&self, in_text: u32) -> u32 {
        let after = self
            .pieces
            .partition_point(|piece| piece.in_text <= in_text);
        match after
            .checked_sub(1)
            .and_then(|index| self.pieces.get(index))
        {
            Some(piece) => piece.in_source + (in_text - piece.in_text),
            None => self.start,
        }
    }
}

/// The text without the continuation mark at its end, when it has one.
///
/// The mark is an escape character that is the last thing but blanks and tabs,
/// and not itself escaped.
pub(crate) fn without_continuation(line: &str, escape: char) -> Option<&str> {
    let body = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!body.ends_with(escape)).then_some(body)
}

/// Whether the line is nothing but a comment.
pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The lines of a source, each with its line end.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'s> {
    source: &'s str,
    position: usize,
}

/// A physical line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'s> {
    /// With its line end.
    pub(crate) raw: &'s str,
    /// Where it begins.
    pub(crate) start: u32,
}

impl<'s> Line<'s> {
    /// The line without its line end, which may be any run of `\r` and `\n`.
    pub(crate) fn content(self) -> &'s str {
        self.raw.trim_end_matches(['\r', '\n'])
    }

    /// The whole line, line end included.
    pub(crate) fn span(self) -> Span {
        Span::new(self.start, self.start + offset(self.raw.len()))
    }
}

impl<'s> Lines<'s> {
    /// The lines from byte `position` on.
    pub(crate) fn new(source: &'s str, position: usize) -> Self {
        Self { source, position }
    }

    /// The whole source.
    pub(crate) fn source(&self) -> &'s str {
        self.source
    }
}

impl<'s> Iterator for Lines<'s> {
    type Item = Line<'s>;

    fn next(&mut self) -> Option<Line<'s>> {
        let rest = self
            .source
            .get(self.position..)
            .filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let line = Line {
            raw: &rest[..length],
            start: offset(self.position),
        };
        self.position += length;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_is_an_unescaped_escape_at_the_end() {
        for (line, want) in [
            ("a \\", Some("a ")),
            ("a \\ \t", Some("a ")),
            ("\\", Some("")),
            ("a \\\\", None),
            ("a \\\\\\", None),
            ("a", None),
            ("", None),
            ("a `", None),
        ] {
            assert_eq!(without_continuation(line, '\\'), want, "{line}");
        }
        assert_eq!(without_continuation("a `", '`'), Some("a "));
    }

    #[test]
    fn spans_lead_back_through_joins() {
        let source = "RUN a \\\n# c\n  bé\n";
        let mut line = LogicalLine::new("RUN a ", 0);
        line.push("  bé", 12);
        assert_eq!(line.text(), "RUN a   bé");
        let word = &line.text()[8..];
        assert_eq!(line.span_of(word).text(source), "bé");
        assert_eq!(line.span(4, 11).text(source), "a \\\n# c\n  bé");
        assert_eq!(line.span(4, 4), Span::at(4));
    }
}
