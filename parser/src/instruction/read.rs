//! Statement to typed instruction.

use super::flag::{Flags, Known};
use super::{Command, Env, Form, Instruction, Label, copy, flag, run};
use crate::diagnostic::{Diagnostic, Severity};
use crate::span::{Span, Spanned};
use crate::suggest::suggest;
use crate::syntax::{Shape, Statement};
use crate::word::Word;

/// Every instruction, in the order of the reference.
pub(crate) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Types a statement; `None` when it cannot be, with the reason among the diagnostics.
pub(crate) fn read(
    statement: &Statement,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Instruction> {
    let before = diagnostics.len();
    let mut reader = Reader {
        statement,
        escape,
        diagnostics,
    };
    let instruction = reader.instruction();
    let failed = diagnostics[before..].iter().any(Diagnostic::is_error);
    instruction.filter(|_| !failed)
}

/// What all the instructions need to read themselves.
pub(super) struct Reader<'a> {
    pub(super) statement: &'a Statement,
    pub(super) escape: char,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn instruction(&mut self) -> Option<Instruction> {
        if self.statement.arguments.shape == Shape::Unknown && self.statement.known.is_some() {
            return None;
        }
        match self.statement.known.unwrap_or_default() {
            "ADD" => copy::add(self).map(|add| Instruction::Add(Box::new(add))),
            "ARG" => self.arg(),
            "CMD" => Some(Instruction::Cmd(self.command())),
            "COPY" => copy::copy(self).map(|copy| Instruction::Copy(Box::new(copy))),
            "ENTRYPOINT" => Some(Instruction::Entrypoint(self.command())),
            "ENV" => self
                .pairs()
                .map(|(pairs, legacy)| Instruction::Env(Env { pairs, legacy })),
            "EXPOSE" => self.expose(),
            "FROM" => self.from(),
            "HEALTHCHECK" => self.healthcheck(),
            "LABEL" => self
                .pairs()
                .map(|(pairs, legacy)| Instruction::Label(Label { pairs, legacy })),
            "MAINTAINER" => self.one_word().map(Instruction::Maintainer),
            "ONBUILD" => self.onbuild(),
            "RUN" => Some(Instruction::Run(Box::new(run::run(self)))),
            "SHELL" => self.shell(),
            "STOPSIGNAL" => self.stop_signal(),
            "USER" => self.one_word().map(Instruction::User),
            "VOLUME" => self.volume(),
            "WORKDIR" => self.one_word().map(Instruction::Workdir),
            _ => self.unknown(),
        }
    }

    fn unknown(&mut self) -> Option<Instruction> {
        let keyword = &self.statement.keyword;
        if keyword.value.is_empty() {
            let message = "no instruction follows the line continuation";
            self.error("unknown-instruction", self.statement.span, message, None);
            return None;
        }
        let message = format!("unknown instruction `{}`", keyword.value);
        let bare = keyword
            .value
            .split(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let help = if bare.len() < keyword.value.len()
            && NAMES.iter().any(|name| name.eq_ignore_ascii_case(bare))
        {
            Some(format!(
                "the space after `{bare}` is not an ordinary one; type it anew"
            ))
        } else if keyword.value.starts_with("//") || keyword.value.starts_with("/*") {
            Some("comments begin with `#`".to_owned())
        } else if let Some(near) = suggest(&keyword.value, NAMES) {
            Some(format!("did you mean `{near}`?"))
        } else if looks_like_shell(&keyword.value) {
            Some("if this line belongs to the command above, end that line with the escape character".to_owned())
        } else {
            None
        };
        self.error("unknown-instruction", keyword.span, message, help);
        None
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let diagnostic = Diagnostic::error(code, span, message);
        self.diagnostics.push(Diagnostic { help, ..diagnostic });
    }

    pub(super) fn flags(&mut self, known: Known) -> Flags {
        flag::read(self.statement, known, self.escape, self.diagnostics)
    }

    /// Notes flags that `BuildKit` skips without a look: accepted, with a warning.
    pub(super) fn skipped_flags(&mut self) {
        let mut found = Vec::new();
        flag::read(self.statement, &[], self.escape, &mut found);
        self.diagnostics.extend(found.into_iter().map(as_warning));
    }

    pub(super) fn word(&self, text: &Spanned<String>) -> Word {
        Word::new(text.value.clone(), text.span, self.escape)
    }

    /// The arguments as words, whichever list form they are in.
    pub(super) fn words(&self) -> Vec<Word> {
        match &self.statement.arguments.shape {
            Shape::Words(words) | Shape::Json(words) => {
                words.iter().map(|word| self.word(word)).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn missing(&mut self, what: &str) {
        let name = self.statement.name();
        self.error(
            "missing-argument",
            self.statement.keyword.span,
            format!("`{name}` needs {what}"),
            None,
        );
    }

    pub(super) fn some_words(&mut self) -> Option<Vec<Word>> {
        self.flags(&[]);
        let words = self.words();
        if words.is_empty() {
            self.missing("at least one argument");
            return None;
        }
        Some(words)
    }

    /// The whole text as one word, of an instruction without flags.
    pub(super) fn one_word(&mut self) -> Option<Word> {
        self.flags(&[]);
        self.text_word()
    }

    pub(super) fn text_word(&mut self) -> Option<Word> {
        let text = &self.statement.arguments.text;
        if text.value.is_empty() {
            self.missing("an argument");
            return None;
        }
        Some(self.word(text))
    }

    /// `CMD` and `ENTRYPOINT`.
    fn command(&mut self) -> Command {
        self.flags(&[]);
        self.form()
    }

    /// The arguments as a command in one of its forms.
    pub(super) fn form(&self) -> Command {
        let arguments = &self.statement.arguments;
        let form = match &arguments.shape {
            Shape::Json(strings) => {
                Form::Exec(strings.iter().map(|string| string.value.clone()).collect())
            }
            _ => Form::Shell(arguments.text.value.clone()),
        };
        Command {
            form,
            span: arguments.text.span,
        }
    }

    fn shell(&mut self) -> Option<Instruction> {
        self.flags(&[]);
        let text = &self.statement.arguments.text;
        match &self.statement.arguments.shape {
            Shape::Json(strings) if !strings.is_empty() => {
                let words = strings.iter().map(|string| string.value.clone()).collect();
                Some(Instruction::Shell(Spanned::new(words, text.span)))
            }
            Shape::Text if !text.value.is_empty() => {
                let help = "write it like `SHELL [\"/bin/sh\", \"-c\"]`".to_owned();
                self.error(
                    "shell-not-json",
                    text.span,
                    "`SHELL` needs a JSON array of strings",
                    Some(help),
                );
                None
            }
            _ => {
                self.missing("at least one argument");
                None
            }
        }
    }

    fn volume(&mut self) -> Option<Instruction> {
        let words = self.some_words()?;
        let mut paths = Vec::with_capacity(words.len());
        for word in words {
            let trimmed = word.raw().trim();
            if trimmed.is_empty() {
                self.error(
                    "empty-volume",
                    word.span,
                    "a volume path cannot be empty",
                    None,
                );
                continue;
            }
            paths.push(Word::new(trimmed, word.span, self.escape));
        }
        Some(Instruction::Volume(paths))
    }
}

pub(super) fn as_warning(finding: Diagnostic) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        ..finding
    }
}

/// Words that often begin a command whose line above lacks its continuation.
fn looks_like_shell(word: &str) -> bool {
    const COMMON: [&str; 14] = [
        "&&", "||", "|", "apt-get", "apk", "cd", "curl", "echo", "mkdir", "pip", "rm", "set",
        "yum", "npm",
    ];
    COMMON.contains(&word) || word.starts_with("&&") || word.starts_with('-')
}
