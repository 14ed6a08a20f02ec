//! The table of dependencies: which of our crates may know which, and what the lowest three may take from outside.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Findings;
use crate::process::Cmd;
use crate::workspace::{cargo, root};

/// Our crates and which others of ours each may use (docs/ARCHITECTURE.md).
const INSIDE: &[(&str, &[&str])] = &[
    ("rbuild-parser", &[]),
    ("rbuild-image", &[]),
    ("rbuild-store", &["rbuild-image"]),
    ("rbuild-cache", &["rbuild-image", "rbuild-store"]),
    ("rbuild-registry-client", &["rbuild-image", "rbuild-store"]),
    (
        "rbuild-builder",
        &[
            "rbuild-parser",
            "rbuild-image",
            "rbuild-store",
            "rbuild-cache",
        ],
    ),
    (
        "rbuild-registry-server",
        &["rbuild-image", "rbuild-registry-client", "rbuild-store"],
    ),
    (
        "rbuild",
        &[
            "rbuild-parser",
            "rbuild-image",
            "rbuild-store",
            "rbuild-cache",
            "rbuild-builder",
            "rbuild-registry-client",
            "rbuild-registry-server",
        ],
    ),
    ("xtask", &[]),
];

/// What crates that everything rests on may use from outside; one more needs a reason and a line here.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("rbuild-parser", &["nom", "serde", "serde_json"]),
    (
        "rbuild-image",
        &[
            "crc32fast",
            "flate2",
            "ruzstd",
            "serde",
            "serde_json",
            "sha2",
            "tar",
            "thiserror",
        ],
    ),
    (
        "rbuild-store",
        &[
            "crc32fast",
            "flate2",
            "getrandom",
            "memmap2",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
        ],
    ),
];

/// Compares the manifests with both tables.
pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let text = Cmd::new(cargo())
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .dir(&root())
        .text()?;
    let metadata: Value =
        serde_json::from_str(&text).context("cannot read what `cargo metadata` says")?;
    check_metadata(&metadata, findings);
    Ok(())
}

fn check_metadata(metadata: &Value, findings: &mut Findings) {
    let inside: BTreeMap<&str, &[&str]> = INSIDE.iter().copied().collect();
    let outside: BTreeMap<&str, &[&str]> = OUTSIDE.iter().copied().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = inside.get(name) else {
            findings.error(
                name,
                "is not in the table of crates in xtask/src/tidy/dependencies.rs",
            );
            continue;
        };
        for dependency in shipped_dependencies(package) {
            if inside.contains_key(dependency) {
                if !allowed.contains(&dependency) {
                    findings.error(name, format!("may not depend on {dependency}"));
                }
            } else if outside
                .get(name)
                .is_some_and(|allowed| !allowed.contains(&dependency))
            {
                findings.error(
                    name,
                    format!("{dependency} is not in its list of outside dependencies"),
                );
            }
        }
    }
}

/// Names of all dependencies but those for tests.
fn shipped_dependencies(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Findings, check_metadata};
    use serde_json::json;

    #[test]
    fn forbidden_edges_are_found_and_those_for_tests_are_not() {
        let dependency = |name: &str, kind: Option<&str>| json!({ "name": name, "kind": kind });
        let metadata = json!({ "packages": [
            { "name": "rbuild-parser", "dependencies": [dependency("nom", None), dependency("rbuild-image", None), dependency("insta", Some("dev"))] },
            { "name": "rbuild-image", "dependencies": [dependency("reqwest", None)] },
            { "name": "rbuild-new", "dependencies": [] },
        ]});
        let mut findings = Findings::default();
        check_metadata(&metadata, &mut findings);
        let places: Vec<&str> = findings
            .errors
            .iter()
            .map(|line| line.split(": ").next().unwrap_or_default())
            .collect();
        assert_eq!(places, ["rbuild-parser", "rbuild-image", "rbuild-new"]);
    }
}
