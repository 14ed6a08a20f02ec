//! The conformance program of the distribution specification, run against our registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::ours::Registry;
use crate::process::Cmd;
use crate::workspace::{Binaries, Scratch};

/// Runs `program` against a fresh registry and fails if one of its tests does.
pub(crate) fn run(binaries: &Binaries, program: &Path) -> Result<()> {
    let program: PathBuf = program
        .canonicalize()
        .with_context(|| format!("there is no `{}`", program.display()))?;
    let scratch = Scratch::new()?;
    let results = scratch.subdir("results")?;
    let registry = Registry::start(binaries, &scratch)?;
    Cmd::new(&program)
        .env("OCI_REGISTRY", registry.address())
        .env("OCI_TLS", "disabled")
        .env("OCI_VERSION", "1.1+dev")
        .env("OCI_REPO1", "conformance/one")
        .env("OCI_REPO2", "conformance/two")
        .env("OCI_RESULTS_DIR", &results)
        .dir(scratch.path())
        .show_and_run()?;
    let report = results.join("junit.xml");
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("the program left no `{}`", report.display()))?;
    let (failed, broken) = (count(&text, "failures"), count(&text, "errors"));
    if failed + broken > 0 {
        bail!("{failed} conformance tests failed, {broken} could not be run");
    }
    println!("conformance: no test failed");
    Ok(())
}

/// The largest number that an attribute of this name has: that of the whole report.
fn count(report: &str, attribute: &str) -> u64 {
    report
        .split(&format!(" {attribute}=\""))
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_report_tells_how_many_tests_failed() {
        let report = r#"<testsuites tests="9" failures="2" errors="0"><testsuite failures="2"/></testsuites>"#;
        assert_eq!(count(report, "failures"), 2);
        assert_eq!(count(report, "errors"), 0);
        assert_eq!(count("", "failures"), 0);
    }
}
