//! `RUN --mount`: the options as written, and what they mean once expanded.

mod resolve;

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned, offset};
use crate::suggest::suggest;
use crate::word::Word;

/// One `--mount`, its values not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The options, in order.
    pub options: Vec<MountOption>,
    /// The whole value of the flag.
    pub span: Span,
}

/// One option of a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, lower-cased.
    pub key: Spanned<String>,
    /// What stands after `=`.
    pub value: Option<Word>,
}

/// What a `--mount` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedMount {
    /// `type=bind`, the default.
    Bind(BindMount),
    /// `type=cache`.
    Cache(CacheMount),
    /// `type=tmpfs`.
    Tmpfs(TmpfsMount),
    /// `type=secret`.
    Secret(SecretMount),
    /// `type=ssh`.
    Ssh(SshMount),
}

/// `type=bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Stage, image or named context; the build context when absent.
    pub from: Option<String>,
    /// Path in it; its root when absent.
    pub source: Option<String>,
    /// Where it appears; relative to the working directory, which an empty one means itself.
    /// Joined with a working directory of `/` it must be refused.
    pub target: String,
    /// Whether it is read-only, as it is by default. What is written otherwise is thrown away.
    pub read_only: bool,
}

/// `type=cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// `id`; the target path when absent.
    pub id: Option<String>,
    /// Where it appears; relative to the working directory, which an empty one means itself.
    /// Joined with a working directory of `/` it must be refused.
    pub target: String,
    /// What first fills the cache.
    pub from: Option<String>,
    /// Path in `from`.
    pub source: Option<String>,
    /// Who may use it at a time.
    pub sharing: Sharing,
    /// Whether it is read-only; it is not by default.
    pub read_only: bool,
    /// Mode of a directory made anew; 0755 when absent.
    pub mode: Option<u32>,
    /// Owner of a directory made anew.
    pub uid: Option<u32>,
    /// Group of a directory made anew.
    pub gid: Option<u32>,
}

/// `sharing` of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Any number of steps at once.
    #[default]
    Shared,
    /// A directory of its own for each step that runs at the same time.
    Private,
    /// One step at a time.
    Locked,
}

/// `type=tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Where it appears; relative to the working directory, which an empty one means itself.
    /// Joined with a working directory of `/` it must be refused.
    pub target: String,
    /// Upper bound in bytes.
    pub size: Option<u64>,
    /// Whether it is read-only; it is not by default.
    pub read_only: bool,
}

/// `type=secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// The name by which the secret is given to the build.
    pub id: String,
    /// Where the file appears; absent when only a variable is asked for.
    pub target: Option<String>,
    /// The variable that holds the secret.
    pub env: Option<String>,
    /// Whether the build fails when the secret is not given.
    pub required: bool,
    /// Mode of the file; 0400 when absent.
    pub mode: Option<u32>,
    /// Owner of the file; 0 when absent.
    pub uid: Option<u32>,
    /// Group of the file; 0 when absent.
    pub gid: Option<u32>,
}

/// `type=ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshMount {
    /// Which agent; `default` when absent.
    pub id: Option<String>,
    /// Where the socket appears.
    pub target: Option<String>,
    /// Whether the build fails when the agent is not given.
    pub required: bool,
    /// Mode of the socket; 0600 when absent.
    pub mode: Option<u32>,
    /// Owner of the socket; 0 when absent.
    pub uid: Option<u32>,
    /// Group of the socket; 0 when absent.
    pub gid: Option<u32>,
}

impl Mount {
    /// Expands the values and reads them by the rules of the mount's type.
    ///
    /// `from` is expanded with the same `lookup`; a caller that has other values there looks at
    /// [`Self::from`] first.
    pub fn resolve(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ResolvedMount, Diagnostic> {
        resolve::resolve(self, lookup)
    }

    /// The stage, image or context that the mount comes from, as written.
    pub fn from(&self) -> Option<&Word> {
        self.option("from")
    }

    /// The last value given for `key`.
    fn option(&self, key: &str) -> Option<&Word> {
        self.options
            .iter()
            .rev()
            .find(|option| option.key.value == key)
            .and_then(|option| option.value.as_ref())
    }
}

/// Every key, with its other spellings.
pub(super) const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "env",
    "size",
];

