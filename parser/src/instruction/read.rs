//! Statement to typed instruction.

use super::flag::{Flags, Kind, Known};
use super::{
    Arg, ArgItem, Command, Env, Form, From, Healthcheck, HealthcheckTest, Instruction, Label,
    Onbuild, Pair, copy, flag, run,
};
use crate::diagnostic::{Diagnostic, Severity};
use crate::duration;
use crate::port;
use crate::signal;
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
    fn skipped_flags(&mut self) {
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

    fn missing(&mut self, what: &str) {
        let name = self.statement.name();
        self.error(
            "missing-argument",
            self.statement.keyword.span,
            format!("`{name}` needs {what}"),
            None,
        );
    }

    fn some_words(&mut self) -> Option<Vec<Word>> {
        self.flags(&[]);
        let words = self.words();
        if words.is_empty() {
            self.missing("at least one argument");
            return None;
        }
        Some(words)
    }

    /// The whole text as one word, of an instruction without flags.
    fn one_word(&mut self) -> Option<Word> {
        self.flags(&[]);
        self.text_word()
    }

    fn text_word(&mut self) -> Option<Word> {
        let text = &self.statement.arguments.text;
        if text.value.is_empty() {
            self.missing("an argument");
            return None;
        }
        Some(self.word(text))
    }

    fn stop_signal(&mut self) -> Option<Instruction> {
        self.skipped_flags();
        let word = self.text_word()?;
        if let Some(text) = constant(&word)
            && !signal::is_signal(&text)
        {
            let bare = text.to_ascii_uppercase();
            let near = suggest(bare.strip_prefix("SIG").unwrap_or(&bare), signal::names());
            let help = near.map(|near| format!("did you mean `SIG{near}`?"));
            self.error(
                "bad-signal",
                word.span,
                format!("`{text}` is no signal"),
                help,
            );
            return None;
        }
        Some(Instruction::StopSignal(word))
    }

    /// Ports without a variable are checked here; the others can be only when they are expanded.
    fn expose(&mut self) -> Option<Instruction> {
        let words = self.some_words()?;
        for word in &words {
            let Some(text) = constant(word) else { continue };
            if let Err(reason) = port::parse(&text) {
                let help = if text.ends_with(',') {
                    Some("ports are separated by blanks".to_owned())
                } else if text.starts_with('#') {
                    Some("a comment needs a line of its own".to_owned())
                } else {
                    None
                };
                self.error("bad-port", word.span, reason, help);
            }
        }
        Some(Instruction::Expose(words))
    }

    fn from(&mut self) -> Option<Instruction> {
        let platform = self.flags(&[("platform", Kind::Value)]).word("platform");
        let words = self.words();
        let (image, alias) = match &words[..] {
            [image] => (image, None),
            [image, keyword, name] if keyword.raw().eq_ignore_ascii_case("as") => {
                (image, Some(name))
            }
            [] => {
                self.missing("an image");
                return None;
            }
            [_, second, ..] => {
                let rest = self.statement.arguments.text.span;
                let span = Span::new(second.span.start, rest.end);
                let help = if second.raw().starts_with('#') {
                    "a comment needs a line of its own"
                } else {
                    "it takes `IMAGE`, or `IMAGE AS NAME`"
                };
                self.error(
                    "from-arguments",
                    span,
                    "`FROM` takes one or three arguments",
                    Some(help.to_owned()),
                );
                return None;
            }
        };
        let alias = match alias {
            None => None,
            Some(name) => Some(self.stage_name(name)?),
        };
        Some(Instruction::From(From {
            image: image.clone(),
            alias,
            platform,
        }))
    }

    /// A stage name: a letter, then letters, digits, `-`, `_` and `.`; kept in lower case.
    fn stage_name(&mut self, name: &Word) -> Option<Spanned<String>> {
        let lower = name.raw().to_lowercase();
        let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
            });
        if !valid {
            let help = "it begins with a letter and goes on with letters, digits, `-`, `_` and `.`"
                .to_owned();
            self.error(
                "bad-stage-name",
                name.span,
                format!("`{}` cannot name a stage", name.raw()),
                Some(help),
            );
            return None;
        }
        Some(Spanned::new(lower, name.span))
    }

    fn arg(&mut self) -> Option<Instruction> {
        self.skipped_flags();
        let words = self.words();
        if words.is_empty() {
            self.missing("at least one name");
            return None;
        }
        let mut items = Vec::with_capacity(words.len());
        for word in &words {
            let (name, default) = match word.raw().split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (word.raw(), None),
            };
            if name.is_empty() {
                self.error(
                    "blank-name",
                    word.span,
                    "`ARG` needs a name before `=`",
                    None,
                );
                continue;
            }
            let default_at = name.len() + 1;
            items.push(ArgItem {
                name: Spanned::new(name.to_owned(), word.part(0, name.len())),
                default: default.map(|text| {
                    Word::new(
                        text,
                        word.part(default_at, default_at + text.len()),
                        self.escape,
                    )
                }),
            });
        }
        Some(Instruction::Arg(Arg { items }))
    }

    fn pairs(&mut self) -> Option<(Vec<Pair>, bool)> {
        self.flags(&[]);
        let Shape::Pairs { pairs, legacy } = &self.statement.arguments.shape else {
            return None;
        };
        if pairs.is_empty() {
            self.missing("at least one name and value");
            return None;
        }
        let mut typed = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if key.value.is_empty() {
                let message = format!("`{}` needs a name before `=`", self.statement.name());
                self.error("blank-name", key.span.join(value.span), message, None);
                continue;
            }
            typed.push(Pair {
                key: self.word(key),
                value: self.word(value),
            });
        }
        Some((typed, *legacy))
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

    fn healthcheck(&mut self) -> Option<Instruction> {
        const FLAGS: Known = &[
            ("interval", Kind::Value),
            ("timeout", Kind::Value),
            ("start-period", Kind::Value),
            ("start-interval", Kind::Value),
            ("retries", Kind::Value),
        ];
        let Shape::Healthcheck {
            kind,
            json,
            command,
        } = &self.statement.arguments.shape
        else {
            return None;
        };
        if kind
            .as_ref()
            .is_some_and(|kind| kind.value.eq_ignore_ascii_case("none"))
        {
            return self.no_healthcheck(command);
        }
        let flags = self.flags(FLAGS);
        let Some(kind) = kind else {
            self.missing("`CMD` or `NONE`");
            return None;
        };
        let test = match kind.value.to_ascii_uppercase().as_str() {
            "CMD" if command.value.is_empty() || json.as_ref().is_some_and(Vec::is_empty) => {
                self.error(
                    "missing-argument",
                    kind.span,
                    "a command is missing after `HEALTHCHECK CMD`",
                    None,
                );
                return None;
            }
            "CMD" => HealthcheckTest::Command(Command {
                form: match json {
                    Some(strings) => {
                        Form::Exec(strings.iter().map(|string| string.value.clone()).collect())
                    }
                    None => Form::Shell(command.value.clone()),
                },
                span: command.span,
            }),
            _ => {
                let message = format!("unknown kind of health check `{}`", kind.value);
                self.error(
                    "unknown-healthcheck",
                    kind.span,
                    message,
                    Some("it is `CMD` or `NONE`".to_owned()),
                );
                return None;
            }
        };
        Some(Instruction::Healthcheck(Healthcheck {
            test,
            interval: self.interval(&flags, "interval"),
            timeout: self.interval(&flags, "timeout"),
            start_period: self.interval(&flags, "start-period"),
            start_interval: self.interval(&flags, "start-interval"),
            retries: self.retries(&flags),
        }))
    }

    /// `HEALTHCHECK NONE`.
    fn no_healthcheck(&mut self, command: &Spanned<String>) -> Option<Instruction> {
        for flag in &self.statement.flags {
            let message = format!(
                "flag `{}` has no effect with `HEALTHCHECK NONE`",
                flag.value
            );
            self.diagnostics.push(Diagnostic::warning(
                "flag-without-effect",
                flag.span,
                message,
            ));
        }
        if !command.value.is_empty() {
            self.error(
                "healthcheck-none",
                command.span,
                "`HEALTHCHECK NONE` takes no arguments",
                None,
            );
            return None;
        }
        Some(Instruction::Healthcheck(Healthcheck {
            test: HealthcheckTest::None,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        }))
    }

    /// A duration of at least a millisecond, or zero.
    fn interval(&mut self, flags: &Flags, name: &str) -> Option<std::time::Duration> {
        let text = flags.text(name)?;
        match duration::parse(&text.value) {
            Ok(duration)
                if duration.is_zero() || duration >= std::time::Duration::from_millis(1) =>
            {
                Some(duration)
            }
            Ok(_) => {
                self.error(
                    "short-interval",
                    text.span,
                    format!("`--{name}` is shorter than 1ms"),
                    None,
                );
                None
            }
            Err(reason) => {
                let help = Some("write it like `30s`, `1m30s` or `500ms`".to_owned());
                self.error(
                    "bad-duration",
                    text.span,
                    format!("`{}` is not a duration: {reason}", text.value),
                    help,
                );
                None
            }
        }
    }

    fn retries(&mut self, flags: &Flags) -> Option<u32> {
        let text = flags.text("retries")?;
        match text.value.parse::<i32>().map(u32::try_from) {
            Ok(Ok(count)) => Some(count),
            Ok(Err(_)) => {
                self.error(
                    "bad-retries",
                    text.span,
                    "`--retries` cannot be negative",
                    None,
                );
                None
            }
            Err(_) => {
                self.error(
                    "bad-retries",
                    text.span,
                    format!("`{}` is not a number", text.value),
                    None,
                );
                None
            }
        }
    }

    /// The trigger is read as well. What is wrong with it is a warning only: it matters where the
    /// image is used, and other builders may know more instructions.
    fn onbuild(&mut self) -> Option<Instruction> {
        self.flags(&[]);
        let Some(child) = &self.statement.child else {
            self.missing("an instruction");
            return None;
        };
        let name = child.name();
        if matches!(name, "ONBUILD" | "FROM" | "MAINTAINER") {
            self.error(
                "bad-trigger",
                child.keyword.span,
                format!("`{name}` cannot be a trigger of `ONBUILD`"),
                None,
            );
            return None;
        }
        let mut found = Vec::new();
        let instruction = read(child, self.escape, &mut found);
        self.diagnostics.extend(found.into_iter().map(as_warning));
        let instruction =
            instruction.map(|instruction| Box::new(Spanned::new(instruction, child.span)));
        Some(Instruction::Onbuild(Onbuild {
            text: trigger_text(self.statement),
            instruction,
        }))
    }
}

/// The text of a word that has no variable; `None` when only the build can know it.
fn constant(word: &Word) -> Option<String> {
    if word.has_variables() {
        return None;
    }
    word.expand(&|_| None).ok().map(|expansion| expansion.text)
}

/// The trigger as the image config stores it: without `ONBUILD`, the heredocs put back below.
fn trigger_text(statement: &Statement) -> String {
    let Shape::Child { text } = &statement.arguments.shape else {
        return String::new();
    };
    let mut text = text.clone();
    for heredoc in &statement.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    text
}

fn as_warning(finding: Diagnostic) -> Diagnostic {
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
