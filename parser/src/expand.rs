//! Variables, quotes and escapes of a word, by the rules of the shell subset that Dockerfiles have.
//!
//! One lexer serves expansion, word splitting, and the search for heredoc markers; what differs
//! is in [`Options`]. Pure: values come from a function, names used and missed are reported.

mod glob;
mod substitute;
mod words;

use words::Words;

/// How a text is read.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent switches, each named where it is set"
)]
pub(crate) struct Options {
    /// The character that takes the next one literally.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub(crate) ignore_quotes: bool,
    /// A variable without value stays as written.
    pub(crate) keep_unset: bool,
}

impl Options {
    /// Ordinary expansion.
    pub(crate) fn word(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            keep_unset: false,
        }
    }
}

/// What a text became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The whole text.
    pub(crate) text: String,
    /// The text split at white space that is not quoted.
    pub(crate) words: Vec<Piece>,
    /// Names that had a value.
    pub(crate) used: Vec<String>,
    /// Names that had none.
    pub(crate) missed: Vec<String>,
    /// Those of them for whose absence the text provides nothing.
    pub(crate) undefined: Vec<String>,
}

/// A word of the result, and the bytes of the input that it was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its text.
    pub(crate) text: String,
    /// First byte in the input.
    pub(crate) start: usize,
    /// Past the last byte in the input.
    pub(crate) end: usize,
}

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Stable name of the kind.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// First byte of the guilty part of the input.
    pub(crate) start: usize,
    /// Past its last byte.
    pub(crate) end: usize,
}

/// How deep `${a:-${b:-…}}` may nest; far beyond use, and well within any stack.
const DEPTH: usize = 64;

/// Expands `input`.
pub(crate) fn expand(
    input: &str,
    options: Options,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Outcome, Failure> {
    let mut lexer = Lexer {
        input,
        position: 0,
        options,
        lookup,
        depth: 0,
        used: Vec::new(),
        missed: Vec::new(),
        undefined: Vec::new(),
        arguments: 0,
    };
    let escapes = if options.raw_escapes {
        Escapes::Kept
    } else {
        Escapes::Dropped
    };
    let (text, words) = lexer.until(None, escapes)?;
    Ok(Outcome {
        text,
        words,
        used: lexer.used,
        missed: lexer.missed,
        undefined: lexer.undefined,
    })
}

struct Lexer<'a> {
    input: &'a str,
    position: usize,
    options: Options,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
    used: Vec<String>,
    missed: Vec<String>,
    undefined: Vec<String>,
    /// How many arguments of substitutions have been begun.
    arguments: usize,
}

/// What becomes of an escape character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// It goes, and what it escapes stays.
    Dropped,
    /// It stays.
    Kept,
    /// It stays, and is doubled inside quotes, because the result is read again as a pattern.
    Pattern,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.input[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn failure(&self, code: &'static str, message: impl Into<String>, start: usize) -> Failure {
        Failure {
            code,
            message: message.into(),
            start,
            end: self.position.max(start),
        }
    }

    /// Reads up to `stop`, which is consumed, or to the end when there is none.
    ///
    /// `escapes` says what becomes of escape characters.
    fn until(
        &mut self,
        stop: Option<char>,
        escapes: Escapes,
    ) -> Result<(String, Vec<Piece>), Failure> {
        let begin = self.position;
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            let start = self.position;
            if stop == Some(c) {
                self.next();
                words.finish();
                return Ok((text, words.done));
            }
            match c {
                '\'' | '"' if !self.options.ignore_quotes => {
                    let before = self.arguments;
                    let quoted = if c == '"' {
                        self.double_quoted(escapes)?
                    } else {
                        self.single_quoted(escapes)?
                    };
                    words.restart_if(self.arguments != before);
                    words.literal(&quoted, start, self.position);
                    text.push_str(&quoted);
                }
                '$' => {
                    let before = self.arguments;
                    let value = self.dollar()?;
                    words.restart_if(self.arguments != before);
                    words.split(&value, start, self.position);
                    text.push_str(&value);
                }
                '<' => {
                    let marker = self.heredoc_marker();
                    words.literal(marker, start, self.position);
                    text.push_str(marker);
                }
                _ if c == self.options.escape => {
                    self.next();
                    if escapes != Escapes::Dropped {
                        words.literal(c.encode_utf8(&mut [0; 4]), start, self.position);
                        text.push(c);
                    }
                    let Some(escaped) = self.next() else { break };
                    words.literal(escaped.encode_utf8(&mut [0; 4]), start, self.position);
                    text.push(escaped);
                }
                _ => {
                    self.next();
                    words.split(c.encode_utf8(&mut [0; 4]), start, self.position);
                    text.push(c);
                }
            }
        }
        if let Some(stop) = stop {
            return Err(self.failure("bad-substitution", format!("`{stop}` is missing"), begin));
        }
        words.finish();
        Ok((text, words.done))
    }

    /// `<`, or `<<` with the blanks after it, which belong to the marker.
    fn heredoc_marker(&mut self) -> &'a str {
        let start = self.position;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r')) {
                self.next();
            }
        }
        &self.input[start..self.position]
    }

    fn single_quoted(&mut self, escapes: Escapes) -> Result<String, Failure> {
        let start = self.position;
        self.next();
        let Some(length) = self.input[self.position..].find('\'') else {
            self.position = self.input.len();
            return Err(self.failure("unclosed-quote", "single quote is not closed", start));
        };
        let inside = &self.input[self.position..self.position + length];
        self.position += length + 1;
        let escape = self.options.escape;
        let inside = if escapes == Escapes::Pattern {
            inside.replace(escape, &format!("{escape}{escape}"))
        } else {
            inside.to_owned()
        };
        Ok(if self.options.raw_quotes {
            format!("'{inside}'")
        } else {
            inside
        })
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, Failure> {
        let start = self.position;
        let escape = self.options.escape;
        let mut text = String::new();
        self.next();
        if self.options.raw_quotes {
            text.push('"');
        }
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    if self.options.raw_quotes {
                        text.push('"');
                    }
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ if c == escape => {
                    self.next();
                    match self.peek() {
                        Some(next) if next == '"' || next == '$' || next == escape => {
                            self.next();
                            if escapes != Escapes::Dropped {
                                text.push(c);
                            }
                            text.push(next);
                        }
                        Some(_) => {
                            let doubled = match escapes {
                                Escapes::Dropped => false,
                                Escapes::Kept => !self.options.raw_quotes,
                                Escapes::Pattern => true,
                            };
                            if doubled {
                                text.push(c);
                            }
                            text.push(c);
                        }
                        None => {}
                    }
                }
                _ => {
                    self.next();
                    text.push(c);
                }
            }
        }
        Err(self.failure("unclosed-quote", "double quote is not closed", start))
    }
}
