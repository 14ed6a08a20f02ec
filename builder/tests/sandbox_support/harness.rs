//! A small test harness: names, a filter, and the second run as an ordinary user.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use rbuild_builder::sandbox::{Identity, IdentityKind, detect};

use super::world::World;

/// The ordinary user of the second run; made with
/// `useradd --create-home --add-subids-for-system rbuild-test` or by hand, with ranges in
/// `/etc/subuid` and `/etc/subgid`.
pub(crate) const USER: &str = "rbuild-test";

/// A test: its name, what it needs, and itself.
pub(crate) type Case = (&'static str, Needs, fn(&World));

/// Where a test makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any identity.
    Any,
    /// More than one id.
    Range,
    /// Real root.
    Root,
}

/// Runs all cases whose name contains one of the arguments.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, ..) in cases {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return lacking(
            &["root", "userns"],
            "busybox is not installed: apt-get install busybox-static",
        );
    }
    let identity = match detect("/proc/self/exe".as_ref()) {
        Ok(identity) => identity,
        Err(error) => {
            return lacking(
                &["userns"],
                &format!("{error}; {}", error.hint().unwrap_or_default()),
            );
        }
    };
    let mut failed = run_as(cases, &filters, identity.clone());
    if matches!(identity, Identity::Root) {
        failed |= run_as_user(&filters);
    } else if identity.kind() != IdentityKind::SubordinateRange {
        say(&format!(
            "identity: {:?}: {:?}",
            identity.kind(),
            identity.notes()
        ));
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run_as(cases: &[Case], filters: &[String], identity: Identity) -> bool {
    let kind = identity.kind();
    let world = World::new(identity);
    let mut failures = Vec::new();
    for (name, needs, test) in cases {
        let wanted =
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
        let possible = match needs {
            Needs::Any => true,
            Needs::Range => kind != IdentityKind::SingleId,
            Needs::Root => kind == IdentityKind::Root,
        };
        if !wanted || !possible {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(|| test(&world))).is_ok();
        say(&format!(
            "test {name} ({kind:?}) ... {}",
            if passed { "ok" } else { "FAILED" }
        ));
        if !passed {
            failures.push(*name);
        }
    }
    world.remove();
    if !failures.is_empty() {
        say(&format!("failed ({kind:?}): {}", failures.join(", ")));
    }
    !failures.is_empty()
}

/// Copies this program to where the user may run it, and does.
fn run_as_user(filters: &[String]) -> bool {
    let known = fs::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .any(|line| line.starts_with(&format!("{USER}:")));
    if !known {
        return lacking(&["userns"], &format!("there is no user `{USER}`")) == ExitCode::FAILURE;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let copy = directory.path().join("sandbox-tests");
    fs::copy("/proc/self/exe", &copy).expect("a copy of the test program");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("its mode");
    let status = Command::new("setpriv")
        .args([
            "--reuid",
            USER,
            "--regid",
            USER,
            "--init-groups",
            "--reset-env",
        ])
        .arg(&copy)
        .args(filters)
        .envs(std::env::var("RBUILD_REQUIRE").map(|value| ("RBUILD_REQUIRE", value)))
        .current_dir("/")
        .status();
    !status.expect("setpriv runs").success()
}

/// Says what is missing; fails if it is required.
fn lacking(capabilities: &[&str], what: &str) -> ExitCode {
    say(&format!("skipped: {what}"));
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    if required.split(',').any(|name| capabilities.contains(&name)) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
