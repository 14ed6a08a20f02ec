//! A diagnostic as text: the line, underlined. Plain text; colour is the caller's.

use std::fmt::Write;

use crate::diagnostic::Diagnostic;
use crate::source::LineIndex;
use crate::span::{Span, offset};

/// How many lines of a long span are shown; the others are counted.
const SHOWN_LINES: usize = 6;

/// How many columns of a line are shown; a longer line is cut around what is underlined.
const SHOWN_COLUMNS: usize = 160;

/// The frame shown to users: file, line, column, the source underlined, the hint.
///
/// ```
/// use rbuild_parser::{parse, render};
///
/// let source = "FROM busybox\nWORKDRI /app\n";
/// let frame = render("Dockerfile", source, &parse(source).diagnostics[0]);
/// assert_eq!(
///     frame,
///     "\
/// error[unknown-instruction]: unknown instruction `WORKDRI`
///  --> Dockerfile:2:1
///   |
/// 2 | WORKDRI /app
///   | ^^^^^^^
///
/// hint: did you mean `WORKDIR`?
/// "
/// );
/// ```
pub fn render(source_name: &str, source: &str, diagnostic: &Diagnostic) -> String {
    let index = LineIndex::new(source);
    let place = index.line_column(diagnostic.span.start);
    let mut text = format!("{}\n", visible(&diagnostic.to_string()));
    let end = diagnostic.span.end.max(diagnostic.span.start + 1) - 1;
    let last = index.line_column(end).line.max(place.line);
    let width = last.to_string().len();
    let _ = writeln!(
        text,
        "{:width$}--> {source_name}:{}:{}",
        "", place.line, place.column
    );
    let _ = writeln!(text, "{:width$} |", "");
    let mut skipped = 0;
    for line in place.line..=last {
        let position = line - place.line;
        if last - place.line >= SHOWN_LINES && position >= SHOWN_LINES - 2 && line < last {
            skipped += 1;
            continue;
        }
        if skipped > 0 {
            let _ = writeln!(text, "{:width$} | … {skipped} more lines", "");
            skipped = 0;
        }
        frame_line(
            &mut text,
            source,
            index.line_span(line),
            diagnostic.span,
            line,
            width,
        );
    }
    if let Some(help) = &diagnostic.help {
        let _ = write!(text, "\nhint: {}\n", visible(help));
    }
    text
}

/// A line and what is underlined of it.
fn frame_line(
    text: &mut String,
    source: &str,
    line_span: Span,
    span: Span,
    line: usize,
    width: usize,
) {
    let whole = line_span.text(source);
    let indent = offset(whole.len() - whole.trim_start().len());
    // On the lines after the first, the indent is not worth a mark.
    let from = if span.start < line_span.start {
        line_span.start + indent
    } else {
        span.start.min(line_span.end)
    };
    let to = span.end.clamp(from, line_span.end.max(from));
    let (before, marked, after) = (
        Span::new(line_span.start, from).text(source),
        Span::new(from, to).text(source),
        Span::new(to, line_span.end).text(source),
    );
    let (mut before, mut marked, mut after) = (display(before), display(marked), display(after));
    let cut_before = before.1 > SHOWN_COLUMNS / 2;
    if cut_before {
        before = keep_end(&before.0, SHOWN_COLUMNS / 4);
    }
    marked = keep_start(marked, SHOWN_COLUMNS);
    after = keep_start(
        after,
        SHOWN_COLUMNS.saturating_sub(before.1 + marked.1).max(20),
    );
    let _ = writeln!(
        text,
        "{}",
        format!("{line:width$} | {}{}{}", before.0, marked.0, after.0).trim_end()
    );
    if marked.1 == 0 && line_span.start > span.start {
        return;
    }
    let _ = writeln!(
        text,
        "{:width$} | {:before$}{}",
        "",
        "",
        "^".repeat(marked.1.max(1)),
        before = before.1
    );
}

/// A text as terminals show it, and how many columns it takes: tabs as four blanks, control
/// characters made visible.
fn display(text: &str) -> (String, usize) {
    let mut shown = String::with_capacity(text.len());
    let mut columns = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                shown.push_str("    ");
                columns += 4;
            }
            '\u{feff}' => {}
            c if c.is_control() => {
                shown.push(char::REPLACEMENT_CHARACTER);
                columns += 1;
            }
            c => {
                shown.push(c);
                columns += columns_of(c);
            }
        }
    }
    (shown, columns)
}

/// A message without characters that would disturb a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// How many columns a character takes: none for marks that join the one before, two for the wide
/// scripts of East Asia and for emoji.
fn columns_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

fn keep_start((text, columns): (String, usize), limit: usize) -> (String, usize) {
    if columns <= limit {
        return (text, columns);
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += columns_of(c);
        if used >= limit {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    let columns = kept.chars().map(columns_of).sum();
    (kept, columns)
}

fn keep_end(text: &str, limit: usize) -> (String, usize) {
    let mut used = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        used += columns_of(*c);
        used >= limit
    });
    let kept = format!(
        "…{}",
        start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
    );
    let columns = kept.chars().map(columns_of).sum();
    (kept, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn frame(source: &str, start: u32, end: u32) -> String {
        let diagnostic = Diagnostic::error("code", Span::new(start, end), "message");
        let text = render("f", source, &diagnostic);
        text.strip_prefix("error[code]: message\n")
            .expect("the head comes first")
            .to_owned()
    }

    #[test]
    fn one_line_is_underlined() {
        assert_eq!(
            frame("a bc d\n", 2, 4),
            " --> f:1:3\n  |\n1 | a bc d\n  |   ^^\n"
        );
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_underline_in_place() {
        assert_eq!(
            frame("\té漢x y\n", 6, 7),
            " --> f:1:4\n  |\n1 |     é漢x y\n  |        ^\n"
        );
    }

    #[test]
    fn an_empty_span_gets_one_mark() {
        assert_eq!(frame("ab", 2, 2), " --> f:1:3\n  |\n1 | ab\n  |   ^\n");
        assert_eq!(frame("", 0, 0), " --> f:1:1\n  |\n1 |\n  | ^\n");
    }

    #[test]
    fn several_lines_are_underlined_without_their_indent() {
        assert_eq!(
            frame("RUN a \\\n    b\n", 4, 13),
            " --> f:1:5\n  |\n1 | RUN a \\\n  |     ^^^\n2 |     b\n  |     ^\n"
        );
    }

    #[test]
    fn many_lines_are_shortened() {
        let source = "x\n".repeat(12);
        let text = frame(&source, 0, 23);
        assert!(text.contains("   | … 7 more lines\n12 | x\n"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_around_the_mark() {
        let source = format!("{}here{}", "a".repeat(500), "b".repeat(500));
        let text = frame(&source, 500, 504);
        assert!(
            text.lines().all(|line| line.chars().count() < 200),
            "{text}"
        );
        assert!(text.contains("here"), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!frame("\u{1b}[31m x\r", 0, 3).contains('\u{1b}'));
    }
}
