//! The seal of a blob's file: what it looked like when its content was verified.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{Stat, XattrFlags};
use rustix::io::Errno;

const NAME: &str = "user.rbuild.seal";

/// What changes when somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

/// What a file's seal says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is what was verified, this long.
    Sealed(u64),
    /// It was hashed, and is not what its name says.
    Damaged,
    /// Nobody has looked at it in this shape.
    Unknown,
}

impl Stamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::fstat(file)?))
    }

    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "the field types of `stat` differ between architectures; the values fit"
    )]
    fn from_stat(stat: &Stat) -> Self {
        Self {
            size: stat.st_size as u64,
            modified_seconds: stat.st_mtime as i64,
            modified_nanoseconds: stat.st_mtime_nsec as i64,
        }
    }

    fn text(self, intact: bool) -> String {
        format!(
            "{}:{}:{}.{:09}",
            if intact { "ok" } else { "damaged" },
            self.size,
            self.modified_seconds,
            self.modified_nanoseconds,
        )
    }

    fn judge(self, seal: Result<&[u8], Errno>) -> io::Result<Trust> {
        match seal {
            Ok(value) if value == self.text(true).as_bytes() => Ok(Trust::Sealed(self.size)),
            Ok(value) if value == self.text(false).as_bytes() => Ok(Trust::Damaged),
            // No such attribute, or one that is longer than any of ours.
            Ok(_) | Err(Errno::NODATA | Errno::RANGE) => Ok(Trust::Unknown),
            Err(Errno::NOTSUP | Errno::NOSYS) => Ok(Trust::Sealed(self.size)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the seal of an open file says.
pub(super) fn trust(file: &File) -> io::Result<Trust> {
    let mut buffer = [MaybeUninit::uninit(); 96];
    let seal = rustix::fs::fgetxattr(file, NAME, &mut buffer).map(|(value, _)| &*value);
    Stamp::of(file)?.judge(seal)
}

/// What the seal of the file at `path` says; `None` if there is no file.
pub(super) fn trust_path(path: &Path) -> io::Result<Option<Trust>> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut buffer = [MaybeUninit::uninit(); 96];
    match rustix::fs::lgetxattr(path, NAME, &mut buffer).map(|(value, _)| &*value) {
        Err(Errno::NOENT) => Ok(None),
        seal => Stamp::from_stat(&stat).judge(seal).map(Some),
    }
}

/// Seals an open file whose content was verified when it looked like `stamp`.
pub(super) fn set(file: &File, stamp: Stamp, intact: bool) -> io::Result<()> {
    let text = stamp.text(intact);
    match rustix::fs::fsetxattr(file, NAME, text.as_bytes(), XattrFlags::empty()) {
        Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
