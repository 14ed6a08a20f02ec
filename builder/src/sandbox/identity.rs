//! Which ids a sandbox can have: the ladder from real root down to a single mapped id.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::sync::Arc;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use super::error::SandboxError;
use super::session::{Helper, own_id};
use super::spec::OverlayMode;
use super::wire::{self, Answer, Command, Failure, Order};

/// Who the sandbox is to the kernel.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Real root with `CAP_SYS_ADMIN`: no user namespace.
    Root,
    /// Root, with `CAP_SYS_ADMIN`, of the user namespace that this process is already in.
    ContainedRoot,
    /// Root of a user namespace made for the build, which all its steps share.
    UserNamespace(Arc<UserNamespace>),
}

/// The rungs of the ladder, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityKind {
    /// Real root with `CAP_SYS_ADMIN`.
    Root,
    /// Root with `CAP_SYS_ADMIN` of a user namespace that somebody else made.
    ContainedRoot,
    /// Root without `CAP_SYS_ADMIN`: every id it has, mapped to itself.
    IdentityRange,
    /// A range of subordinate ids, mapped by `newuidmap` and `newgidmap`.
    SubordinateRange,
    /// One user and one group: files can have no other owner.
    SingleId,
}

/// A user namespace that is kept alive by a file descriptor.
#[derive(Debug)]
pub struct UserNamespace {
    pub(super) namespace: OwnedFd,
    kind: IdentityKind,
    notes: Vec<String>,
}

impl Identity {
    /// Which rung of the ladder this is.
    pub fn kind(&self) -> IdentityKind {
        match self {
            Self::Root => IdentityKind::Root,
            Self::ContainedRoot => IdentityKind::ContainedRoot,
            Self::UserNamespace(namespace) => namespace.kind,
        }
    }

    /// Why better rungs were not taken, one sentence each; for `--verbose` and for error messages.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Root | Self::ContainedRoot => &[],
            Self::UserNamespace(namespace) => &namespace.notes,
        }
    }

    /// How overlayfs marks opaque directories for this identity.
    pub fn overlay_mode(&self) -> OverlayMode {
        match self {
            Self::Root => OverlayMode::Trusted,
            Self::ContainedRoot | Self::UserNamespace(_) => OverlayMode::User,
        }
    }
}

impl IdentityKind {
    /// One sentence for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Root => "as root",
            Self::ContainedRoot => "as root of the container's user namespace",
            Self::IdentityRange => "in a user namespace with the ids of this container",
            Self::SubordinateRange => "in a user namespace with the subordinate ids of this user",
            Self::SingleId => {
                "in a user namespace with a single id: files can have no other owner, and changing users fails"
            }
        }
    }
}

/// Finds the best identity this process can have. `helper` is the program that is started to hold
/// the user namespace, see [`SandboxConfig`](super::SandboxConfig).
///
/// Costs some milliseconds without root: call it once per build, before the first step.
pub fn detect(helper: &Path) -> Result<Identity, SandboxError> {
    let is_root = geteuid().is_root();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let gid_map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let mut notes = Vec::new();
    if is_root && has_capability(CapabilitySet::SYS_ADMIN) {
        let initial = extents(&uid_map) == [[0, 0, u32::MAX]];
        return Ok(if initial {
            Identity::Root
        } else {
            Identity::ContainedRoot
        });
    }
    if is_root {
        notes.push("this root user lacks CAP_SYS_ADMIN".to_owned());
        match namespace(helper, IdentityKind::IdentityRange, |pid| {
            write_maps(pid, &identity_map(&uid_map), &identity_map(&gid_map), false)
        }) {
            Ok(namespace) => return Ok(finish(namespace, IdentityKind::IdentityRange, notes)),
            Err(error) => notes.push(describe(&error)),
        }
    } else {
        notes.push("this is not the root user".to_owned());
    }
    match subordinate_ids().and_then(|(uids, gids)| {
        namespace(helper, IdentityKind::SubordinateRange, |pid| {
            run_mapper("newuidmap", pid, &uids)?;
            run_mapper("newgidmap", pid, &gids)
        })
    }) {
        Ok(namespace) => return Ok(finish(namespace, IdentityKind::SubordinateRange, notes)),
        Err(error) => notes.push(describe(&error)),
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    match namespace(helper, IdentityKind::SingleId, |pid| {
        write_maps(pid, &format!("0 {uid} 1\n"), &format!("0 {gid} 1\n"), true)
    }) {
        Ok(namespace) => Ok(finish(namespace, IdentityKind::SingleId, notes)),
        Err(error) => {
            notes.push(describe(&error));
            Err(SandboxError::Unavailable {
                reasons: notes,
                hint: hint(),
            })
        }
    }
}

fn finish(namespace: OwnedFd, kind: IdentityKind, notes: Vec<String>) -> Identity {
    Identity::UserNamespace(Arc::new(UserNamespace {
        namespace,
        kind,
        notes,
    }))
}

fn has_capability(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// An error with its cause, for the list of what was tried.
fn describe(error: &SandboxError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Makes a user namespace whose ids `map` writes for the process it is given.
fn namespace(
    helper: &Path,
    kind: IdentityKind,
    map: impl FnOnce(u32) -> Result<(), SandboxError>,
) -> Result<OwnedFd, SandboxError> {
    let mut holder = Helper::start(helper)?;
    let parent = own_id();
    wire::send(&holder.control, &Order::Hold { parent }).map_err(|error| holder.lost(&error))?;
    ready(&mut holder, kind)?;
    map(holder.id())?;
    wire::send(&holder.control, &Command::Mapped).map_err(|error| holder.lost(&error))?;
    ready(&mut holder, kind)?;
    let path = format!("/proc/{}/ns/user", holder.id());
    let namespace = fs::File::open(&path).map_err(|error| SandboxError::Setup {
        action: format!("opening `{path}`"),
        reason: error.to_string(),
    })?;
    Ok(namespace.into())
}

fn ready(holder: &mut Helper, kind: IdentityKind) -> Result<(), SandboxError> {
    match wire::receive::<Answer>(&holder.control) {
        Ok(Some(Answer::Ready)) => Ok(()),
        Ok(Some(Answer::Failed(Failure::Setup { action, reason }))) => {
            Err(SandboxError::Setup { action, reason })
        }
        Ok(Some(_)) => Err(holder.lost(&"an unexpected answer")),
        Ok(None) => Err(holder.lost(&format!(
            "no answer while making a user namespace ({})",
            kind.describe()
        ))),
        Err(error) => Err(holder.lost(&error)),
    }
}

/// The lines of an id map: first id inside, first id outside, count.
fn extents(map: &str) -> Vec<[u32; 3]> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        })
        .collect()
}

