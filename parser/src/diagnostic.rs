//! What the parser and the lint have to say: code, severity, place, sentence, hint.

use std::fmt;

use crate::span::Span;

/// Every code of an error or warning that is not a lint rule, with what it is about.
///
/// The table in `docs/parse-json.md` has the same lines.
pub const CODES: &[(&str, &str)] = &[
    (
        "bad-check-directive",
        "the settings of `# check=` are not understood",
    ),
    ("bad-device", "`--device` is not understood"),
    (
        "bad-duration",
        "an interval of `HEALTHCHECK` is no duration",
    ),
    (
        "bad-escape-directive",
        "`# escape=` is neither a backslash nor a backtick",
    ),
    (
        "bad-flag-value",
        "a flag that takes one of a few words has another one",
    ),
    (
        "bad-list",
        "the quotes of a comma-separated value do not fit",
    ),
    ("bad-mount", "a `--mount` breaks a rule of its type"),
    (
        "bad-pattern",
        "a pattern in `${x#…}` or the like is malformed",
    ),
    ("bad-port", "`EXPOSE` names no port"),
    ("bad-retries", "`--retries` is no number that is allowed"),
    ("bad-signal", "`STOPSIGNAL` names no signal"),
    (
        "bad-stage-name",
        "a stage name has characters that it cannot have",
    ),
    ("bad-substitution", "a `${…}` is malformed"),
    ("bad-trigger", "an instruction that `ONBUILD` cannot hold"),
    ("blank-name", "a name is missing before `=`"),
    ("duplicate-directive", "a parser directive is given twice"),
    ("duplicate-flag", "a flag is given twice"),
    ("empty-volume", "a path of `VOLUME` is empty"),
    (
        "flag-not-boolean",
        "a switch has a value other than `true` and `false`",
    ),
    ("flag-without-effect", "a flag that does nothing here"),
    ("flag-without-value", "a flag lacks its value"),
    ("from-arguments", "`FROM` has two, four or more arguments"),
    ("healthcheck-none", "`HEALTHCHECK NONE` has arguments"),
    (
        "heredoc-destination",
        "a heredoc is the destination of `COPY` or `ADD`",
    ),
    (
        "json-not-strings",
        "a JSON array holds something other than strings",
    ),
    ("missing-argument", "an instruction lacks an argument"),
    ("missing-value", "`ENV` or `LABEL` has a name and no value"),
    ("no-instructions", "the file has no instructions"),
    (
        "no-stage",
        "an instruction stands before the first `FROM`, or there is none",
    ),
    (
        "onbuild-nested",
        "`ONBUILD` holds `ONBUILD` many times over",
    ),
    (
        "pair-without-equals",
        "a later word of `ENV` or `LABEL` has no `=`",
    ),
    ("shell-not-json", "`SHELL` is no JSON array"),
    (
        "short-interval",
        "an interval of `HEALTHCHECK` is shorter than a millisecond",
    ),
    ("too-large", "the file has 4 GiB or more"),
    ("too-many-problems", "there are more problems than are told"),
    ("unclosed-quote", "a quote is not closed"),
    ("unknown-flag", "the instruction has no such flag"),
    (
        "unknown-healthcheck",
        "`HEALTHCHECK` is followed by neither `CMD` nor `NONE`",
    ),
    ("unknown-instruction", "there is no such instruction"),
    ("unknown-mount-key", "`--mount` has no such key"),
    ("unknown-mount-type", "there is no such type of mount"),
    ("unknown-rule", "a lint rule to be skipped does not exist"),
    ("unterminated-heredoc", "the end of a heredoc is missing"),
    (
        "variable-required",
        "a variable that `${x:?…}` requires is not set",
    ),
];

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; the build goes on.
    Note,
    /// Probably a mistake; the build goes on.
    Warning,
    /// The build cannot go on.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding about a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of finding, `kebab-case` for errors and `PascalCase` for lint rules.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What to underline.
    pub span: Span,
    /// One sentence without a full stop; names stand in backticks.
    pub message: String,
    /// What to do about it, when there is something to say.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error: the build cannot go on.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            span,
            message: message.into(),
            help: None,
        }
    }

    /// A warning: the build goes on.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Warning,
            span,
            message: message.into(),
            help: None,
        }
    }

    /// The same finding with a hint.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same finding with "did you mean", when a near name is known.
    #[must_use]
    pub fn with_suggestion(mut self, nearest: Option<&str>) -> Self {
        if let Some(nearest) = nearest {
            self.help = Some(format!("did you mean `{nearest}`?"));
        }
        self
    }

    /// Whether the build has to stop.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)
    }
}

impl std::error::Error for Diagnostic {}
