//! Samples of several rounds, and the lines of the table that are made of them.

use std::fmt::Write as _;
use std::time::Duration;

use super::meter::{Cpu, Memory};
use super::server::Kind;

/// One run of a load on one server.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    /// Requests, bytes or images.
    pub(super) units: f64,
    pub(super) wall: Duration,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) p99: Duration,
}

impl Sample {
    /// Units per second.
    pub(super) fn rate(&self) -> f64 {
        self.units / self.wall.as_secs_f64().max(1e-9)
    }

    /// Processor time of one unit, in seconds.
    pub(super) fn cost(&self) -> f64 {
        self.cpu.total().as_secs_f64() / self.units.max(1e-9)
    }
}

/// All runs of a load, in the order of the rounds.
#[derive(Default)]
pub(super) struct Samples(Vec<(Who, Sample)>);

/// Whose sample it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A server's.
    Server(Kind),
    /// Of what no server can beat: the disk alone.
    Limit,
}

impl Samples {
    /// Adds one.
    pub(super) fn add(&mut self, who: Who, sample: Sample) {
        self.0.push((who, sample));
    }

    /// The samples of one, in the order of the rounds.
    fn of(&self, who: Who) -> impl Iterator<Item = &Sample> {
        self.0
            .iter()
            .filter(move |(own, _)| *own == who)
            .map(|(_, sample)| sample)
    }

    /// The median of a property; `None` if there is no sample.
    pub(super) fn median(&self, who: Who, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.of(who).map(of))
    }

    /// The median of our share of another's property, each with that of the same round.
    pub(super) fn ratio(&self, to: Who, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let ours = self.of(Who::Server(Kind::Ours));
        median(
            ours.zip(self.of(to))
                .map(|(own, other)| of(own) / of(other).max(1e-12)),
        )
    }

    /// What `show` says about the median of a property; empty without samples.
    pub(super) fn cell(&self, who: Who, parts: &[Part]) -> String {
        let shown: Vec<String> = parts
            .iter()
            .filter_map(|(of, show)| Some(show(self.median(who, of)?)))
            .collect();
        shown.join(", ")
    }
}

/// A property of a sample, and how its median is shown.
pub(super) type Part = (fn(&Sample) -> f64, fn(f64) -> String);

/// The median of some numbers.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What was wanted, and what came out.
pub(super) struct Goal {
    what: String,
    value: f64,
    bound: f64,
    at_least: bool,
    digits: usize,
}

impl Goal {
    /// `value` should be at least `bound`.
    pub(super) fn at_least(value: Option<f64>, bound: f64, what: &str) -> Option<Self> {
        Self::new(value, bound, what, true)
    }

    /// `value` should be at most `bound`.
    pub(super) fn at_most(value: Option<f64>, bound: f64, what: &str) -> Option<Self> {
        Self::new(value, bound, what, false)
    }

    fn new(value: Option<f64>, bound: f64, what: &str, at_least: bool) -> Option<Self> {
        Some(Self {
            what: what.to_owned(),
            value: value?,
            bound,
            at_least,
            digits: if bound < 10.0 { 2 } else { 0 },
        })
    }

    fn met(&self) -> bool {
        if self.at_least {
            self.value >= self.bound
        } else {
            self.value <= self.bound
        }
    }

    fn show(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        let missed = if self.met() { "" } else { "**missed:** " };
        format!(
            "{missed}{} {} ({sign} {})",
            number(self.value, self.digits),
            self.what,
            self.bound
        )
    }
}

/// One line of the table.
pub(super) struct Row {
    pub(super) load: String,
    pub(super) ours: String,
    pub(super) distribution: String,
    pub(super) limit: String,
    pub(super) goals: Vec<Option<Goal>>,
}

impl Row {
    /// As a line of Markdown.
    pub(super) fn show(&self) -> String {
        let goals: Vec<String> = self.goals.iter().flatten().map(Goal::show).collect();
        format!(
            "| {} | {} | {} | {} | {} |\n",
            self.load,
            self.ours,
            self.distribution,
            self.limit,
            goals.join("; ")
        )
    }

    /// How many goals were missed.
    pub(super) fn missed(&self) -> usize {
        self.goals
            .iter()
            .flatten()
            .filter(|goal| !goal.met())
            .count()
    }
}

/// A count as a factor; counts here are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and shown with few digits"
)]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

/// The head of the table.
pub(super) const HEAD: &str = "| load | rbuild-registry | docker-registry | limit | wanted |\n| --- | --- | --- | --- | --- |\n";

/// A number with its thousands parted.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut parted = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() {
            parted.push(',');
        }
        parted.push(digit);
    }
    let _ = write!(parted, "{rest}");
    parted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Goal, Kind, Sample, Samples, Who, median, number};

    #[test]
    fn thousands_are_parted() {
        for (value, digits, shown) in [
            (0.0, 0, "0"),
            (999.4, 0, "999"),
            (1000.0, 0, "1,000"),
            (1_234_567.89, 1, "1,234,567.9"),
            (0.25, 2, "0.25"),
        ] {
            assert_eq!(number(value, digits), shown);
        }
    }

    #[test]
    fn a_ratio_compares_rounds_and_not_medians() {
        let mut samples = Samples::default();
        for (own, other) in [(1, 2), (10, 20), (300, 100)] {
            for (who, units) in [(Who::Server(Kind::Ours), own), (Who::Limit, other)] {
                let sample = Sample {
                    units: f64::from(units),
                    wall: Duration::from_secs(1),
                    ..Sample::default()
                };
                samples.add(who, sample);
            }
        }
        let ratio = samples.ratio(Who::Limit, Sample::rate);
        assert!(ratio.is_some_and(|ratio| (ratio - 0.5).abs() < 1e-9));
        assert_eq!(samples.ratio(Who::Server(Kind::Nginx), Sample::rate), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    }

    #[test]
    fn a_missed_goal_says_so() {
        let shown = |goal: Option<Goal>| goal.map(|goal| goal.show());
        assert_eq!(
            shown(Goal::at_least(Some(0.5), 0.6, "× nginx")).as_deref(),
            Some("**missed:** 0.50 × nginx (≥ 0.6)")
        );
        assert_eq!(
            shown(Goal::at_most(Some(12.0), 40.0, "µs")).as_deref(),
            Some("12 µs (≤ 40)")
        );
        assert!(shown(Goal::at_most(None, 40.0, "µs")).is_none());
    }
}
