//! "Did you mean": the nearest of a list of names.

/// The candidate nearest to `word`, when it is near enough to be a likely slip of the fingers.
///
/// Letter case does not count. Nearness is the number of single-character edits,
/// where swapping two neighbours counts once.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = word.to_lowercase().chars().collect();
    let limit = match wanted.len() {
        0 => return None,
        1..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let other: Vec<char> = candidate.to_lowercase().chars().collect();
        if other.len().abs_diff(wanted.len()) > limit || candidate == word {
            continue;
        }
        let distance = edits(&wanted, &other);
        if distance <= limit
            && distance < other.len().max(2)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
fn edits(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1; right.len() + 1];
        for (column, b) in right.iter().enumerate() {
            let mut least = (last[column + 1] + 1)
                .min(current[column] + 1)
                .min(last[column] + usize::from(a != b));
            if row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b {
                least = least.min(before_last[column - 1] + 1);
            }
            current[column + 1] = least;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn the_nearest_name_is_offered() {
        let names = ["RUN", "COPY", "WORKDIR", "ENTRYPOINT"];
        for (word, want) in [
            ("WORKDRI", Some("WORKDIR")),
            ("RNU", Some("RUN")),
            ("workdir", Some("WORKDIR")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("X", None),
            ("", None),
            ("HEALTHCHECK", None),
        ] {
            assert_eq!(suggest(word, names), want, "{word}");
        }
    }
}
