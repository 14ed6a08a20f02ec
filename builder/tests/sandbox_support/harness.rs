//! A small test harness: names, a filter, and the second run as an ordinary user.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

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

/// Set in the passes that a first one starts.
const INNER: &str = "RBUILD_SANDBOX_TESTS_INNER";

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
    if !Path::new("/bin/busybox").exists() {
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
    say(&format!(
        "running {} {:?}",
        identity.kind().describe(),
        identity.notes()
    ));
    let mut failed = run_as(cases, &filters, identity.clone());
    if std::env::var_os(INNER).is_none() {
        if matches!(identity, Identity::Root) {
            failed |= run_passes(&filters);
        } else {
            failed |=
                lacking(&["root"], "the passes that only root can start") == ExitCode::FAILURE;
        }
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

/// Runs this program again with other identities.
fn run_passes(filters: &[String]) -> bool {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has_user = users
        .lines()
        .any(|line| line.starts_with(&format!("{USER}:")));
    let ordinary = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"];
    // A user whom nobody knows and who has no subordinate ids.
    let unknown = [
        "setpriv",
        "--reuid",
        "60123",
        "--regid",
        "60123",
        "--clear-groups",
    ];
    let powerless = ["setpriv", "--bounding-set", "-sys_admin"];
    // Its ids are mapped from here before it goes on and becomes root.
    let contained = [
        "unshare",
        "--user",
        "sh",
        "-c",
        "read go; exec \"$@\"",
        "sh",
    ];
    let mut failed = false;
    for (pass, want) in [
        (&ordinary[..], IdentityKind::SubordinateRange),
        (&unknown, IdentityKind::SingleId),
        (&powerless, IdentityKind::IdentityRange),
        (&contained, IdentityKind::ContainedRoot),
    ] {
        if want == IdentityKind::SubordinateRange && !has_user {
            failed |=
                lacking(&["userns"], &format!("there is no user `{USER}`")) == ExitCode::FAILURE;
        } else {
            failed |= run_pass(pass, filters, want);
        }
    }
    failed
}

/// Copies this program to where everybody may run it, and starts it with a prefix.
fn run_pass(prefix: &[&str], filters: &[String], want: IdentityKind) -> bool {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let copy = directory.path().join("sandbox-tests");
    fs::copy("/proc/self/exe", &copy).expect("a copy of the test program");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("its mode");
    let mut pass = Command::new(prefix[0])
        .args(&prefix[1..])
        .arg(&copy)
        .args(filters)
        .env(INNER, "1")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the pass can be started");
    let mut input = pass.stdin.take().expect("a pipe");
    if want == IdentityKind::ContainedRoot {
        map_ids(pass.id());
        input.write_all(b"go\n").expect("it listens");
    }
    drop(input);
    let output = pass.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    say(said.trim_end());
    let right = said.starts_with(&format!("running {}", want.describe()));
    if !right {
        say(&format!("FAILED: the pass should run {}", want.describe()));
    }
    !right || !output.status.success()
}

/// Gives a process that makes a user namespace the first 65536 ids in it.
fn map_ids(pid: u32) {
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    while fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|namespace| namespace == own) {
        std::thread::yield_now();
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), "0 0 65536\n").expect("root may map ids");
    }
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
