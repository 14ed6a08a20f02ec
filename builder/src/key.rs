//! The key of each operation (docs/keys.md has the table, with what is left out and why).
//!
//! A key is made of the operation and the content of its inputs, never of the history that led there.

use rbuild_cache::{CacheKey, Ingredient, KeyBuilder};
use rbuild_image::Digest;

use crate::graph::{MountSpec, RunSpec};
use crate::request::NetworkMode;

/// Ingredient: the root file system that a command sees.
pub(crate) const ROOT: &str = "root file system";
/// Ingredient: program and arguments.
pub(crate) const COMMAND: &str = "command";
/// Ingredient: what begins the label of an environment variable.
pub(crate) const VARIABLE: &str = "variable ";
/// Ingredient: the entries of a layer that only adds files.
pub(crate) const FILES: &str = "files";

/// The key of a command. `bound` are the contents of its bind mounts, in order. What cache mounts and secrets hold,
/// and what they are called, is not in it (rule 37). Proxies that no `ARG` declares are not in it, nor is anything of the host.
pub(crate) fn run(root: &Digest, spec: &RunSpec, bound: &[Digest]) -> (CacheKey, Vec<Ingredient>) {
    let mut key = KeyBuilder::new("run").content(ROOT, root);
    let argv: Vec<u8> = spec
        .argv
        .iter()
        .flat_map(|argument| [argument.as_bytes(), b"\0"].concat())
        .collect();
    key = key.bytes(COMMAND, &argv);
    let mut env: Vec<_> = spec.env.iter().collect();
    env.sort();
    for (name, value) in env {
        key = key.text(&format!("{VARIABLE}{name}"), value);
    }
    key = key
        .text("working directory", &spec.workdir)
        .text("user", &spec.user);
    key = key.text(
        "network",
        match spec.network {
            NetworkMode::Host => "host",
            NetworkMode::None => "none",
        },
    );
    let mut bound = bound.iter();
    for mount in &spec.mounts {
        key = match mount {
            MountSpec::Bind {
                target, read_only, ..
            } => {
                let label = format!("files mounted at {target}");
                match bound.next() {
                    Some(content) => key
                        .content(&label, content)
                        .text("mount", bind_mode(*read_only)),
                    None => key.text(&label, "nothing"),
                }
            }
            MountSpec::Cache {
                target, read_only, ..
            } => key
                .text("cache mount", target)
                .text("mount", bind_mode(*read_only)),
            MountSpec::Tmpfs { target, size } => {
                key.text("tmpfs mount", &format!("{target} {size:?}"))
            }
            MountSpec::Secret {
                id,
                target,
                env,
                required,
                mode,
                uid,
                gid,
            } => key.text(
                "secret mount",
                &format!("{id} {target:?} {env:?} {required} {mode:o} {uid} {gid}"),
            ),
        };
    }
    if let Some(script) = &spec.script {
        key = key
            .text("script path", &script.path)
            .bytes("script", script.text.as_bytes());
    }
    key.finish()
}

const fn bind_mode(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "writable" }
}

/// The key of a step that adds files: the entries of its layer without times. Whatever the layer depends on in
/// the root file system below (where links lead, which parents exist, whose they are) shows in those entries.
pub(crate) fn files(entries: &Digest) -> (CacheKey, Vec<Ingredient>) {
    KeyBuilder::new("files").content(FILES, entries).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is changed, and how.
    type Change = (&'static str, fn(&mut RunSpec));

    fn spec() -> RunSpec {
        RunSpec {
            argv: vec!["/bin/sh".into(), "-c".into(), "make".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), "2".into())],
            uncounted_env: Vec::new(),
            workdir: "/".into(),
            user: String::new(),
            network: NetworkMode::Host,
            mounts: Vec::new(),
            script: None,
        }
    }

    fn key(spec: &RunSpec) -> CacheKey {
        run(&Digest::sha256(b"root"), spec, &[]).0
    }

    #[test]
    fn whatever_decides_the_result_is_in_the_key() {
        let changes: [Change; 7] = [
            ("an argument", |spec| spec.argv[2].push(' ')),
            ("where arguments end", |spec| {
                spec.argv = vec!["/bin/sh".into(), "-cmake".into()];
            }),
            ("a variable", |spec| spec.env[0].1 = "2".into()),
            ("the working directory", |spec| spec.workdir = "/x".into()),
            ("the user", |spec| spec.user = "app".into()),
            ("the network", |spec| spec.network = NetworkMode::None),
            ("a script", |spec| {
                spec.script = Some(crate::graph::Script {
                    path: "/p".into(),
                    text: "t".into(),
                });
            }),
        ];
        for (what, change) in changes {
            let mut other = spec();
            change(&mut other);
            assert_ne!(key(&other), key(&spec()), "{what}");
        }
        assert_ne!(run(&Digest::sha256(b"other"), &spec(), &[]).0, key(&spec()));
    }

    #[test]
    fn what_does_not_decide_it_is_not() {
        let changes: [Change; 2] = [
            ("the order of variables", |spec| spec.env.reverse()),
            ("an undeclared proxy", |spec| {
                spec.uncounted_env.push(("http_proxy".into(), "p".into()));
            }),
        ];
        for (what, change) in changes {
            let mut other = spec();
            change(&mut other);
            assert_eq!(key(&other), key(&spec()), "{what}");
        }
    }
}
