//! `RUN`, and the command forms it shares with `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.

use super::Mount;
use crate::span::{Span, Spanned};
use crate::word::Word;

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
}
