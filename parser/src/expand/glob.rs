//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` and `?`, no brackets.

/// The longest result of a replacement, in bytes. Replacements can stand in replacements, so that a
/// short word could ask for more than any machine has; no system takes a variable of this length.
pub(super) const LONGEST: usize = 1 << 20;

/// A pattern, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `*`: any characters but line ends.
    Any,
    /// `?`: one character but a line end.
    One,
    Literal(char),
}

/// The ends of the matches from one start, as counts of characters.
#[derive(Debug, Default)]
struct Ends {
    shortest: Option<usize>,
    longest: Option<usize>,
    /// Whether a `*` was still open when the text or the line ended.
    star_open_to: Option<usize>,
}

impl Glob {
    /// Reads a pattern. A backslash may stand before `*`, `?`, `\`, and before `}` and `/`,
    /// which could not be written otherwise.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Part::Literal(c),
                    Some(c) => {
                        return Err(format!("invalid escape `\\{c}` in pattern `{pattern}`"));
                    }
                    None => return Err(format!("pattern `{pattern}` ends with an escape")),
                },
                c => Part::Literal(c),
            });
        }
        Ok(Self { parts })
    }

    /// The value without the match at its start.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let ends = ends(&self.parts, &chars);
        match if longest { ends.longest } else { ends.shortest } {
            Some(end) => chars[end..].iter().collect(),
            None => value.to_owned(),
        }
    }

    /// Reads a pattern from its end, to be matched against a reversed value. An escape stays with
    /// what it escapes; one that is the last character comes to escape what precedes it.
    pub(super) fn parse_reversed(pattern: &str) -> Result<Self, String> {
        let mut units: Vec<String> = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let mut unit = String::from(c);
            if c == '\\' {
                unit.extend(chars.next());
            }
            units.push(unit);
        }
        units.reverse();
        Self::parse(&units.concat())
    }

    /// The value without the match at its end; the pattern was read by [`Self::parse_reversed`].
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let ends = ends(&self.parts, &chars);
        match if longest { ends.longest } else { ends.shortest } {
            Some(end) => chars[end..].iter().rev().collect(),
            None => value.to_owned(),
        }
    }

    /// The value with the first match, or all, replaced; each match begins as early and ends as
    /// late as it can. None when the result would be longer than [`LONGEST`].
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut result = String::with_capacity(value.len());
        let mut position = 0;
        let mut last_end = None;
        while position <= chars.len() {
            if result.len() > LONGEST {
                return None;
            }
            let found = ends(&self.parts, &chars[position..]);
            match found.longest {
                // An empty match that touches the one before it does not count.
                Some(length) if length > 0 || last_end != Some(position) => {
                    if all {
                        template(
                            &mut result,
                            replacement,
                            &chars[position..position + length],
                        );
                    } else {
                        result.push_str(replacement);
                    }
                    position += length;
                    last_end = Some(position);
                    if !all {
                        result.extend(&chars[position..]);
                        return Some(result);
                    }
                    if length == 0 {
                        result.extend(chars.get(position));
                        position += 1;
                    }
                }
                _ => {
                    // Where an open `*` found no continuation, no later start on the line can.
                    let next = found
                        .star_open_to
                        .map_or(position + 1, |reach| position + reach.max(1));
                    let next = next.min(chars.len() + 1);
                    result.extend(&chars[position..next.min(chars.len())]);
                    position = next;
                }
            }
        }
        (result.len() <= LONGEST).then_some(result)
    }
}

