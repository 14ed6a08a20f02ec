//! The lower part of the screen that is drawn again and again.
//!
//! A frame is one write: up to where the last one began, each line anew with what follows it erased, then the rest of the screen erased.
//! Nothing flickers, and nothing has to be restored when the process ends: the cursor always stands below the frame.

use std::fmt::Write;
use std::io;

use rustix::termios::tcgetwinsize;

use super::text::{fit, width};
use crate::printer::{Printer, Style};

/// A line of a frame: its left part gives way when there is no room.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub(super) left: String,
    pub(super) right: String,
    pub(super) style: Option<Style>,
}

impl Line {
    pub(super) fn new(left: impl Into<String>, right: impl Into<String>) -> Self {
        Self {
            left: left.into(),
            right: right.into(),
            style: None,
        }
    }

    pub(super) fn styled(mut self, style: Style) -> Self {
        self.style = Some(style);
        self
    }

    /// The text for so many columns, and the columns it takes.
    fn text(&self, columns: usize) -> (String, usize) {
        if self.right.is_empty() {
            let left = fit(&self.left, columns);
            return (left.to_owned(), width(left));
        }
        let room = columns.saturating_sub(width(&self.right) + 1);
        let left = fit(&self.left, room);
        let gap = room - width(left) + 1;
        let text = format!("{left}{}{}", " ".repeat(gap), self.right);
        let taken = width(&text);
        (text, taken)
    }
}

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Live {
    printer: Printer,
    /// Widths of the lines of the last frame.
    drawn: Vec<usize>,
}

impl Live {
    pub(super) const fn new(printer: Printer) -> Self {
        Self {
            printer,
            drawn: Vec::new(),
        }
    }

    /// Columns and rows of the terminal.
    pub(super) fn size() -> (usize, usize) {
        let known = tcgetwinsize(io::stderr()).ok();
        let size = known.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        })
    }

    /// Draws `done`, which stays, and below it `frame`, which the next call replaces.
    pub(super) fn draw(&mut self, done: &[Line], frame: &[Line]) {
        let (columns, _) = Self::size();
        // A terminal wraps at its last column; one column stays free.
        let usable = columns.saturating_sub(1).max(1);
        let mut out = String::new();
        let up = rows(&self.drawn, columns);
        if up > 0 {
            let _ = write!(out, "\r\x1b[{up}A");
        }
        self.drawn.clear();
        for (index, line) in done.iter().chain(frame).enumerate() {
            let (text, taken) = line.text(usable);
            match line.style {
                Some(style) => out.push_str(&self.printer.paint(style, &text)),
                None => out.push_str(&text),
            }
            out.push_str("\x1b[K\n");
            if index >= done.len() {
                self.drawn.push(taken);
            }
        }
        out.push_str("\x1b[J");
        self.printer.raw(&out);
    }

    /// Takes the frame away.
    pub(super) fn clear(&mut self) {
        if !self.drawn.is_empty() {
            self.draw(&[], &[]);
        }
    }
}

/// Rows that lines take on a terminal which may have become narrower since they were drawn.
fn rows(widths: &[usize], columns: usize) -> usize {
    widths
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_part_keeps_its_place() {
        let line = Line::new("a long name", "1.0s");
        assert_eq!(line.text(20).0, "a long name     1.0s");
        assert_eq!(line.text(10).0, "a lon 1.0s");
        assert_eq!(Line::new("日本語", "1s").text(8).0, "日本  1s");
        assert_eq!(Line::new("abc", "").text(2), ("ab".to_owned(), 2));
    }

    #[test]
    fn a_narrower_terminal_has_more_rows() {
        assert_eq!(rows(&[79, 0, 40], 80), 3);
        assert_eq!(rows(&[79, 0, 40], 40), 4);
        assert_eq!(rows(&[], 40), 0);
    }
}
