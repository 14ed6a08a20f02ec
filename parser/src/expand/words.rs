//! Words, collected while a text is read.

use super::Piece;

/// Collects words; white space ends one unless it was quoted or escaped.
#[derive(Default)]
pub(super) struct Words {
    pub(super) done: Vec<Piece>,
    current: Piece,
}

impl Words {
    pub(super) fn literal(&mut self, text: &str, start: usize, end: usize) {
        if self.current.text.is_empty() {
            self.current.start = start;
        }
        self.current.text.push_str(text);
        self.current.end = end;
    }

    pub(super) fn split(&mut self, text: &str, start: usize, end: usize) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.finish();
            } else {
                self.literal(c.encode_utf8(&mut [0; 4]), start, end);
            }
        }
    }

    /// Forgets the word begun when a substitution with an argument came in the middle of it.
    ///
    /// `BuildKit` splits `a${b:-c}` into the one word `c`; only `EXPOSE` is split after expansion,
    /// and must give the same ports here.
    pub(super) fn restart_if(&mut self, argument: bool) {
        if argument {
            self.current = Piece::default();
        }
    }

    pub(super) fn finish(&mut self) {
        if !self.current.text.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}
