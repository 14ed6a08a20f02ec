//! Where our command line differs from docker's: the verb that may be left out, the flags that we do not have.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};

use super::Cli;
use crate::exit::Failure;

/// Puts in `build` where the verb was left out: `rbuild -t x .` is `rbuild build -t x .`.
pub(crate) fn with_verb(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(text) = arguments.get(at).and_then(|argument| argument.to_str()) {
        match text {
            "--root" | "--config" => at += 2,
            _ if ["--root=", "--config=", "--tls-verify"]
                .iter()
                .any(|flag| text.starts_with(flag)) =>
            {
                at += 1;
            }
            "-h" | "--help" | "-V" | "--version" | "help" => return arguments,
            _ if is_verb(text) => return arguments,
            _ => break,
        }
    }
    if at < arguments.len() {
        arguments.insert(at, "build".into());
    }
    arguments
}

fn is_verb(text: &str) -> bool {
    Cli::command()
        .get_subcommands()
        .any(|verb| verb.get_name() == text || verb.get_all_aliases().any(|alias| alias == text))
}

/// Flags that docker has and we do not: what to say when one is used.
const BUILD_FLAGS: &[(&str, &str)] = &[
    ("--add-host", ""),
    ("--allow", ""),
    ("--annotation", ""),
    ("--attest", ""),
    ("--build-context", ""),
    (
        "--builder",
        "rbuild has no builders: it builds in its own process",
    ),
    ("--cache-from", "the cache is local for now"),
    ("--cache-to", "the cache is local for now"),
    ("--cgroup-parent", ""),
    ("--compress", ""),
    ("--cpu-period", ""),
    ("--cpu-quota", ""),
    ("--cpu-shares", ""),
    ("--cpuset-cpus", ""),
    ("--cpuset-mems", ""),
    ("--disable-content-trust", ""),
    ("--force-rm", "rbuild leaves no containers behind"),
    ("--isolation", ""),
    ("--memory", ""),
    ("-m", ""),
    ("--memory-swap", ""),
    ("--no-cache-filter", "use `--no-cache` to run every step"),
    (
        "--output",
        "an image always goes to the local store: `rbuild save` writes archives, `--push` pushes",
    ),
    (
        "-o",
        "an image always goes to the local store: `rbuild save` writes archives, `--push` pushes",
    ),
    ("--policy", ""),
    ("--provenance", ""),
    ("--rm", "rbuild leaves no containers behind"),
    ("--sbom", ""),
    ("--security-opt", ""),
    ("--shm-size", ""),
    ("--squash", ""),
    ("--ssh", ""),
    ("--stream", ""),
    ("--ulimit", ""),
];

const RUN_FLAGS: &[(&str, &str)] = &[
    ("--detach", "containers run in the foreground"),
    ("-d", "containers run in the foreground"),
    ("--name", "a container is gone when its command ends"),
    ("--volume", ""),
    ("-v", ""),
    ("--mount", ""),
    ("--publish", "`--network host` shares the host's ports"),
    ("-p", "`--network host` shares the host's ports"),
    ("--publish-all", "`--network host` shares the host's ports"),
    ("-P", "`--network host` shares the host's ports"),
    ("--privileged", ""),
    ("--cap-add", ""),
    ("--cap-drop", ""),
    ("--env-file", ""),
    ("--hostname", ""),
    ("-h", ""),
    ("--label", ""),
    ("-l", ""),
    ("--memory", ""),
    ("-m", ""),
    ("--cpus", ""),
    ("--read-only", ""),
    ("--restart", "containers run in the foreground"),
    ("--tmpfs", ""),
    ("--ulimit", ""),
    ("--add-host", ""),
    ("--dns", ""),
    ("--device", ""),
    ("--gpus", ""),
    ("--init", ""),
    ("--group-add", ""),
    ("--platform", ""),
    ("--pull", "use `rbuild pull` first"),
    ("--security-opt", ""),
    ("--shm-size", ""),
    ("--userns", ""),
    ("--pid", ""),
    ("--ipc", ""),
    ("--uts", ""),
    ("--attach", ""),
    ("-a", ""),
    ("--cidfile", ""),
    ("--stop-signal", ""),
    ("--volumes-from", ""),
];

const OTHER_FLAGS: &[(&str, &str, &str)] = &[
    ("images", "--filter", ""),
    ("images", "-f", ""),
    ("images", "--tree", ""),
    ("inspect", "--type", "rbuild has images only"),
    ("inspect", "--size", ""),
    ("inspect", "-s", ""),
    (
        "inspect",
        "-f",
        "the output is JSON: `jq` picks out parts of it",
    ),
    ("pull", "--all-tags", "pull the tags one by one"),
    ("pull", "-a", "pull the tags one by one"),
    ("pull", "--disable-content-trust", ""),
    ("push", "--disable-content-trust", ""),
    ("push", "--platform", ""),
    ("rmi", "--no-prune", ""),
    ("rmi", "--platform", ""),
    ("save", "--platform", ""),
    ("load", "--platform", ""),
    ("history", "--platform", ""),
    ("prune", "--filter", ""),
    ("prune", "--volumes", "rbuild has no volumes"),
    ("df", "--verbose", ""),
    ("df", "-v", ""),
];

/// What to say about a flag that docker has and we do not; `None` for a flag that nobody has.
pub(crate) fn explain(error: &clap::Error, arguments: &[OsString]) -> Option<Failure> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = flag.split(['=', ' ']).next().unwrap_or(flag);
    let arguments = with_verb(arguments.to_vec());
    let verb = arguments
        .iter()
        .skip(1)
        .filter_map(|a| a.to_str())
        .find(|a| is_verb(a))?;
    let table: Vec<(&str, &str)> = match verb {
        "build" | "b" => BUILD_FLAGS.to_vec(),
        "run" => RUN_FLAGS.to_vec(),
        other => OTHER_FLAGS
            .iter()
            .filter(|(of, _, _)| *of == other)
            .map(|(_, flag, note)| (*flag, *note))
            .collect(),
    };
    let (_, note) = table.into_iter().find(|(known, _)| *known == flag)?;
    let failure = Failure::unable(format!(
        "`{flag}` of docker's `{verb}` is not supported yet"
    ));
    Some(if note.is_empty() {
        failure
    } else {
        failure.hint(note)
    })
}

/// Whether a context is something that docker would fetch.
pub(crate) fn remote_context(context: &OsStr) -> Option<&'static str> {
    let text = context.to_str()?;
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    if text == "-" {
        Some("a context from standard input")
    } else if is(&["git://", "git@", "github.com/", "ssh://"])
        || (is(&["http://", "https://"])
            && text
                .split('#')
                .next()
                .is_some_and(|url| url.rsplit('.').next() == Some("git")))
    {
        Some("a context from a git repository")
    } else if is(&["http://", "https://"]) {
        Some("a context from a URL")
    } else {
        None
    }
}

/// The names of all verbs that a user may look for.
pub(crate) fn verbs() -> Vec<String> {
    Cli::command()
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| verb.get_name().to_owned())
        .collect()
}
