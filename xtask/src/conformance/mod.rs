//! The conformance program of the distribution specification, run against our registry.
//!
//! There are two of it: the suite of version 1.1 of the specification, which can be had at a pinned version, and the program that replaced it, which the caller names.

mod report;
mod suite;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::golang;
use crate::ours::Registry;
use crate::process::{Cmd, tail};
use crate::workspace::{Binaries, Scratch};
use report::{Outcome, Test};
use suite::{Round, Suite};

/// What is run, and what is printed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Another program than the pinned one, which needs Go; docs/conformance.md tells of both.
    program: Option<PathBuf>,
    /// Print every test as a row of a Markdown table.
    #[arg(long)]
    table: bool,
}

/// Runs the program that is named, or else the pinned suite, against fresh registries.
///
/// # Errors
///
/// The program cannot be had or run, a test fails, or one is skipped that should run.
pub(crate) fn run(binaries: &Binaries, options: &Options) -> Result<()> {
    let (suite, program) = match &options.program {
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
        let played = play(binaries, &scratch, suite, round, &program)
            .with_context(|| format!("conformance, {}", round.name))?;
        println!("conformance, {}:", round.name);
        let groups = counts(suite, &played.tests);
        for (group, counts) in &groups {
            println!("  {group:<28} {counts}");
        }
        if options.table {
            table(suite, &played.tests);
        }
        leave_out(round.skipped);
        for line in &played.wrong {
            println!("  {line}");
        }
        wrong += played.wrong.len();
    }
    leave_out(suite.skipped);
    if wrong > 0 {
        bail!("{wrong} conformance tests failed or did not run");
    }
    println!("conformance: nothing failed, nothing was left out unexpectedly");
    Ok(())
}

/// What a round came to.
struct Played {
    /// Every test, in the order of the report.
    tests: Vec<Test>,
    /// What is wrong, each in a line.
    wrong: Vec<String>,
}

/// Runs the program once against a registry of its own.
fn play(
    binaries: &Binaries,
    scratch: &Scratch,
    suite: &Suite,
    round: &Round,
    program: &Path,
) -> Result<Played> {
    let directory = scratch.subdir(round.name)?;
    let serve = Cmd::new(&binaries.registry)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.join("data"));
    let serve = round
        .server
        .iter()
        .fold(serve, |cmd, (name, value)| cmd.env(name, value));
    let registry = Registry::start_with(serve, &directory.join("registry.log"))?;
    let results = scratch.subdir(&format!("{}/results", round.name))?;
    let settings = (suite.settings)(registry.address(), &results);
    let program = Cmd::new(program).dir(&directory);
    let program = settings
        .iter()
        .fold(program, |cmd, (name, value)| cmd.env(name, value));
    let program = round
        .client
        .iter()
        .fold(program, |cmd, (name, value)| cmd.env(name, value));
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
    let mut wrong = judge(suite, round, &tests);
    for output in [&said.stdout, &said.stderr] {
        // What a registry may lack, the programs only warn of; ours lacks nothing.
        let text = String::from_utf8_lossy(output);
        let warnings = text.lines().filter(|line| line.contains("WARNING"));
        wrong.extend(warnings.map(|line| line.trim().to_owned()));
    }
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
    Ok(Played { tests, wrong })
}

/// Prints every test; those of one name in one row, as some programs use a name several times.
fn table(suite: &Suite, tests: &[Test]) {
    let mut rows: Vec<(&str, Outcome, usize)> = Vec::new();
    for test in tests {
        let name = test.name.strip_prefix(suite.prefix).unwrap_or(&test.name);
        let same = rows
            .iter_mut()
            .find(|(other, outcome, _)| *other == name && *outcome == test.outcome);
        match same {
            Some((_, _, times)) => *times += 1,
            None => rows.push((name, test.outcome, 1)),
        }
    }
    println!("\n| test | outcome |\n|---|---|");
    for (name, outcome, times) in rows {
        let outcome = match outcome {
            Outcome::Passed => "passed",
            Outcome::Skipped => "left out",
            Outcome::Failed => "failed",
        };
        let times = if times > 1 {
            format!(" ({times} times)")
        } else {
            String::new()
        };
        println!("| {}{times} | {outcome} |", name.trim());
    }
    println!();
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
