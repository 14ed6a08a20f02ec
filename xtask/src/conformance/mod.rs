//! The conformance program of the distribution specification, run against our registry.
//!
//! There are two of it: the suite of version 1.1 of the specification, which can be had at a pinned version, and the program that replaced it, which the caller names.

mod report;
mod suite;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::golang;
use crate::ours::Registry;
use crate::process::{Cmd, tail};
use crate::workspace::{Binaries, Scratch};
use report::{Outcome, Test};
use suite::{Round, Suite};

/// Runs `program`, or else the pinned suite, against fresh registries.
///
/// # Errors
///
/// The program cannot be had or run, a test fails, or one is skipped that should run.
pub(crate) fn run(binaries: &Binaries, program: Option<&Path>) -> Result<()> {
    let (suite, program) = match program {
        Some(path) => {
            let found = path
                .canonicalize()
                .with_context(|| format!("there is no `{}`", path.display()))?;
            (&suite::NAMED, found)
        }
        None => (&suite::PINNED, golang::install(&suite::PROGRAM)?),
    };
    let scratch = Scratch::new()?;
    let mut wrong = 0;
    for round in suite.rounds {
        wrong += play(binaries, &scratch, suite, round, &program)
            .with_context(|| format!("conformance, {}", round.name))?;
    }
    leave_out(suite.skipped);
    if wrong > 0 {
        bail!("{wrong} conformance tests failed or did not run");
    }
    println!("conformance: nothing failed, nothing was left out unexpectedly");
    Ok(())
}

/// Runs the program once; returns how many tests went wrong.
fn play(
    binaries: &Binaries,
    scratch: &Scratch,
    suite: &Suite,
    round: &Round,
    program: &Path,
) -> Result<usize> {
    let directory = scratch.subdir(round.name)?;
    let serve = round
        .server
        .iter()
        .fold(Cmd::new(&binaries.registry), |cmd, (name, value)| {
            cmd.env(name, value)
        })
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.join("data"));
    let registry = Registry::start_with(serve, &directory.join("registry.log"))?;
    let results = scratch.subdir(&format!("{}/results", round.name))?;
    let settings = (suite.settings)(registry.address(), &results);
    let program = settings
        .iter()
        .map(|(name, value)| (*name, value.as_os_str()))
        .chain(
            round
                .client
                .iter()
                .map(|(name, value)| (*name, (*value).as_ref())),
        )
        .fold(Cmd::new(program).dir(&directory), |cmd, (name, value)| {
            cmd.env(name, value)
        });
    let said = program.output()?;
    let report = results.join("junit.xml");
    let text = fs::read_to_string(&report).with_context(|| {
        format!(
            "the program left no `{}`:\n{}{}",
            report.display(),
            tail(&said.stdout),
            tail(&said.stderr)
        )
    })?;
    let tests: Vec<Test> = report::read(&text)?
        .into_iter()
        .filter(|test| test.name.starts_with(suite.prefix))
        .collect();
    let wrong = judge(suite, round, &tests);
    if wrong.is_empty() && !said.status.success() {
        bail!(
            "every test is well, yet the program ended with {}:\n{}",
            said.status,
            tail(&said.stderr)
        );
    }
    if !wrong.is_empty() {
        print!("{}", String::from_utf8_lossy(&said.stdout));
    }
    println!("conformance, {}:", round.name);
    for (group, counts) in counts(suite, &tests) {
        println!("  {group:<28} {counts}");
    }
    leave_out(round.skipped);
    for line in &wrong {
        println!("  {line}");
    }
    let remarks = [&said.stdout, &said.stderr]
        .map(|output| String::from_utf8_lossy(output).into_owned())
        .concat();
    let warned: Vec<&str> = remarks
        .lines()
        .filter(|line| line.contains("WARNING"))
        .collect();
    for line in &warned {
        println!("  {}", line.trim());
    }
    Ok(wrong.len() + warned.len())
}

fn leave_out(skipped: &[(&str, &str)]) {
    for (name, reason) in skipped {
        println!("  left out: {name}\n    {reason}");
    }
}

/// What is wrong: failures, tests left out without a reason, and reasons that nothing was left out for.
fn judge(suite: &Suite, round: &Round, tests: &[Test]) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected: Vec<&(&str, &str)> = suite.skipped.iter().chain(round.skipped).collect();
    for test in tests {
        let reason = expected.iter().any(|(name, _)| test.name.ends_with(name));
        match test.outcome {
            Outcome::Failed => wrong.push(format!("failed: {}", test.name)),
            Outcome::Skipped if !reason => wrong.push(format!("did not run: {}", test.name)),
            Outcome::Skipped | Outcome::Passed => {}
        }
    }
    for (name, _) in expected {
        let skipped = |test: &Test| test.outcome == Outcome::Skipped && test.name.ends_with(name);
        if !tests.iter().any(skipped) {
            wrong.push(format!("expected to be left out, but was not: {name}"));
        }
    }
    wrong
}

/// How many tests of each group passed, and how many others there are.
fn counts(suite: &Suite, tests: &[Test]) -> BTreeMap<String, String> {
    let mut numbers: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for test in tests {
        let inside = test.name.strip_prefix(suite.prefix).unwrap_or(&test.name);
        let group = (suite.group)(inside);
        let [passed, skipped, failed] = numbers.entry(group.to_owned()).or_default();
        match test.outcome {
            Outcome::Passed => *passed += 1,
            Outcome::Skipped => *skipped += 1,
            Outcome::Failed => *failed += 1,
        }
    }
    numbers
        .into_iter()
        .map(|(group, [passed, skipped, failed])| {
            (
                group,
                format!("{passed} passed, {skipped} left out, {failed} failed"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::report::{Outcome, Test};
    use super::suite::{Round, Suite};
    use super::{counts, judge};

    const SUITE: Suite = Suite {
        prefix: "all ",
        group: |name| name.split(' ').next().unwrap_or(name),
        settings: |_, _| Vec::new(),
        skipped: &[("off", "switched off")],
        rounds: &[],
    };
    const ROUND: Round = Round {
        name: "only",
        server: &[],
        client: &[],
        skipped: &[],
    };

    fn tests(list: &[(&str, Outcome)]) -> Vec<Test> {
        list.iter()
            .map(|(name, outcome)| Test {
                name: (*name).to_owned(),
                outcome: *outcome,
            })
            .collect()
    }

    #[test]
    fn failures_and_unexpected_skips_are_wrong() {
        use Outcome::{Failed, Passed, Skipped};
        for (list, wrong) in [
            (&[("all pull a", Passed), ("all pull off", Skipped)][..], 0),
            (&[("all pull a", Failed), ("all pull off", Skipped)], 1),
            (&[("all pull a", Skipped), ("all pull off", Skipped)], 1),
            (&[("all pull a", Passed), ("all pull off", Passed)], 1),
            (&[("all pull a", Passed)], 1),
        ] {
            assert_eq!(judge(&SUITE, &ROUND, &tests(list)).len(), wrong, "{list:?}");
        }
    }

    #[test]
    fn outcomes_are_counted_by_group() {
        let list = tests(&[
            ("all pull a", Outcome::Passed),
            ("all pull b", Outcome::Failed),
            ("all push a", Outcome::Skipped),
        ]);
        let counts: Vec<_> = counts(&SUITE, &list).into_iter().collect();
        assert_eq!(
            counts,
            [
                (
                    "pull".to_owned(),
                    "1 passed, 0 left out, 1 failed".to_owned()
                ),
                (
                    "push".to_owned(),
                    "0 passed, 1 left out, 0 failed".to_owned()
                ),
            ]
        );
    }
}
