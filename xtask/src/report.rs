//! Named checks, counted: one line each while they run, the sum at the end.

use std::time::Instant;

use anyhow::{Result, bail};

/// Collects the outcome of checks.
#[derive(Default)]
pub(crate) struct Report {
    filter: Option<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Runs only checks whose name contains `filter`.
    pub(crate) fn new(filter: Option<String>) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Runs one check.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let filter = self.filter.as_deref();
        if filter.is_none_or(|filter| name.contains(filter)) {
            self.always(name, check);
        }
    }

    /// Runs a check that others need, whatever the filter is.
    pub(crate) fn always(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        match check() {
            Ok(()) => {
                self.passed += 1;
                println!("ok    {name} ({:.1} s)", start.elapsed().as_secs_f64());
            }
            Err(error) => {
                println!("FAIL  {name}");
                for line in format!("{error:#}").lines() {
                    println!("      {line}");
                }
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Prints the sum; an error if a check failed or none ran.
    pub(crate) fn finish(self, what: &str) -> Result<()> {
        println!(
            "{what}: {} passed, {} failed",
            self.passed,
            self.failed.len()
        );
        if !self.failed.is_empty() {
            bail!("{what} failed: {}", self.failed.join(", "));
        }
        if self.passed == 0 {
            bail!("{what}: no check ran");
        }
        Ok(())
    }
}
