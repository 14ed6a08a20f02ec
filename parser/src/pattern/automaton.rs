//! A pattern as a row of parts, and the set of places in it that a path has reached.

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// This character.
    Literal(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any number of characters but `/`.
    Star,
    /// `[a-z]` and `[^a-z]`.
    Class {
        /// Whether the ranges are those that do not match.
        negated: bool,
        /// First and last character of each.
        ranges: Vec<(char, char)>,
    },
    /// `**/`, its start: nothing, or what [`Part::WithinDirectories`] takes. Always a pair.
    Directories,
    /// `**/`, begun: anything up to some `/`.
    WithinDirectories,
    /// `**`: anything.
    Anything,
}

/// Where one is in the pattern before a character of the text.
struct Step<'a> {
    active: &'a [bool],
    next: char,
}

/// A whole pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    parts: Vec<Part>,
}

impl Parts {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.reached(path, |_| false)[self.parts.len()]
    }

    /// Whether the path or one of the directories above it matches, in one pass over the path.
    pub(super) fn matches_with_parents(&self, path: &str) -> bool {
        let end = self.parts.len();
        let mut found = false;
        let mut begun = false;
        let active = self.reached(path, |at| {
            found |= begun && at.next == '/' && at.active[end];
            begun = true;
            found
        });
        found || active[end]
    }

    /// Whether some text that goes on after `prefix` matches.
    pub(super) fn could_continue(&self, prefix: &str) -> bool {
        self.reached(prefix, |_| false)[..self.parts.len()].contains(&true)
    }

    /// The places in the pattern where one can be after `text`, or before the character where `enough` says so.
    fn reached(&self, text: &str, mut enough: impl FnMut(Step<'_>) -> bool) -> Vec<bool> {
        let mut active = vec![false; self.parts.len() + 1];
        let mut next = active.clone();
        self.enter(&mut active, 0);
        for c in text.chars() {
            let step = Step {
                active: &active,
                next: c,
            };
            if enough(step) {
                break;
            }
            next.fill(false);
            for (index, part) in self
                .parts
                .iter()
                .enumerate()
                .filter(|(index, _)| active[*index])
            {
                match part {
                    Part::Literal(want) if *want == c => self.enter(&mut next, index + 1),
                    Part::One if c != '/' => self.enter(&mut next, index + 1),
                    Part::Star if c != '/' => self.enter(&mut next, index),
                    Part::Anything if c != '\n' => self.enter(&mut next, index),
                    Part::Class { negated, ranges } if in_ranges(ranges, c) != *negated => {
                        self.enter(&mut next, index + 1);
                    }
                    Part::WithinDirectories if c != '\n' => {
                        next[index] = true;
                        if c == '/' {
                            self.enter(&mut next, index + 1);
                        }
                    }
                    _ => {}
                }
            }
            std::mem::swap(&mut active, &mut next);
            if !active.contains(&true) {
                break;
            }
        }
        active
    }

    /// Marks a place, and those behind parts that may match nothing.
    fn enter(&self, active: &mut [bool], mut index: usize) {
        while !active[index] {
            active[index] = true;
            match self.parts.get(index) {
                Some(Part::Star | Part::Anything) => index += 1,
                Some(Part::Directories) => {
                    active[index + 1] = true;
                    index += 2;
                }
                _ => return,
            }
        }
    }
}

fn in_ranges(ranges: &[(char, char)], c: char) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Reads a class after its `[`: the part, and what follows the `]`.
pub(super) fn class(text: &str) -> Option<(Part, &str)> {
    let (negated, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty()
            && let Some(after) = rest.strip_prefix(']')
        {
            return Some((Part::Class { negated, ranges }, after));
        }
        let (first, after) = class_character(rest)?;
        let (last, after) = match after.strip_prefix('-') {
            Some(after) => class_character(after)?,
            None => (first, after),
        };
        ranges.push((first, last));
        rest = after;
    }
}

/// A character of a class, which may be escaped; something must follow it.
fn class_character(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let c = match chars.next()? {
        '-' | ']' => return None,
        '\\' => chars.next()?,
        c => c,
    };
    let rest = chars.as_str();
    (!rest.is_empty()).then_some((c, rest))
}
