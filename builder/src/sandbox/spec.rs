//! What a sandboxed step is: the request that travels to the helper process.
//!
//! Everything here is plain data that serializes to JSON. Paths are paths of the host;
//! `String`s named target or directory are paths inside the step's root.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One piece of work for a helper process.
///
/// With a step: `Handler::prepare`, the command, `Handler::finish`.
/// Without: only the two handler calls, with the identity of the sandbox (so a tree that belongs
/// to subordinate ids can be made, read and removed).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The command to run; the handler's `prepare` may still change it (fill in `lower`).
    pub step: Option<StepSpec>,
    /// Where the command's standard streams lead.
    pub stdio: Stdio,
    /// For the handler; the sandbox does not look inside.
    pub payload: Value,
}

/// Where the standard streams of the command lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Standard input is `/dev/null`; output goes to `StepIo::on_output`.
    Piped,
    /// All three streams are the caller's, and the command stays in its session: for a command in
    /// the foreground of a terminal.
    Inherited,
}

/// A command and the place it runs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSpec {
    /// Unpacked layers, the topmost first. Empty: the root is `upper` itself, without an overlay.
    pub lower: Vec<PathBuf>,
    /// Takes the changes. Must exist, be empty, and belong to the sandbox's identity.
    pub upper: PathBuf,
    /// Overlayfs's own directory: must exist, be empty, and lie on the file system of `upper`.
    pub work: PathBuf,
    /// Program and arguments; a name without `/` is looked up in the `PATH` of `env`, inside the root.
    pub argv: Vec<String>,
    /// The whole environment of the command; nothing is added.
    pub env: Vec<(String, String)>,
    /// Absolute directory inside the root where the command starts; it must exist.
    pub workdir: String,
    /// Numeric identity of the command.
    pub user: ResolvedUser,
    /// Network of the step.
    pub network: Network,
    /// Host name inside the step.
    pub hostname: String,
    /// Further lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Mounts beyond the standard ones, in order.
    pub mounts: Vec<SandboxMount>,
    /// Resource limits to set; others stay as the caller has them.
    pub limits: Vec<ResourceLimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Mounts the root read-only.
    pub read_only_root: bool,
    /// `RUN --security=insecure`: all capabilities, no seccomp filter, nothing masked.
    pub insecure: bool,
}

/// Docker's size of `/dev/shm`: 64 MiB.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// A user as the kernel knows it; names were looked up before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// User id inside the root.
    pub uid: u32,
    /// Primary group id inside the root.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Network of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The network of the caller.
    Host,
    /// A network of its own with nothing but a loopback interface that is up.
    None,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Docker's name of the limit: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// A mount of the step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SandboxMount {
    /// Something of the host, or of another root file system.
    Bind(BindMount),
    /// An empty file system in memory.
    Tmpfs {
        /// Absolute path inside the root.
        target: String,
        /// Limit in bytes; `None` is the kernel's default, half of the memory.
        size: Option<u64>,
        /// Permission bits of its root directory.
        mode: u32,
    },
    /// A file in memory, for secrets: it never reaches a disk.
    File {
        /// Absolute path inside the root.
        target: String,
        /// The bytes of the file.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner inside the root.
        uid: u32,
        /// Group inside the root.
        gid: u32,
    },
}

/// A file or directory that is shown at another place of the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BindMount {
    /// The tree the source is taken from: one directory of the host, or the layers of a root file
    /// system, the topmost first. Never empty.
    pub tree: Vec<PathBuf>,
    /// Path inside the tree; links are resolved without leaving the tree.
    pub source: String,
    /// Absolute path inside the root; it is created if it is missing, and removed again.
    pub target: String,
    /// What the step may do with it.
    pub access: Access,
}

/// What a step may do with a bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Writes fail.
    ReadOnly,
    /// Writes go to the source. Only for a tree of one directory.
    ReadWrite,
    /// Writes succeed and are thrown away.
    Discard {
        /// An empty directory, of the identity of the sandbox, that takes the writes. The caller removes it.
        scratch: PathBuf,
    },
}

/// How overlayfs marks what is special in an upper directory.
///
/// Whiteouts are character devices 0:0 in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverlayMode {
    /// Opaque directories carry `trusted.overlay.opaque`.
    Trusted,
    /// Opaque directories carry `user.overlay.opaque`.
    User,
}

impl OverlayMode {
    /// The prefix of all extended attributes that overlayfs keeps for itself.
    pub fn xattr_prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this status. 127: it was not found; 126: it could not be executed.
    Exited(u8),
    /// A signal ended it.
    Signaled(i32),
}

impl Outcome {
    /// Whether the command exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The status a shell would show: 128 and the number of the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code),
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// What a helper process hands back.
#[derive(Clone, Debug)]
pub struct Report {
    /// How the command ended; `None` if the request had no step.
    pub outcome: Option<Outcome>,
    /// What `Handler::finish` returned.
    pub value: Value,
}