/// Every id of this namespace mapped to itself; one line for each extent, or the kernel refuses.
fn identity_map(own: &str) -> String {
    let lines: Vec<String> = extents(own)
        .iter()
        .map(|[inside, _, count]| format!("{inside} {inside} {count}\n"))
        .collect();
    lines.concat()
}

fn write_maps(pid: u32, uids: &str, gids: &str, deny_groups: bool) -> Result<(), SandboxError> {
    let write = |file: &str, content: &str| {
        fs::write(format!("/proc/{pid}/{file}"), content).map_err(|error| SandboxError::IdMap {
            reason: format!("writing `{file}`: {error}"),
            hint: hint(),
        })
    };
    if deny_groups {
        write("setgroups", "deny")?;
    }
    write("uid_map", uids)?;
    write("gid_map", gids)
}

/// One map for users and one for groups, each line as [`extents`] has it.
type Maps = (Vec<[u32; 3]>, Vec<[u32; 3]>);

/// This user as root, and the ranges it owns as 1 and up.
fn subordinate_ids() -> Result<Maps, SandboxError> {
    let uid = geteuid().as_raw();
    let name = user_name(uid);
    let map = |file: &str, own: u32| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let ranges = ranges_of(&text, name.as_deref(), uid);
        if ranges.is_empty() {
            let user = name.clone().unwrap_or_else(|| uid.to_string());
            return Err(SandboxError::IdMap {
                reason: format!("`{file}` has no range for `{user}`"),
                hint: format!(
                    "run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
                ),
            });
        }
        let mut map = vec![[0, own, 1]];
        let mut next = 1_u32;
        for (start, count) in ranges {
            map.push([next, start, count]);
            next = next.saturating_add(count);
        }
        Ok(map)
    };
    Ok((
        map("/etc/subuid", uid)?,
        map("/etc/subgid", getegid().as_raw())?,
    ))
}

/// The ranges that a file like `/etc/subuid` gives to a user: first id and count.
fn ranges_of(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (Some(owner) == name || owner.parse() == Ok(uid)).then_some(range)
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// From `/etc/passwd`, or wherever else this system keeps its users.
fn user_name(uid: u32) -> Option<String> {
    let find = |text: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    };
    let local = fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|text| find(&text));
    local.or_else(|| {
        let found = Program::new("getent")
            .args(["passwd", &uid.to_string()])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        find(&String::from_utf8_lossy(&found.stdout))
    })
}

/// Runs `newuidmap` or `newgidmap`.
fn run_mapper(program: &str, pid: u32, map: &[[u32; 3]]) -> Result<(), SandboxError> {
    let numbers = map.iter().flatten().map(u32::to_string);
    let output = Program::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| SandboxError::IdMap {
        reason: format!("`{program}` cannot be run: {error}"),
        hint: "install the package `uidmap` (Debian) or `shadow-utils` (Fedora)".to_owned(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(SandboxError::IdMap {
        reason: format!("`{program}`: {}", said.trim()),
        hint: hint(),
    })
}

/// What usually forbids user namespaces, looked up on this machine.
fn hint() -> String {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/{name}"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    if read("user/max_user_namespaces") == "0" {
        return "user namespaces are switched off: sysctl user.max_user_namespaces=15000"
            .to_owned();
    }
    if read("kernel/unprivileged_userns_clone") == "0" {
        return "user namespaces are for root only here: sysctl kernel.unprivileged_userns_clone=1"
            .to_owned();
    }
    if read("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return "AppArmor restricts user namespaces: give the program a profile with `userns`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned();
    }
    "inside a container: run it as root with its seccomp profile unconfined, or with CAP_SYS_ADMIN"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let file = "root:1:2\nann:100000:65536\n# ann:1:1\n1500:200000:10\nann:300000:5\nann:bad:1\nann:7:0\n";
        assert_eq!(
            ranges_of(file, Some("ann"), 1500),
            [(100_000, 65536), (200_000, 10), (300_000, 5)]
        );
        assert_eq!(ranges_of(file, None, 1500), [(200_000, 10)]);
        assert_eq!(ranges_of(file, Some("bob"), 7), []);
    }

    #[test]
    fn an_identity_map_has_a_line_for_every_extent() {
        let own = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(identity_map(own), "0 0 1\n1 1 65536\n");
        assert_eq!(extents("0 0 4294967295\n"), [[0, 0, u32::MAX]]);
    }
}
