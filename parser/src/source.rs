//! Lines and columns of a source, found on demand.

use std::cell::Cell;

use crate::span::{Span, offset};

/// A place as people count it: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Line and column of a byte offset of `source`.
///
/// ```
/// use rbuild_parser::{LineColumn, line_column};
///
/// assert_eq!(line_column("é\nab", 4), LineColumn { line: 2, column: 2 });
/// ```
pub fn line_column(source: &str, at: u32) -> LineColumn {
    LineIndex::new(source).line_column(at)
}

/// The starts of all lines, for many look-ups in one source.
#[derive(Debug, Clone)]
pub struct LineIndex<'s> {
    source: &'s str,
    starts: Vec<u32>,
    /// Every character is one byte, so that columns need no counting.
    ascii: bool,
    /// The last answer: an offset and its place. Most questions come in order, and columns are
    /// counted on from it; so even one very long line is counted only once.
    last: Cell<(usize, LineColumn)>,
}

impl<'s> LineIndex<'s> {
    /// Looks through the source once.
    pub fn new(source: &'s str) -> Self {
        let after = source
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| offset(at + 1));
        Self {
            source,
            starts: std::iter::once(0).chain(after).collect(),
            ascii: source.is_ascii(),
            last: Cell::new((0, LineColumn { line: 1, column: 1 })),
        }
    }

    /// Line and column of a byte offset; past the end, those of the end.
    pub fn line_column(&self, at: u32) -> LineColumn {
        let mut end = (at as usize).min(self.source.len());
        while !self.source.is_char_boundary(end) {
            end -= 1;
        }
        let line = self
            .starts
            .partition_point(|start| *start as usize <= end)
            .max(1);
        let start = self.starts[line - 1] as usize;
        if self.ascii {
            return LineColumn {
                line,
                column: end - start + 1,
            };
        }
        let (from, before) = match self.last.get() {
            (offset, place) if place.line == line && (start..=end).contains(&offset) => {
                (offset, place.column)
            }
            _ => (start, 1),
        };
        let column = before
            + self.source[from..end]
                .chars()
                .filter(|c| *c != '\u{feff}')
                .count();
        let place = LineColumn { line, column };
        self.last.set((end, place));
        place
    }

    /// The span of a line, counted from 1, without its line end.
    pub fn line_span(&self, line: usize) -> Span {
        let Some(start) = line.checked_sub(1).and_then(|index| self.starts.get(index)) else {
            return Span::at(offset(self.source.len()));
        };
        let end = self
            .starts
            .get(line)
            .map_or(self.source.len(), |next| *next as usize);
        let text = &self.source[*start as usize..end];
        Span::new(
            *start,
            *start + offset(text.trim_end_matches(['\r', '\n']).len()),
        )
    }
}

/// Turns the bytes of a file into the text to be parsed.
///
/// Every byte that is not UTF-8 becomes one U+FFFD. The second value is the offset of the first
/// such byte, so that a caller can warn.
pub fn decode(bytes: &[u8]) -> (String, Option<usize>) {
    let mut text = String::with_capacity(bytes.len());
    let mut first_bad = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first_bad.get_or_insert(text.len());
        }
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    (text, first_bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let source = "\u{feff}a\n\nbé\r\nc";
        for (at, line, column) in [
            (3, 1, 1),
            (4, 1, 2),
            (5, 2, 1),
            (6, 3, 1),
            (9, 3, 3),
            (11, 4, 1),
            (99, 4, 2),
            (8, 3, 2),
        ] {
            assert_eq!(line_column(source, at), LineColumn { line, column }, "{at}");
        }
        let index = LineIndex::new(source);
        assert_eq!(index.line_span(3).text(source), "bé");
        assert!(index.line_span(9).is_empty());
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced_one_by_one() {
        assert_eq!(decode(b"ab"), ("ab".to_owned(), None));
        assert_eq!(
            decode(b"a\xe9\xffb"),
            ("a\u{fffd}\u{fffd}b".to_owned(), Some(1))
        );
    }
}
