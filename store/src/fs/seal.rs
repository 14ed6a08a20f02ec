//! The seal of a blob's file: what it looked like when its content was verified.
//!
//! Its time of change (`ctime`) is the one that nobody can set back. Writing the seal moves it, so the seal holds a bound:
//! whatever happened to the file's content, name or attributes after that makes it worth another look.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{FileType, Stat, XattrFlags};
use rustix::io::Errno;

const NAME: &str = "user.rbuild.seal";

/// What changes when somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: Time,
    changed: Time,
}

/// Seconds and nanoseconds, by the clock of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time(i64, i64);

impl Time {
    fn after(self, nanoseconds: i64) -> Self {
        let nanoseconds = self.1 + nanoseconds;
        Self(
            self.0 + nanoseconds.div_euclid(1_000_000_000),
            nanoseconds.rem_euclid(1_000_000_000),
        )
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (seconds, nanoseconds) = std::str::from_utf8(text).ok()?.split_once('.')?;
        Some(Self(seconds.parse().ok()?, nanoseconds.parse().ok()?))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0, self.1)
    }
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
            modified: Time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: Time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// What the seal says before its bound.
    fn text(self, intact: bool) -> String {
        let verdict = if intact { "ok" } else { "damaged" };
        format!("{verdict}:{}:{}:", self.size, self.modified)
    }

    fn judge(self, seal: Result<&[u8], Errno>) -> io::Result<Trust> {
        let holds = |value: &[u8], intact| {
            let bound = value.strip_prefix(self.text(intact).as_bytes());
            bound
                .and_then(Time::parse)
                .is_some_and(|bound| self.changed <= bound)
        };
        match seal {
            Ok(value) if holds(value, true) => Ok(Trust::Sealed(self.size)),
            Ok(value) if holds(value, false) => Ok(Trust::Damaged),
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
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        // What a symbolic link leads to is for who opens it.
        return Ok(Some(Trust::Unknown));
    }
    let mut buffer = [MaybeUninit::uninit(); 96];
    match rustix::fs::lgetxattr(path, NAME, &mut buffer).map(|(value, _)| &*value) {
        Err(Errno::NOENT) => Ok(None),
        seal => Stamp::from_stat(&stat).judge(seal).map(Some),
    }
}

/// How long writing a seal may take, in nanoseconds. A change within that time after it is not noticed.
const MARGINS: [i64; 3] = [1_000_000, 20_000_000, 400_000_000];

/// Seals an open file whose content was verified when it looked like `stamp`, if nothing has happened to it since.
///
/// To be done last: a new name is a change as well.
pub(super) fn set(file: &File, stamp: Stamp, intact: bool) -> io::Result<()> {
    if Stamp::of(file)? != stamp {
        return Ok(());
    }
    let text = stamp.text(intact);
    let write = |bound: Time| {
        let value = format!("{text}{bound}");
        rustix::fs::fsetxattr(file, NAME, value.as_bytes(), XattrFlags::empty())
    };
    // The first one only tells what time it is where the file is.
    match write(Time(0, 0)) {
        Ok(()) => {}
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    for margin in MARGINS {
        let bound = Stamp::of(file)?.changed.after(margin);
        write(bound)?;
        if Stamp::of(file)?.changed <= bound {
            return Ok(());
        }
    }
    // Left unsealed: whoever opens it reads it once more.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (time, margin, want) in [
            (Time(7, 999_999_999), 1, "8.000000000"),
            (Time(7, 5), 400_000_000, "7.400000005"),
            (Time(-1, 999_000_000), 1_000_000, "0.000000000"),
        ] {
            let later = time.after(margin);
            assert_eq!(later.to_string(), want);
            assert_eq!(Time::parse(want.as_bytes()), Some(later));
            assert!(time < later);
        }
        for wrong in ["", "7", "7.x", "x.7", "7.8.9"] {
            assert_eq!(Time::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
