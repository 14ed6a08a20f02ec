//! Markers of here-documents: `<<EOF`, `<<-EOF`, `3<<'EOF'`.

use nom::character::complete::digit0;
use nom::combinator::opt;
use nom::{IResult, Parser};

use crate::expand::{Options, expand};

/// A marker, read; its body follows below the instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The delimiter, quotes removed.
    pub(crate) name: String,
    /// The number before `<<`.
    pub(crate) fd: Option<u32>,
    /// `<<-`.
    pub(crate) strip_tabs: bool,
    /// No part of the delimiter was quoted.
    pub(crate) expand: bool,
}

/// The markers always take a backslash as escape, whatever the `escape` directive says: they are
/// meant for the shell that runs the command.
const ESCAPE: char = '\\';

/// The markers in the text of an instruction, each with the bytes it stands at.
///
/// A text that is not well formed for the lexer (an open quote, a substitution that it does not
/// know) has no markers; so it is in `BuildKit`.
pub(crate) fn markers(text: &str) -> Vec<(Marker, usize, usize)> {
    if !text.contains("<<") {
        return Vec::new();
    }
    let options = Options {
        escape: ESCAPE,
        raw_quotes: true,
        raw_escapes: true,
        ignore_quotes: false,
        keep_unset: true,
    };
    let Ok(outcome) = expand(text, options, &|_| None) else {
        return Vec::new();
    };
    let pieces = outcome.words.into_iter();
    pieces
        .filter_map(|piece| marker(&piece.text).map(|marker| (marker, piece.start, piece.end)))
        .collect()
}

/// Reads a word as a marker.
pub(crate) fn marker(word: &str) -> Option<Marker> {
    let (delimiter, (fd, strip_tabs)) = head(word).ok()?;
    if delimiter.is_empty() || delimiter.contains('<') {
        return None;
    }
    let options = Options {
        keep_unset: true,
        ..Options::word(ESCAPE)
    };
    let plain = expand(delimiter, options, &|_| None).ok()?.words;
    let raw = expand(
        delimiter,
        Options {
            raw_quotes: true,
            ..options
        },
        &|_| None,
    )
    .ok()?
    .words;
    let ([plain], [raw]) = (&plain[..], &raw[..]) else {
        return None;
    };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Marker {
        name: plain.text.clone(),
        fd,
        strip_tabs,
        expand: quotes(&plain.text) == quotes(&raw.text),
    })
}

/// The number, `<<`, the dash, and blanks.
fn head(word: &str) -> IResult<&str, (Option<u32>, bool)> {
    let (rest, (digits, _, dash)) = (
        digit0,
        nom::bytes::complete::tag("<<"),
        opt(nom::character::complete::char('-')),
    )
        .parse(word)?;
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    let fd = if digits.is_empty() {
        None
    } else {
        Some(digits.parse().unwrap_or(u32::MAX))
    };
    Ok((rest, (fd, dash.is_some())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        for (word, want) in [
            ("<<EOF", Some(("EOF", None, false, true))),
            ("<<-EOF", Some(("EOF", None, true, true))),
            ("3<<EOF", Some(("EOF", Some(3), false, true))),
            ("<<'EOF'", Some(("EOF", None, false, false))),
            ("<<\"EO\"F", Some(("EOF", None, false, false))),
            (r"<<eo\'f", Some(("eo'f", None, false, true))),
            (r"<<'e'o\'f", Some(("eo'f", None, false, false))),
            ("<<'one two'", Some(("one two", None, false, false))),
            ("<<$EOF", Some(("$EOF", None, false, true))),
            ("<< EOF", Some(("EOF", None, false, true))),
            ("<<one two", None),
            ("<<<EOF", None),
            ("<<EOF<", None),
            ("<<", None),
            ("<<-", None),
            ("a<<EOF", None),
            ("<<'EOF", None),
        ] {
            let got = marker(word);
            let got = got
                .as_ref()
                .map(|m| (m.name.as_str(), m.fd, m.strip_tabs, m.expand));
            assert_eq!(got, want, "{word}");
        }
    }

    #[test]
    fn markers_are_found_in_a_line() {
        for (line, want) in [
            ("RUN <<A cat && 4<<-B", vec!["<<A", "4<<-B"]),
            ("RUN cat << EOF | sh", vec!["<< EOF"]),
            ("RUN \"<<NO\" '<<NO' <<YES", vec!["<<YES"]),
            ("RUN it's <<EOF", vec![]),
            ("RUN ${a[0]} <<EOF", vec![]),
            ("RUN ${a} ${b:-x y} <<EOF", vec!["<<EOF"]),
            ("RUN a<<EOF", vec![]),
            ("RUN cat <<<here", vec![]),
        ] {
            let got: Vec<&str> = markers(line)
                .iter()
                .map(|(_, start, end)| &line[*start..*end])
                .collect();
            assert_eq!(got, want, "{line}");
        }
    }
}
