//! The flags of an instruction: known names, one value each, "did you mean".

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned, offset};
use crate::suggest::suggest;
use crate::syntax::Statement;
use crate::word::Word;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `true` or `false`.
    Switch,
    /// One value, once.
    Value,
    /// A value each time.
    Values,
}

/// The names an instruction knows.
pub(super) type Known = &'static [(&'static str, Kind)];

/// The flags given to one instruction.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<Given>,
    escape: char,
}

#[derive(Debug)]
struct Given {
    name: &'static str,
    value: Spanned<String>,
}

/// Reads the flags of a statement.
pub(super) fn read(
    statement: &Statement,
    known: Known,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Flags {
    let mut flags = Flags {
        given: Vec::with_capacity(statement.flags.len()),
        escape,
    };
    for flag in &statement.flags {
        match one(flag, known, &flags, statement.name()) {
            Ok(given) => flags.given.push(given),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    flags
}

fn one(
    flag: &Spanned<String>,
    known: Known,
    before: &Flags,
    instruction: &str,
) -> Result<Given, Diagnostic> {
    let bare = flag.value.strip_prefix("--").unwrap_or(&flag.value);
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (bare, None),
    };
    let exact = flag.span.len() as usize == flag.value.len();
    let part = |start: usize, end: usize| {
        if exact {
            Span::new(
                flag.span.start + offset(start),
                flag.span.start + offset(end),
            )
        } else {
            flag.span
        }
    };
    let name_span = part(0, flag.value.len() - bare.len() + name.len());
    let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
        let message = format!("unknown flag `--{name}` of `{instruction}`");
        let diagnostic = Diagnostic::error("unknown-flag", name_span, message);
        return Err(match suggest(name, known.iter().map(|(known, _)| *known)) {
            Some(near) => diagnostic.with_help(format!("did you mean `--{near}`?")),
            None if known.is_empty() => {
                diagnostic.with_help(format!("`{instruction}` takes no flags"))
            }
            None => diagnostic.with_help(format!("it takes {}", list(known))),
        });
    };
    if *kind != Kind::Values && before.given.iter().any(|given| given.name == *name) {
        return Err(Diagnostic::error(
            "duplicate-flag",
            name_span,
            format!("flag `--{name}` is given twice"),
        ));
    }
    let value = match (kind, value) {
        (Kind::Switch, None) => "true".to_owned(),
        (Kind::Switch, Some(text))
            if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") =>
        {
            text.to_ascii_lowercase()
        }
        (Kind::Switch, Some(text)) => {
            let message = format!("flag `--{name}` takes `true` or `false`, not `{text}`");
            return Err(Diagnostic::error("flag-not-boolean", flag.span, message));
        }
        (_, None) => {
            let message = format!("flag `--{name}` needs a value");
            return Err(
                Diagnostic::error("flag-without-value", name_span, message).with_help(format!(
                    "write `--{name}=VALUE`; a value after a blank is not read"
                )),
            );
        }
        (_, Some(text)) => text.to_owned(),
    };
    let span = part(
        flag.value.len() - value.len().min(flag.value.len()),
        flag.value.len(),
    );
    Ok(Given {
        name,
        value: Spanned::new(value, span),
    })
}

fn list(known: Known) -> String {
    known
        .iter()
        .map(|(name, _)| format!("`--{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Flags {
    /// Whether a switch is on; `None` when it is not given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.all(name).next().map(|value| value.value == "true")
    }

    /// The value of a flag; an empty one counts as not given.
    pub(super) fn text<'a>(&'a self, name: &'a str) -> Option<&'a Spanned<String>> {
        self.all(name)
            .next()
            .filter(|value| !value.value.is_empty())
    }

    /// The value of a flag as a word to be expanded.
    pub(super) fn word(&self, name: &str) -> Option<Word> {
        self.text(name).map(|value| self.to_word(value))
    }

    /// The values of a repeatable flag as words.
    pub(super) fn words(&self, name: &str) -> Vec<Word> {
        self.all(name).map(|value| self.to_word(value)).collect()
    }

    /// The values of a repeatable flag.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Spanned<String>> {
        self.given
            .iter()
            .filter(move |given| given.name == name)
            .map(|given| &given.value)
    }

    fn to_word(&self, value: &Spanned<String>) -> Word {
        Word::new(value.value.clone(), value.span, self.escape)
    }
}
