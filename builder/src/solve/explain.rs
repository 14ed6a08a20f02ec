//! Why a step is executed again, in words for people.

use rbuild_cache::{Difference, Ingredient, Record, differences};

use super::Solver;
use crate::error::{BuildError, Doing};
use crate::graph::Step;
use crate::key;

impl Solver<'_> {
    /// What changed since the last run of the step at this place of this Dockerfile; none when there was no run.
    pub(super) fn reason(
        &self,
        step: &Step,
        now: &[Ingredient],
        why: &dyn Fn(&Record) -> Option<String>,
    ) -> Result<Option<String>, BuildError> {
        let latest = self
            .env
            .cache
            .latest(&self.position(step))
            .doing(|| "cannot read the build cache".to_owned())?;
        let Some(before) = latest else {
            return Ok(None);
        };
        if let Some(reason) = why(&before) {
            return Ok(Some(reason));
        }
        let found = differences(&before.ingredients, now);
        match &found[..] {
            [] => Ok(Some("its layer is no longer in the store".to_owned())),
            list => Ok(Some(
                list.iter().map(sentence).collect::<Vec<_>>().join("; "),
            )),
        }
    }
}

fn sentence(difference: &Difference) -> String {
    let label = &difference.label;
    if label == key::ROOT {
        return "the base or an earlier step gave other files".to_owned();
    }
    if label == key::COMMAND {
        return "the command changed".to_owned();
    }
    let name = match label.strip_prefix(key::VARIABLE) {
        Some(name) => format!("variable `{name}`"),
        None => format!("the {label}"),
    };
    match (&difference.before, &difference.now) {
        (Some(before), Some(now)) => format!("{name} changed from `{before}` to `{now}`"),
        (None, Some(now)) => format!("{name} is new (`{now}`)"),
        (_, None) => format!("{name} is gone"),
    }
}
