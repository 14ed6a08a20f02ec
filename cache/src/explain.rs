//! Which ingredient changed between two keys of one step.

use crate::Ingredient;

/// One ingredient that differs between an earlier run and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub label: String,
    /// Its value in the earlier run, where it may be shown; none when it was not there.
    pub before: Option<String>,
    /// Its value now; none when it is no longer there.
    pub now: Option<String>,
}

/// What differs, in the order of the new ingredients, then what is gone.
pub fn differences(before: &[Ingredient], now: &[Ingredient]) -> Vec<Difference> {
    let find = |list: &[Ingredient], label: &str| list.iter().find(|i| i.label == label).cloned();
    let shown = |i: Ingredient| i.shown.unwrap_or_else(|| i.value.short());
    let mut found = Vec::new();
    for ingredient in now {
        let earlier = find(before, &ingredient.label);
        if earlier
            .as_ref()
            .is_none_or(|earlier| earlier.value != ingredient.value)
        {
            found.push(Difference {
                label: ingredient.label.clone(),
                before: earlier.map(shown),
                now: Some(shown(ingredient.clone())),
            });
        }
    }
    for ingredient in before {
        if find(now, &ingredient.label).is_none() {
            found.push(Difference {
                label: ingredient.label.clone(),
                before: Some(shown(ingredient.clone())),
                now: None,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyBuilder;

    #[track_caller]
    fn check(
        before: &[(&str, &str)],
        now: &[(&str, &str)],
        want: &[(&str, Option<&str>, Option<&str>)],
    ) {
        let ingredients = |list: &[(&str, &str)]| {
            list.iter()
                .fold(KeyBuilder::new("t"), |key, (label, value)| {
                    key.text(label, value)
                })
                .finish()
                .1
        };
        let got = differences(&ingredients(before), &ingredients(now));
        let want: Vec<_> = want
            .iter()
            .map(|(label, before, now)| Difference {
                label: (*label).to_owned(),
                before: before.map(str::to_owned),
                now: now.map(str::to_owned),
            })
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn changed_new_and_gone_ingredients_are_told_apart() {
        check(&[("a", "1")], &[("a", "1")], &[]);
        check(&[("a", "1")], &[("a", "2")], &[("a", Some("1"), Some("2"))]);
        check(&[], &[("a", "1")], &[("a", None, Some("1"))]);
        check(&[("a", "1")], &[], &[("a", Some("1"), None)]);
    }
}
