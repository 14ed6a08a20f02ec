//! `RUN`, and the command forms it shares with `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.

use super::Mount;
use super::flag::{Kind, Known};
use super::mount::{self, Field};
use super::read::Reader;
use crate::diagnostic::Diagnostic;
use crate::expand::{Options, expand};
use crate::heredoc;
use crate::span::{Span, Spanned, offset};
use crate::suggest::suggest;
use crate::word::{Expansion, Word};

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The form and its text.
    pub form: Form,
    /// Where it stands, without the flags.
    pub span: Span,
}

/// Shell form or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One text for the shell; continuations joined, comments dropped, heredoc bodies not in it.
    Shell(String),
    /// A JSON array.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, each.
    pub mounts: Vec<Spanned<Mount>>,
    /// `--network`.
    pub network: Option<Spanned<Network>>,
    /// `--security`.
    pub security: Option<Spanned<Security>>,
    /// `--device`, each.
    pub devices: Vec<Spanned<Device>>,
    /// The command line without the heredoc bodies.
    pub command: Command,
    /// The heredocs, in order of their markers.
    pub heredocs: Vec<Heredoc>,
}

/// What a `RUN` executes, heredocs put in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// An argument vector; no shell.
    Exec(Vec<String>),
    /// One text, to be appended to the `SHELL` vector.
    Shell(String),
    /// A heredoc that is the whole command and begins with `#!`: a file of mode 0755 to be
    /// executed itself, without the shell.
    File {
        /// The name of the file.
        name: String,
        /// What is in it.
        content: String,
    },
}

impl Run {
    /// The command with its heredocs.
    ///
    /// A heredoc that is the whole command is the script; otherwise the bodies follow the command
    /// line and the shell reads them itself. Nothing is expanded here in any case.
    pub fn script(&self) -> Script {
        let text = match &self.command.form {
            Form::Exec(words) => return Script::Exec(words.clone()),
            Form::Shell(text) => text,
        };
        let Some(first) = self.heredocs.first() else {
            return Script::Shell(text.clone());
        };
        if heredoc::marker(text).is_some() {
            let body = first.text();
            if body.starts_with("#!") {
                return Script::File {
                    name: first.name.clone(),
                    content: body,
                };
            }
            return Script::Shell(body);
        }
        let mut script = text.clone();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.content);
            script.push_str(&heredoc.name);
        }
        Script::Shell(script)
    }
}

/// `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the build uses.
    Default,
    /// No network but loopback.
    None,
    /// The host's.
    Host,
}

/// `--security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// The ordinary sandbox.
    Sandbox,
    /// All capabilities, no filter; must be allowed by the caller of the build.
    Insecure,
}

/// `--device`: a CDI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The CDI name.
    pub name: Word,
    /// Whether the build fails when the device is not there.
    pub required: bool,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, quotes removed.
    pub name: String,
    /// The number before `<<`.
    pub fd: Option<u32>,
    /// The body as written, line ends kept; tabs not stripped, see [`Self::text`].
    pub content: String,
    /// Whether variables in the body are expanded (no part of the delimiter was quoted).
    pub expand: bool,
    /// Whether leading tabs go (`<<-`).
    pub strip_tabs: bool,
    /// Where the marker stands.
    pub span: Span,
    /// Where the body stands, without the line of the terminator.
    pub content_span: Span,
}

impl Heredoc {
    /// The body, with leading tabs gone if the marker asks for that.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }

    /// The content of the file that a `COPY` or `ADD` makes of it: tabs stripped if asked for, and,
    /// unless the delimiter was quoted, variables replaced. Quotes are ordinary characters here;
    /// a backslash takes the next character literally.
    pub fn expanded(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Expansion, Diagnostic> {
        let text = self.text();
        if !self.expand {
            return Ok(Expansion {
                text,
                ..Expansion::default()
            });
        }
        let options = Options {
            ignore_quotes: true,
            ..Options::word('\\')
        };
        let outcome = expand(&text, options, lookup).map_err(|failure| {
            // Where tabs were stripped, offsets no longer lead back.
            let within = |at: usize| self.content_span.start + offset(at);
            let span = if self.strip_tabs {
                self.content_span
            } else {
                Span::new(within(failure.start), within(failure.end))
            };
            Diagnostic::error(failure.code, span, failure.message)
        })?;
        Ok(Expansion {
            text: outcome.text,
            used: outcome.used,
            missed: outcome.missed,
        })
    }
}

impl Heredoc {
    /// The names that expansion of the body replaces with nothing although it says no default.
    pub(crate) fn undefined(&self, is_defined: &dyn Fn(&str) -> bool) -> Vec<String> {
        let options = Options {
            ignore_quotes: true,
            ..Options::word('\\')
        };
        let lookup = |name: &str| is_defined(name).then(String::new);
        expand(&self.content, options, &lookup)
            .map(|outcome| outcome.undefined)
            .unwrap_or_default()
    }
}

const FLAGS: Known = &[
    ("device", Kind::Values),
    ("mount", Kind::Values),
    ("network", Kind::Value),
    ("security", Kind::Value),
];

/// Types a `RUN`.
pub(super) fn run(reader: &mut Reader<'_>) -> Run {
    let flags = reader.flags(FLAGS);
    let mut mounts = Vec::new();
    for value in flags.all("mount") {
        mounts.extend(mount::read(value, reader.escape, reader.diagnostics));
    }
    let mut devices = Vec::new();
    for value in flags.all("device") {
        devices.extend(device(value, reader.escape, reader.diagnostics));
    }
    let network = flags.all("network").next().and_then(|value| {
        let modes = [
            ("default", Network::Default),
            ("none", Network::None),
            ("host", Network::Host),
        ];
        choice(value, "--network", &modes, reader.diagnostics)
    });
    let security = flags.all("security").next().and_then(|value| {
        let modes = [
            ("sandbox", Security::Sandbox),
            ("insecure", Security::Insecure),
        ];
        choice(value, "--security", &modes, reader.diagnostics)
    });
    let command = reader.form();
    Run {
        mounts,
        network,
        security,
        devices,
        command,
        heredocs: reader.statement.heredocs.clone(),
    }
}

/// One of a few words.
fn choice<T: Copy>(
    value: &Spanned<String>,
    flag: &str,
    modes: &[(&str, T)],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Spanned<T>> {
    if let Some((_, mode)) = modes.iter().find(|(name, _)| *name == value.value) {
        return Some(Spanned::new(*mode, value.span));
    }
    let names: Vec<&str> = modes.iter().map(|(name, _)| *name).collect();
    let help = match suggest(&value.value, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "it is one of {}",
            names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let message = format!("`{}` is no value of `{flag}`", value.value);
    diagnostics.push(Diagnostic::error("bad-flag-value", value.span, message).with_help(help));
    None
}

/// `NAME[,required[=BOOL]]` or `name=NAME,…`.
fn device(
    value: &Spanned<String>,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Spanned<Device>> {
    let fields = match mount::fields(value) {
        Ok(fields) => fields,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            return None;
        }
    };
    let mut name: Option<Word> = None;
    let mut required = false;
    for Field { text, span } in fields {
        let (key, given) = match text.split_once('=') {
            Some((key, given)) => (key.to_ascii_lowercase(), Some(given)),
            None => (text.to_ascii_lowercase(), None),
        };
        match (key.as_str(), given) {
            ("required", None) => required = true,
            ("required", Some(given)) => {
                let Some(given) = mount::boolean(given) else {
                    let message = format!("`{given}` is neither true nor false");
                    diagnostics.push(Diagnostic::error("bad-device", span, message));
                    return None;
                };
                required = given;
            }
            ("name", Some(given)) if name.is_none() => name = Some(Word::new(given, span, escape)),
            _ if name.is_none() => name = Some(Word::new(text, span, escape)),
            _ => {
                let message = format!("`{text}` is no option of `--device`");
                diagnostics.push(
                    Diagnostic::error("bad-device", span, message)
                        .with_suggestion(suggest(&key, ["name", "required"])),
                );
                return None;
            }
        }
    }
    let Some(name) = name else {
        diagnostics.push(Diagnostic::error(
            "bad-device",
            value.span,
            "`--device` needs a name",
        ));
        return None;
    };
    Some(Spanned::new(Device { name, required }, value.span))
}