/// Reads the value of a `--mount`, and checks it as far as no variable is in the way.
pub(super) fn read(
    value: &Spanned<String>,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Spanned<Mount>> {
    let fields = match fields(value) {
        Ok(fields) => fields,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            return None;
        }
    };
    let mut options = Vec::with_capacity(fields.len());
    let mut known = true;
    for Field { text, span } in fields {
        let key_text = text.split_once('=').map_or(text.as_str(), |(key, _)| key);
        let part = |start: usize, end: usize| {
            if span.len() as usize == text.len() {
                Span::new(span.start + offset(start), span.start + offset(end))
            } else {
                span
            }
        };
        let key = Spanned::new(key_text.to_ascii_lowercase(), part(0, key_text.len()));
        if !KEYS.contains(&key.value.as_str()) {
            let message = if key_text.is_empty() {
                "an option of `--mount` is empty".to_owned()
            } else {
                format!("unknown key `{key_text}` of `--mount`")
            };
            diagnostics.push(
                Diagnostic::error("unknown-mount-key", key.span, message)
                    .with_suggestion(suggest(&key.value, KEYS)),
            );
            known = false;
        }
        let at = key_text.len() + 1;
        let value = text
            .get(at..)
            .map(|value| Word::new(value, part(at, text.len()), escape));
        options.push(MountOption { key, value });
    }
    let mount = Mount {
        options,
        span: value.span,
    };
    let fixed = !mount
        .options
        .iter()
        .any(|option| option.value.as_ref().is_some_and(Word::has_variables));
    if known
        && fixed
        && let Err(diagnostic) = mount.resolve(&|_| None)
    {
        diagnostics.push(diagnostic);
        return None;
    }
    known.then_some(Spanned::new(mount, value.span))
}

/// A field of a comma-separated value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Its text, quotes resolved.
    pub(super) text: String,
    /// Its place; that of the whole value when quotes were resolved on the way.
    pub(super) span: Span,
}

/// Cuts a value at its commas; a field in double quotes may hold commas, and `""` for a quote.
pub(super) fn fields(value: &Spanned<String>) -> Result<Vec<Field>, Diagnostic> {
    let exact = value.span.len() as usize == value.value.len();
    let bad = |message: &str| Diagnostic::error("bad-list", value.span, message);
    let mut fields = Vec::new();
    let mut rest = value.value.as_str();
    loop {
        let start = value.value.len() - rest.len();
        let (text, consumed) = if let Some(quoted) = rest.strip_prefix('"') {
            let (text, consumed) =
                quoted_field(quoted).ok_or_else(|| bad("a quoted field is not closed"))?;
            (text, consumed + 1)
        } else {
            let length = rest.find(',').unwrap_or(rest.len());
            if rest[..length].contains('"') {
                return Err(bad("a quote inside a field that is not quoted"));
            }
            (rest[..length].to_owned(), length)
        };
        let span = if exact {
            Span::new(
                value.span.start + offset(start),
                value.span.start + offset(start + consumed),
            )
        } else {
            value.span
        };
        fields.push(Field { text, span });
        rest = &rest[consumed..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(bad("text after a quoted field")),
        }
    }
}

/// The text of a field after its opening quote, and how many bytes it took.
fn quoted_field(text: &str) -> Option<(String, usize)> {
    let mut field = String::new();
    let mut position = 0;
    loop {
        let length = text[position..].find('"')?;
        field.push_str(&text[position..position + length]);
        position += length + 1;
        if !text[position..].starts_with('"') {
            return Some((field, position));
        }
        field.push('"');
        position += 1;
    }
}

/// What Go's `ParseBool` takes.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
