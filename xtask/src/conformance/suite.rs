//! The two conformance programs: how each is set up, and what it may leave out.

use std::ffi::OsString;
use std::path::Path;

use crate::golang::{Kind, Program};

/// A conformance program.
pub(super) struct Suite {
    /// What the names of all its tests begin with; what begins otherwise is no test.
    pub(super) prefix: &'static str,
    /// The group of a test, from its name behind the prefix.
    pub(super) group: fn(&str) -> &str,
    /// Its environment, from the address of the registry and the directory for its report.
    pub(super) settings: fn(&str, &Path) -> Vec<(&'static str, OsString)>,
    /// How the names of tests end that no round runs, each with the reason.
    pub(super) skipped: &'static [(&'static str, &'static str)],
    /// It is run once for each, against a registry of its own.
    pub(super) rounds: &'static [Round],
}

/// One run of a program.
pub(super) struct Round {
    /// What it is called in what is printed, and its directory.
    pub(super) name: &'static str,
    /// Settings of the registry.
    pub(super) server: &'static [(&'static str, &'static str)],
    /// Further settings of the program.
    pub(super) client: &'static [(&'static str, &'static str)],
    /// How the names of tests end that this round does not run, each with the reason.
    pub(super) skipped: &'static [(&'static str, &'static str)],
}

/// The suite of version 1.1 of the specification.
pub(super) const PROGRAM: Program = Program {
    name: "conformance",
    module: "github.com/opencontainers/distribution-spec/conformance",
    version: "v0.0.0-20231101194043-f2182352d4cc",
    sum: "h1:jL+CgYEEZluGb08ZcLpEyhn389kNMlwrWOHaIqXazq0=",
    package: ".",
    kind: Kind::Tests,
    needs: (1, 19),
};

/// How [`PROGRAM`] is run: all four of its workflows.
pub(super) const PINNED: Suite = Suite {
    prefix: "[It] OCI Distribution Conformance Tests ",
    group: |name| {
        let titles = ["Content Discovery", "Content Management", "Pull", "Push"];
        let title = titles.iter().find(|title| name.starts_with(*title));
        title.copied().unwrap_or("other")
    },
    settings: |address, results| {
        vec![
            ("OCI_ROOT_URL", format!("http://{address}").into()),
            ("OCI_NAMESPACE", "conformance/one".into()),
            ("OCI_CROSSMOUNT_NAMESPACE", "conformance/two".into()),
            ("OCI_TEST_PULL", "1".into()),
            ("OCI_TEST_PUSH", "1".into()),
            ("OCI_TEST_CONTENT_DISCOVERY", "1".into()),
            ("OCI_TEST_CONTENT_MANAGEMENT", "1".into()),
            ("OCI_AUTOMATIC_CROSSMOUNT", "1".into()),
            ("OCI_HIDE_SKIPPED_WORKFLOWS", "0".into()),
            ("OCI_REPORT_DIR", results.into()),
            ("GINKGO_NO_COLOR", "TRUE".into()),
        ]
    },
    skipped: &[
        (
            "Get tag name from environment",
            "for registries that cannot be pushed to: the tag comes from the environment",
        ),
        (
            "Populate registry with test tags (no push)",
            "for registries that cannot be pushed to: the tags come from the environment",
        ),
        (
            "Cross-mounting of nonexistent blob should yield session id",
            "for registries that refuse to mount: ours has answered 201",
        ),
        (
            "automatic content discovery disabled should return a 202",
            "for registries that do not mount without `from`: ours does",
        ),
    ],
    rounds: &[
        Round {
            name: "manifests-first",
            server: &[],
            client: &[("OCI_DELETE_MANIFEST_BEFORE_BLOBS", "1")],
            skipped: &[],
        },
        Round {
            name: "blobs-first",
            server: &[],
            client: &[("OCI_DELETE_MANIFEST_BEFORE_BLOBS", "0")],
            skipped: &[],
        },
    ],
};

/// How a program that the caller names is run: the one that replaced [`PROGRAM`], with everything switched on.
pub(super) const NAMED: Suite = Suite {
    prefix: "",
    group: |name| name.split('/').nth(1).unwrap_or(name),
    settings: |address, results| {
        vec![
            ("OCI_REGISTRY", address.into()),
            ("OCI_TLS", "disabled".into()),
            ("OCI_VERSION", "1.1+dev".into()),
            ("OCI_REPO1", "conformance/one".into()),
            ("OCI_REPO2", "conformance/two".into()),
            ("OCI_RESULTS_DIR", results.into()),
        ]
    },
    skipped: &[],
    rounds: &[
        Round {
            name: "as-shipped",
            server: &[],
            client: &[],
            skipped: &[],
        },
        Round {
            name: "sparse",
            server: &[
                ("RBUILD_REGISTRY_SPARSE_INDEXES", "true"),
                ("RBUILD_REGISTRY_SPARSE_IMAGES", "true"),
            ],
            client: &[("OCI_DATA_SPARSE", "true")],
            skipped: &[],
        },
    ],
};
