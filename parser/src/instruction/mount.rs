//! `RUN --mount`: the options as written, and what they mean once expanded.

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
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
    /// Where it appears; relative to the working directory.
    pub target: String,
    /// Whether it is read-only, as it is by default. What is written otherwise is thrown away.
    pub read_only: bool,
}

/// `type=cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// `id`; the target path when absent.
    pub id: Option<String>,
    /// Where it appears; relative to the working directory.
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
    /// Where it appears; relative to the working directory.
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
    pub fn resolve(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ResolvedMount, Diagnostic> {
        let _ = lookup;
        Err(Diagnostic::error(
            "bad-mount",
            self.span,
            "mount is not understood",
        ))
    }
}
