//! What a conformance program says of its tests: the `JUnit` report that it leaves.
//!
//! Only names and outcomes are read, so the few lines here do instead of an XML parser.

use anyhow::{Context as _, Result, bail};

/// One test and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    /// Its whole name, from the outermost group to itself.
    pub(super) name: String,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran and found nothing wrong.
    Passed,
    /// It did not run.
    Skipped,
    /// It found something wrong, or broke.
    Failed,
}

/// Reads the tests of a report, in its order.
///
/// # Errors
///
/// There is no test in it, or one without a name or with an outcome that is not known.
pub(super) fn read(report: &str) -> Result<Vec<Test>> {
    let tests: Vec<Test> = report
        .split("<testcase ")
        .skip(1)
        .map(test)
        .collect::<Result<_>>()?;
    if tests.is_empty() {
        bail!("the report names no test");
    }
    Ok(tests)
}

fn test(element: &str) -> Result<Test> {
    let attribute = |name: &str| {
        // Both programs write a `>` inside of an attribute as an entity.
        let head = format!(" {}", element.split('>').next().unwrap_or_default());
        let (_, value) = head.split_once(&format!(" {name}=\""))?;
        value.split('"').next().map(plain)
    };
    let name = attribute("name").context("a test of the report has no name")?;
    let outcome = match attribute("status").as_deref() {
        Some("passed") => Outcome::Passed,
        Some("skipped" | "pending") => Outcome::Skipped,
        Some("failed" | "failure" | "error" | "panicked" | "timedout" | "interrupted") => {
            Outcome::Failed
        }
        other => bail!("the test `{name}` has the outcome {other:?}"),
    };
    Ok(Test { name, outcome })
}

/// The text of an attribute without entities.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').map_or("", |end| &rest[1..end]);
        if let Some(character) = character(entity) {
            plain.push(character);
            rest = &rest[entity.len() + 2..];
        } else {
            plain.push('&');
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, plain, read};

    #[test]
    fn names_and_outcomes_are_read() {
        let report = r#"<testsuites tests="3" failures="1"><testsuite name="all">
            <testcase name="pull &lt;blob&gt;" classname="all" status="passed" time="0.1"></testcase>
            <testcase name="status=&#34;x&#34;" status="skipped"><skipped message="off"/></testcase>
            <testcase classname="all" name="push" status="failure"><failure>no</failure></testcase>
            </testsuite></testsuites>"#;
        let tests = read(report).unwrap();
        let seen: Vec<_> = tests
            .iter()
            .map(|test| (test.name.as_str(), test.outcome))
            .collect();
        assert_eq!(
            seen,
            [
                ("pull <blob>", Outcome::Passed),
                ("status=\"x\"", Outcome::Skipped),
                ("push", Outcome::Failed),
            ]
        );
    }

    #[test]
    fn a_report_that_says_nothing_is_no_success() {
        for report in [
            "",
            "<testsuites/>",
            r#"<testcase name="a" status="maybe"/>"#,
            r#"<testcase status="passed"/>"#,
        ] {
            assert!(read(report).is_err(), "{report}");
        }
    }

    #[test]
    fn entities_stand_for_characters() {
        for (written, meant) in [
            ("a&amp;b", "a&b"),
            ("&#39;&#xA;", "'\n"),
            ("AT&T; &unknown; &", "AT&T; &unknown; &"),
        ] {
            assert_eq!(plain(written), meant);
        }
    }
}
