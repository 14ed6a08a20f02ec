//! `# syntax=`, `# escape=`, `# check=`: comments at the very top that change how the rest is read.

use nom::bytes::complete::take_while;
use nom::character::complete::{char, satisfy};
use nom::combinator::recognize;
use nom::error::ErrorKind;
use nom::{IResult, Parser};

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned, offset};

/// The parser directives of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: accepted as written, never fetched.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`: backslash or backtick.
    pub escape: char,
    /// `# check=`: what the lint skips, and whether its findings are errors.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            syntax: None,
            escape: '\\',
            check: None,
        }
    }
}

/// The zone at the top of a file in which comments can be directives.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    closed: bool,
    /// A `#!` line was first; after it only `syntax` and `check` still count.
    shebang: bool,
    begun: bool,
    seen: Vec<&'static str>,
}

impl Zone {
    /// Anything but a directive ends the zone.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Looks at a comment line, without its indent; whether it was a directive.
    pub(crate) fn comment(
        &mut self,
        line: &str,
        span: Span,
        directives: &mut Directives,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let first = !std::mem::replace(&mut self.begun, true);
        if self.closed {
            return false;
        }
        if first && line.starts_with("#!") {
            self.shebang = true;
            return false;
        }
        let Ok((_, (name, value))) = directive(line) else {
            self.close();
            return false;
        };
        let Some(name) = ["syntax", "escape", "check"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
        else {
            self.close();
            return false;
        };
        let at = span.start + offset(value.as_ptr() as usize - line.as_ptr() as usize);
        let value = Spanned::new(value.to_owned(), Span::new(at, at + offset(value.len())));
        if self.seen.contains(&name) {
            diagnostics.push(
                Diagnostic::error(
                    "duplicate-directive",
                    span,
                    format!("directive `{name}` is given twice"),
                )
                .with_help("keep one of them"),
            );
            return true;
        }
        self.seen.push(name);
        match name {
            "syntax" => directives.syntax = Some(value),
            "check" => directives.check = Some(value),
            _ if self.shebang => return false,
            _ => match value.value.as_str() {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                other => diagnostics.push(
                    Diagnostic::error(
                        "bad-escape-directive",
                        value.span,
                        format!("`{other}` cannot be the escape character"),
                    )
                    .with_help("only a backslash or a backtick can"),
                ),
            },
        }
        true
    }
}

/// `# name = value`.
fn directive(line: &str) -> IResult<&str, (&str, &str)> {
    let blank = || take_while(|c: char| matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}'));
    let letter = satisfy(|c| c.is_ascii_alphabetic());
    let name = recognize((letter, take_while(|c: char| c.is_ascii_alphanumeric())));
    let (value, (_, _, name, _, _, _)) = (
        char('#'),
        take_while(char::is_whitespace),
        name,
        blank(),
        char('='),
        blank(),
    )
        .parse(line)?;
    let value = value.trim_end_matches([' ', '\t', '\r', '\n', '\u{c}']);
    if value.is_empty() {
        return Err(nom::Err::Error(nom::error::Error::new(
            value,
            ErrorKind::NonEmpty,
        )));
    }
    Ok(("", (name, value)))
}
