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

/// The first line of an instruction, for the name of its step.
pub(crate) fn one_line(source: &str) -> String {
    const MAX: usize = 120;
    let mut line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > MAX {
        line = line.chars().take(MAX - 1).collect();
        line.push('…');
    }
    line
}