/// Appends a replacement of all matches. A `$` that is still in it (it was escaped) is read once
/// more there, as Go's regular expressions do: `$0` is the match, other names are nothing.
fn template(result: &mut String, replacement: &str, matched: &[char]) {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        // Too long already; the caller refuses it.
        if result.len() > LONGEST {
            return;
        }
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{');
        let inside = braced.unwrap_or(after);
        let (name, tail) = inside.split_at(inside.find(|c| !is_name(c)).unwrap_or(inside.len()));
        let tail = if braced.is_some() {
            tail.strip_prefix('}')
        } else {
            Some(tail)
        };
        if let Some(tail) = tail.filter(|_| !name.is_empty()) {
            if name.parse() == Ok(0) {
                result.extend(matched);
            }
            rest = tail;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
}

/// All ends of matches that begin at the start of `text`, in one pass.
fn ends(parts: &[Part], text: &[char]) -> Ends {
    let mut found = Ends::default();
    let mut active = vec![false; parts.len() + 1];
    reach(parts, &mut active, 0);
    for position in 0..=text.len() {
        if active[parts.len()] {
            found.shortest.get_or_insert(position);
            found.longest = Some(position);
        }
        let c = text.get(position).copied();
        let star_open = parts
            .iter()
            .zip(&active)
            .any(|(part, active)| *active && *part == Part::Any);
        if star_open && c.is_none_or(|c| c == '\n') && found.longest.is_none() {
            found.star_open_to = Some(position);
        }
        let Some(c) = c else { break };
        let mut next = vec![false; parts.len() + 1];
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| active[*index]) {
            match part {
                Part::Any if c != '\n' => reach(parts, &mut next, index),
                Part::One if c != '\n' => reach(parts, &mut next, index + 1),
                Part::Literal(want) if *want == c => reach(parts, &mut next, index + 1),
                _ => {}
            }
        }
        if !next.contains(&true) {
            break;
        }
        active = next;
    }
    found
}

/// Marks a place in the pattern, and those behind `*`, which may match nothing.
fn reach(parts: &[Part], active: &mut [bool], mut index: usize) {
    active[index] = true;
    while parts.get(index) == Some(&Part::Any) {
        index += 1;
        active[index] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[track_caller]
    fn glob(pattern: &str) -> Glob {
        Glob::parse(pattern).expect("the pattern is well formed")
    }

    #[test]
    fn trims_shortest_and_longest() {
        for (pattern, value, short, long) in [
            ("*/", "/a/b/c", "a/b/c", "c"),
            ("a?", "abc", "c", "c"),
            ("", "abc", "abc", "abc"),
            ("x", "abc", "abc", "abc"),
            (r"\*", "*a", "a", "a"),
        ] {
            assert_eq!(
                glob(pattern).trim_start(value, false),
                short,
                "{pattern} {value}"
            );
            assert_eq!(
                glob(pattern).trim_start(value, true),
                long,
                "{pattern} {value}"
            );
        }
        for (pattern, value, short, long) in [
            ("/*", "/a/b/c", "/a/b", ""),
            (".tar.*", "a.tar.gz", "a", "a"),
            (r"\*", "a*", "a", "a"),
        ] {
            let glob = Glob::parse_reversed(pattern).expect("the pattern is well formed");
            assert_eq!(glob.trim_end(value, false), short, "{pattern} {value}");
            assert_eq!(glob.trim_end(value, true), long, "{pattern} {value}");
        }
    }

    #[test]
    fn replaces_leftmost_longest() {
        for (pattern, value, first, all) in [
            ("a", "banana", "bXnana", "bXnXnX"),
            ("a*n", "banana", "bXa", "bXa"),
            ("", "ab", "Xab", "XaXbX"),
            ("*", "ab", "X", "X"),
            ("z*", "abc", "abc", "abc"),
            ("b*z", "abcb", "abcb", "abcb"),
            ("b*d", "ab\nbcd", "ab\nX", "ab\nX"),
            ("?", "é\na", "X\na", "X\nX"),
        ] {
            assert_eq!(
                glob(pattern).replace(value, "X", false).as_deref(),
                Some(first),
                "{pattern} {value:?}"
            );
            assert_eq!(
                glob(pattern).replace(value, "X", true).as_deref(),
                Some(all),
                "{pattern} {value:?}"
            );
        }
    }

    #[test]
    fn results_are_bounded() {
        let value = "a".repeat(2000);
        assert_eq!(glob("a").replace(&value, &value, true), None);
        assert_eq!(glob("*").replace(&value, &"$0".repeat(2000), true), None);
    }

    #[test]
    fn dollars_in_a_replacement_of_all_are_read_again() {
        for (replacement, want) in [
            (r"\$y", r"\-\"),
            ("<$0>", "<a>-<a>"),
            ("${0}", "a-a"),
            ("$$", "$-$"),
            ("$", "$-$"),
            ("${", "${-${"),
            ("$-", "$--$-"),
        ] {
            assert_eq!(
                glob("a").replace("a-a", replacement, true).as_deref(),
                Some(want),
                "{replacement}"
            );
        }
        assert_eq!(
            glob("a").replace("a-a", "$0", false).as_deref(),
            Some("$0-a")
        );
    }

    #[test]
    fn bad_escapes_are_refused() {
        assert!(Glob::parse(r"\a").is_err());
        assert!(Glob::parse("\\").is_err());
    }
}
