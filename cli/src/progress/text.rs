//! Foreign output as lines that cannot disturb the screen.

use unicode_width::UnicodeWidthChar;

/// The longest line that is kept; a program may write without ever ending its line.
const LINE_LIMIT: usize = 16 << 10;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes and hands out the lines that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', head)) => {
                    self.keep(head);
                    line(&clean(&self.rest));
                    self.rest.clear();
                }
                _ => self.keep(piece),
            }
        }
    }

    /// The last line, which has no end.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            line(&clean(&self.rest));
            self.rest.clear();
        }
    }

    /// What is there of the line that has not ended.
    pub(crate) fn partial(&self) -> Option<String> {
        let text = clean(&self.rest);
        (!text.is_empty()).then_some(text)
    }

    fn keep(&mut self, bytes: &[u8]) {
        // A carriage return starts the line again, as progress bars do; one at the very end belongs to the line's end.
        if let Some(at) = self.rest.iter().position(|byte| *byte == b'\r')
            && at + 1 < self.rest.len() + bytes.len().min(1)
            && bytes.first() != Some(&b'\n')
            && !bytes.is_empty()
        {
            self.rest.drain(..=at);
        }
        let room = LINE_LIMIT.saturating_sub(self.rest.len());
        let mut bytes = bytes;
        if let Some(at) = bytes
            .get(..bytes.len().saturating_sub(1))
            .and_then(|head| head.iter().rposition(|byte| *byte == b'\r'))
        {
            self.rest.clear();
            bytes = &bytes[at + 1..];
        }
        self.rest.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Whole output as clean lines.
pub(crate) fn clean_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut cutter = Lines::default();
    cutter.push(bytes, |line| lines.push(line.to_owned()));
    cutter.finish(|line| lines.push(line.to_owned()));
    lines
}

/// Text without escape sequences and control characters; tabs are eight spaces.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // A control sequence ends with a letter or one of a few signs.
                Some('[') => {
                    for c in chars.by_ref() {
                        if ('\x40'..='\x7e').contains(&c) {
                            break;
                        }
                    }
                }
                // An operating system command ends with BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' {
                            break;
                        }
                        if c == '\x1b' {
                            chars.next();
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push_str("        "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Columns that a text takes on the screen.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The beginning of a text that fits into `columns`.
pub(crate) fn fit(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], want: &[&str]) {
        let mut lines = Vec::new();
        let mut cutter = Lines::default();
        for piece in pieces {
            cutter.push(piece.as_bytes(), |line| lines.push(line.to_owned()));
        }
        cutter.finish(|line| lines.push(line.to_owned()));
        assert_eq!(lines, want, "{pieces:?}");
    }

    #[test]
    fn pieces_become_lines() {
        check(&["a\nb", "c\n"], &["a", "bc"]);
        check(&["", "a"], &["a"]);
        check(&["a\n\nb\n"], &["a", "", "b"]);
        check(&["a\r\nb\r", "\nc"], &["a", "b", "c"]);
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        check(&["10%\r50%\r100%\n"], &["100%"]);
        check(&["10%\r", "50%\r", "100%", "\n"], &["100%"]);
    }

    #[test]
    fn nothing_foreign_reaches_the_terminal() {
        check(&["\x1b[31mred\x1b[0m\x07\x1b]0;title\x07!\n"], &["red!"]);
        check(&["a\tb\x08\n"], &["a        b"]);
        check(&["\x1b]0;title\x1b\\x\n"], &["x"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 1000], |_| panic!("no line ends here"));
        }
        assert_eq!(lines.partial().map(|text| text.len()), Some(LINE_LIMIT));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("日本"), 4);
        assert_eq!(fit("日本語", 5), "日本");
        assert_eq!(fit("abc", 5), "abc");
    }
}
