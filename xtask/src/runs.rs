//! The `runs` file of a case in `testdata/peers`: how the image is run and what it must print.
//!
//! `$ OPTIONS IMAGE ARGUMENTS` starts a run; the lines up to `exit STATUS` are its standard output.

use anyhow::{Context as _, Result, bail};

use crate::engine::Runner;

/// One run of an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The line without its dollar sign.
    pub(crate) line: String,
    options: Vec<String>,
    arguments: Vec<String>,
    stdout: String,
    status: i32,
}

impl Run {
    /// Whether the image is run as it is.
    pub(crate) fn is_plain(&self) -> bool {
        self.options.is_empty() && self.arguments.is_empty()
    }

    /// Runs the image and compares what comes out.
    pub(crate) fn check(&self, engine: &dyn Runner, reference: &str) -> Result<()> {
        let cmd = engine.run(&self.options, reference, &self.arguments);
        let shown = cmd.shown().to_owned();
        let output = cmd.output()?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(self.status) || stdout != self.stdout {
            bail!(
                "`{shown}`\nwant exit {} and:\n{}got {} and:\n{stdout}standard error:\n{}",
                self.status,
                self.stdout,
                output.status,
                crate::process::tail(&output.stderr)
            );
        }
        Ok(())
    }
}

/// Reads a `runs` file.
pub(crate) fn parse(text: &str) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line
            .strip_prefix("$ ")
            .with_context(|| format!("want a line that starts with `$ `, got `{line}`"))?;
        let words = split(line)?;
        let image = words
            .iter()
            .position(|word| word == "IMAGE")
            .with_context(|| format!("no IMAGE in `{line}`"))?;
        let mut stdout = String::new();
        let status = loop {
            let line = lines
                .next()
                .with_context(|| format!("no `exit` line after `{line}`"))?;
            if let Some(status) = line.strip_prefix("exit ") {
                break status
                    .parse()
                    .with_context(|| format!("exit status `{status}`"))?;
            }
            stdout.push_str(line);
            stdout.push('\n');
        };
        runs.push(Run {
            line: line.to_owned(),
            options: words[..image].to_vec(),
            arguments: words[image + 1..].to_vec(),
            stdout,
            status,
        });
    }
    Ok(runs)
}

/// Splits at blanks outside single quotes.
fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed in `{line}`");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::{parse, split};

    #[test]
    fn a_run_has_options_arguments_output_and_status() {
        let runs = parse("$ -e A=b IMAGE sh -c 'echo  $A'\nb\nexit 0\n$ IMAGE\nexit 7\n").unwrap();
        assert_eq!(runs.len(), 2);
        assert_eq!(
            (runs[0].options.as_slice(), runs[0].arguments.as_slice()),
            (
                &["-e".to_owned(), "A=b".to_owned()][..],
                &["sh".to_owned(), "-c".to_owned(), "echo  $A".to_owned()][..]
            )
        );
        assert_eq!((runs[0].stdout.as_str(), runs[0].status), ("b\n", 0));
        assert!(runs[1].is_plain() && runs[1].status == 7);
    }

    #[test]
    fn malformed_files_are_errors() {
        for text in [
            "echo",
            "$ run",
            "$ IMAGE\nout\n",
            "$ IMAGE\nexit x\n",
            "$ IMAGE 'a\nexit 0\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(split("a '' b").unwrap(), ["a", "", "b"]);
    }
}
