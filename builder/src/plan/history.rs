//! What the history of an image says about each instruction, in the words that `docker history` users know.

use std::fmt::Write as _;

/// A list as Go prints it with `%q`, which is how BuildKit writes commands: `["a" "b"]`.
pub(crate) fn quoted(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

/// `RUN |2 A=1 B=2 /bin/sh -c make # buildkit`
pub(crate) fn run(args: &[(String, String)], argv: &[String]) -> String {
    let mut text = "RUN ".to_owned();
    if !args.is_empty() {
        let _ = write!(text, "|{} ", args.len());
        for (name, value) in args {
            let _ = write!(text, "{name}={value} ");
        }
    }
    text.push_str(&argv.join(" "));
    text.push_str(" # buildkit");
    text
}

/// An instruction with its continued lines joined, without comments and heredoc bodies; blanks are single.
pub(crate) fn joined(source: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for line in source.lines() {
        let line = line.trim();
        if !words.is_empty() && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        let continued = line.strip_suffix(['\\', '`']);
        words.extend(continued.unwrap_or(line).split_whitespace());
        if continued.is_none() {
            break;
        }
    }
    words.join(" ")
}

/// An instruction on one line of bounded length, for the name of its step.
pub(crate) fn one_line(source: &str) -> String {
    const MAX: usize = 120;
    let mut line = joined(source);
    if line.chars().count() > MAX {
        line = line.chars().take(MAX - 1).collect();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn continued_lines_are_joined() {
        for (source, want) in [
            ("RUN a", "RUN a"),
            ("RUN a && \\\n    # why\n\n    b \\\n  c\n", "RUN a && b c"),
            ("COPY <<EOF /x\nbody\nEOF\n", "COPY <<EOF /x"),
        ] {
            assert_eq!(joined(source), want);
        }
    }
}
