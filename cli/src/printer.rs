//! The only place that writes to standard output and standard error.
//!
//! Standard output carries what a script wants; everything for people goes to standard error.

use std::io::{self, IsTerminal, Write};

use crate::exit::{Exit, Failure, Outcome};

/// A colour or weight of text on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Errors.
    Error,
    /// Warnings.
    Warning,
    /// Hints.
    Hint,
    /// Things that are done.
    Good,
    /// Things of less weight.
    Dim,
    /// Names.
    Bold,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warning => "\x1b[1;33m",
            Self::Hint => "\x1b[1;36m",
            Self::Good => "\x1b[32m",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }
}

/// Writes for the user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    colour: bool,
    terminal: bool,
}

impl Printer {
    /// A printer for this process's streams. `NO_COLOR` (not empty) and `TERM=dumb` switch colour off.
    pub(crate) fn new() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let terminal = io::stderr().is_terminal();
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        Self {
            colour: terminal && !dumb && variable("NO_COLOR").is_none(),
            terminal: terminal && !dumb,
        }
    }

    /// Whether standard error is a terminal that understands cursor movements.
    pub(crate) const fn is_terminal(self) -> bool {
        self.terminal
    }

    /// `text` in a style, where colours are wanted.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{}{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    /// A line on standard output. When nobody reads it any more, the command ends quietly.
    pub(crate) fn line(self, text: &str) -> Outcome<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Bytes on standard output.
    #[expect(clippy::unused_self, reason = "only who has a printer may print")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Outcome<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::silent(Exit::Done),
                _ => Failure::io("cannot write to standard output", &error),
            })
    }

    /// Text on standard error, as it is. That nobody reads it is no reason to stop.
    #[expect(clippy::unused_self, reason = "only who has a printer may print")]
    pub(crate) fn raw(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// A line on standard error.
    pub(crate) fn note(self, text: &str) {
        self.raw(&format!("{text}\n"));
    }

    /// A warning.
    pub(crate) fn warning(self, text: &str) {
        self.note(&format!(
            "{} {text}",
            self.paint(Style::Warning, "warning:")
        ));
    }

    /// A hint.
    pub(crate) fn hint(self, text: &str) {
        self.note(&format!("{} {text}", self.paint(Style::Hint, "hint:")));
    }

    /// A failure: what, why, what to do.
    pub(crate) fn failure(self, failure: &Failure) {
        if !failure.message.is_empty() {
            let mut text = format!(
                "{} {}\n",
                self.paint(Style::Error, "error:"),
                failure.message
            );
            for cause in &failure.causes {
                text.extend(["  caused by: ", cause, "\n"]);
            }
            self.raw(&text);
        }
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }
}

/// A table: columns as wide as their widest cell, three spaces between them.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut push = |cells: &[&str]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            line.push_str(cell);
            if index + 1 < cells.len() {
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 3));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    push(header);
    for row in rows {
        push(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}
