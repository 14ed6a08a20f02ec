//! Users and groups by name: `--chown`, `USER`, and who makes a working directory.

use std::io;

use crate::sandbox::ResolvedUser;

/// Reads a file of the root file system; none when it is not there.
pub(crate) type ReadFile<'a> = dyn Fn(&str) -> io::Result<Option<Vec<u8>>> + 'a;

/// A name that no account file has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwnerError {
    #[error("the root file system has no user `{0}` in /etc/passwd")]
    NoUser(String),
    #[error("the root file system has no group `{0}` in /etc/group")]
    NoGroup(String),
    #[error("cannot read the account files: {0}")]
    Io(String),
}

/// Owner and group of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owners {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owners {
    /// `--chown=user[:group]`, and who makes a working directory under `USER user[:group]`.
    ///
    /// A name alone gives the group of its account, a number alone the group of the same number,
    /// whatever account has that number: `testdata/builds/workdir-owner` shows it of `BuildKit`.
    pub(crate) fn parse(text: &str, read: &ReadFile<'_>) -> Result<Self, OwnerError> {
        let (user, group) = split(text);
        let (uid, own_gid) = match user.parse::<u32>() {
            Ok(uid) => (uid, uid),
            Err(_) => find_user(user, read).map(|account| (account.uid, account.gid))?,
        };
        let gid = match group {
            None => own_gid,
            Some(group) => group_id(group, read)?,
        };
        Ok(Self { uid, gid })
    }
}

/// Who a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: ResolvedUser,
    pub(crate) home: String,
}

/// `USER user[:group]` as the kernel knows it (rule 24): with a group, only that group; a number that no
/// account has gets group 0 and home `/`. The first group is among the supplementary ones as well, so that
/// a process which changes its group cannot escape what is denied to the first (CVE-2022-36109).
pub(crate) fn identity(text: &str, read: &ReadFile<'_>) -> Result<Identity, OwnerError> {
    let (user, group) = split(if text.is_empty() { "0" } else { text });
    let account = match user.parse::<u32>() {
        Ok(uid) => {
            let found = accounts(read)?
                .into_iter()
                .find(|account| account.uid == uid);
            let fallback = if uid == 0 { "/root" } else { "/" };
            found.unwrap_or_else(|| Account {
                name: String::new(),
                uid,
                gid: 0,
                home: fallback.to_owned(),
            })
        }
        Err(_) => find_user(user, read)?,
    };
    let (gid, groups) = match group {
        Some(group) => (group_id(group, read)?, Vec::new()),
        None if account.name.is_empty() => (account.gid, Vec::new()),
        None => {
            let all = groups(read)?;
            let member = all
                .iter()
                .filter(|group| group.members.contains(&account.name));
            (
                account.gid,
                member
                    .map(|group| group.gid)
                    .filter(|gid| *gid != account.gid)
                    .collect(),
            )
        }
    };
    let user = ResolvedUser {
        uid: account.uid,
        gid,
        groups: std::iter::once(gid).chain(groups).collect(),
    };
    Ok(Identity {
        user,
        home: account.home,
    })
}

#[derive(Debug, Clone)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (
            if user.is_empty() { "0" } else { user },
            Some(group).filter(|g| !g.is_empty()),
        ),
        None => (text, None),
    }
}

fn find_user(name: &str, read: &ReadFile<'_>) -> Result<Account, OwnerError> {
    let found = accounts(read)?
        .into_iter()
        .find(|account| account.name == name);
    found.ok_or_else(|| OwnerError::NoUser(name.to_owned()))
}

fn group_id(group: &str, read: &ReadFile<'_>) -> Result<u32, OwnerError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let found = groups(read)?.into_iter().find(|own| own.name == group);
    found
        .map(|own| own.gid)
        .ok_or_else(|| OwnerError::NoGroup(group.to_owned()))
}

fn lines(path: &str, read: &ReadFile<'_>) -> Result<Vec<Vec<String>>, OwnerError> {
    let bytes = read(path)
        .map_err(|error| OwnerError::Io(error.to_string()))?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text
        .lines()
        .map(|line| {
            line.split(':')
                .map(|field| field.trim().to_owned())
                .collect()
        })
        .collect())
}

fn accounts(read: &ReadFile<'_>) -> Result<Vec<Account>, OwnerError> {
    let account = |fields: Vec<String>| match &fields[..] {
        [name, _, uid, gid, _, home, ..] => {
            let home = if home.is_empty() {
                "/".to_owned()
            } else {
                home.clone()
            };
            Some(Account {
                name: name.clone(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home,
            })
        }
        _ => None,
    };
    Ok(lines("/etc/passwd", read)?
        .into_iter()
        .filter_map(account)
        .collect())
}

fn groups(read: &ReadFile<'_>) -> Result<Vec<Group>, OwnerError> {
    let group = |fields: Vec<String>| match &fields[..] {
        [name, _, gid, members] => Some(Group {
            name: name.clone(),
            gid: gid.parse().ok()?,
            members: members.split(',').map(str::to_owned).collect(),
        }),
        _ => None,
    };
    Ok(lines("/etc/group", read)?
        .into_iter()
        .filter_map(group)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "it stands in for a reader that can fail"
    )]
    fn read(path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(match path {
            "/etc/passwd" => Some(
                b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n".to_vec(),
            ),
            "/etc/group" => Some(b"root:x:0:\napp:x:1001:\nextra:x:44:app,other\n".to_vec()),
            _ => None,
        })
    }

    #[test]
    fn owners_of_copied_files() {
        for (text, uid, gid) in [
            ("5", 5, 5),
            ("5:6", 5, 6),
            ("app", 1000, 1001),
            ("1000", 1000, 1000),
            ("app:extra", 1000, 44),
            (":app", 0, 1001),
            ("app:", 1000, 1001),
        ] {
            assert_eq!(
                Owners::parse(text, &read),
                Ok(Owners { uid, gid }),
                "{text}"
            );
        }
        assert_eq!(
            Owners::parse("nobody", &read),
            Err(OwnerError::NoUser("nobody".into()))
        );
        assert_eq!(
            Owners::parse("app:none", &read),
            Err(OwnerError::NoGroup("none".into()))
        );
    }

    #[track_caller]
    fn check(text: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let user = ResolvedUser {
            uid,
            gid,
            groups: groups.to_vec(),
        };
        assert_eq!(
            identity(text, &read),
            Ok(Identity {
                user,
                home: home.to_owned()
            }),
            "{text}"
        );
    }

    #[test]
    fn users_of_commands() {
        check("", 0, 0, &[0], "/root");
        check("app", 1000, 1001, &[1001, 44], "/home/app");
        check("1000", 1000, 1001, &[1001, 44], "/home/app");
        check("app:app", 1000, 1001, &[1001], "/home/app");
        check("app:44", 1000, 44, &[44], "/home/app");
        check("7", 7, 0, &[0], "/");
    }
}
