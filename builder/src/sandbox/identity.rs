//! Which ids a sandbox can have: the ladder from real root down to a single mapped id.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::error::SandboxError;
use super::spec::OverlayMode;

/// Who the sandbox is to the kernel.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Real root with `CAP_SYS_ADMIN`: no user namespace.
    Root,
    /// Root of a user namespace, which all steps of a build share.
    UserNamespace(Arc<UserNamespace>),
}

/// The rungs of the ladder, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// Real root with `CAP_SYS_ADMIN`.
    Root,
    /// A range of subordinate ids, mapped by `newuidmap` and `newgidmap`.
    SubordinateRange,
    /// Root without `CAP_SYS_ADMIN`: every id of its own namespace, mapped to itself.
    IdentityRange,
    /// One user and one group: files can have no other owner.
    SingleId,
}

/// A user namespace that is kept alive by a file descriptor.
#[derive(Debug)]
pub struct UserNamespace {
    pub(super) namespace: OwnedFd,
    pub(super) kind: IdentityKind,
    pub(super) notes: Vec<String>,
}

impl Identity {
    /// Which rung of the ladder this is.
    pub fn kind(&self) -> IdentityKind {
        match self {
            Self::Root => IdentityKind::Root,
            Self::UserNamespace(namespace) => namespace.kind,
        }
    }

    /// Why better rungs were not taken, one sentence each; for `--verbose` and for error messages.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Root => &[],
            Self::UserNamespace(namespace) => &namespace.notes,
        }
    }

    /// How overlayfs marks opaque directories for this identity.
    pub fn overlay_mode(&self) -> OverlayMode {
        match self {
            Self::Root => OverlayMode::Trusted,
            Self::UserNamespace(_) => OverlayMode::User,
        }
    }
}

/// Finds the best identity this process can have. `helper` is the program that is started to hold
/// the user namespace, see [`SandboxConfig`](super::SandboxConfig).
///
/// Costs a few milliseconds without root: call it once per build, before the first step.
pub fn detect(helper: &Path) -> Result<Identity, SandboxError> {
    let _ = helper;
    Err(SandboxError::Unavailable {
        reasons: Vec::new(),
        hint: String::new(),
    })
}
