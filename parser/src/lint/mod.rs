//! Findings that do not stop a build.
//!
//! Each rule is a value in [`RULES`] with a file of its own below `rules` and a page in
//! `docs/lint/`. The names that `BuildKit` has are `BuildKit`'s.

mod config;
mod rules;
mod scope;
mod view;

use std::fmt;

pub use config::Config;
pub use rules::RULES;

use crate::diagnostic::{Diagnostic, Severity};
use crate::ignore::Ignore;
use crate::instruction::Instruction;
use crate::parse::Parsed;
use crate::span::Span;
use crate::suggest::suggest;
use view::View;

/// A rule.
pub struct Rule {
    /// Its name, the code of its findings.
    pub name: &'static str,
    /// What it wants, in one line.
    pub summary: &'static str,
    /// Whether it runs only where `check=experimental=…` asks for it.
    pub experimental: bool,
    /// Whether `BuildKit` has a rule of this name.
    pub in_buildkit: bool,
    check: fn(&View<'_>, &mut Findings),
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a rule may know beside the Dockerfile.
#[derive(Default)]
pub struct Options<'a> {
    /// The ignore file of the build context.
    pub ignore: Option<&'a Ignore>,
    /// What is known of a base image by its name as written, variables replaced by their defaults.
    pub base: Option<&'a BaseLookup<'a>>,
    /// The platform that is built for, like `linux/amd64`.
    pub platform: Option<&'a str>,
    /// Settings beside those of the file, as `# check=` has them.
    pub check: Option<&'a str>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ignore", &self.ignore.is_some())
            .field("base", &self.base.is_some())
            .field("platform", &self.platform)
            .field("check", &self.check)
            .finish()
    }
}

/// Finds what is known of a base image.
pub type BaseLookup<'a> = dyn Fn(&str) -> Option<Base> + 'a;

/// What is known of a base image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The names of its environment variables.
    pub environment: Vec<String>,
    /// Its platform, like `linux/amd64`.
    pub platform: Option<String>,
    /// Whether it sets a working directory.
    pub has_workdir: bool,
    /// Whether it sets a shell.
    pub has_shell: bool,
}

/// Collects what one rule finds.
#[derive(Debug)]
pub(crate) struct Findings {
    rule: &'static str,
    list: Vec<Diagnostic>,
}

impl Findings {
    fn add(&mut self, span: Span, message: impl Into<String>) {
        self.list
            .push(Diagnostic::warning(self.rule, span, message));
    }

    fn add_with_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.list
            .push(Diagnostic::warning(self.rule, span, message).with_help(help));
    }
}

/// Runs every rule that needs nothing but the Dockerfile.
///
/// ```
/// use rbuild_parser::{lint::lint, parse};
///
/// let source = "FROM scratch AS Base\n";
/// let found = lint(&parse(source), source);
/// assert_eq!(found[0].code, "StageNameCasing");
/// ```
pub fn lint(parsed: &Parsed, source: &str) -> Vec<Diagnostic> {
    lint_with(parsed, source, &Options::default())
}

/// Runs every rule, in order of the source; what `# check=` and comments right above an
/// instruction skip is left out.
///
/// With `error=true` the findings of rules that `BuildKit` has are errors.
pub fn lint_with(parsed: &Parsed, source: &str, options: &Options<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut config = Config::default();
    let directive = parsed.directives.check.as_ref();
    let given = options.check.map(|text| (text, Span::at(0)));
    for (text, span) in directive
        .map(|check| (check.value.as_str(), check.span))
        .into_iter()
        .chain(given)
    {
        match Config::parse(text) {
            Ok(more) => {
                unknown_names(&more, span, &mut problems);
                config.merge(more);
            }
            Err(reason) => problems.push(
                Diagnostic::error("bad-check-directive", span, reason).with_help(
                    "it is like `skip=RULE,RULE;error=true`; `skip=all` skips every rule",
                ),
            ),
        }
    }
    let view = View::new(parsed, source, options);
    let skips = skips(parsed, &mut problems);
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| config.runs(rule)) {
        let mut findings = Findings {
            rule: rule.name,
            list: Vec::new(),
        };
        (rule.check)(&view, &mut findings);
        let kept =
            |finding: &Diagnostic| skip_at(&skips, finding.span).is_none_or(|skip| skip.runs(rule));
        found.extend(findings.list.into_iter().filter(kept));
    }
    if config.error {
        // Ours are not meant by who wrote that: the file must build where it built before.
        let in_buildkit = |code: &str| {
            RULES
                .iter()
                .any(|rule| rule.in_buildkit && rule.name == code)
        };
        for finding in found.iter_mut().filter(|finding| in_buildkit(finding.code)) {
            finding.severity = Severity::Error;
        }
    }
    unreadable_words(&view, &mut problems);
    found.append(&mut problems);
    found.sort_by_key(|finding| finding.span);
    found
}

/// Words that no value of their variables could make readable: an open quote, a substitution that
/// does not end. A build of the stage fails with the same code.
fn unreadable_words(view: &View<'_>, problems: &mut Vec<Diagnostic>) {
    let from = view
        .stages
        .iter()
        .flat_map(|stage| std::iter::once(&stage.from.image).chain(&stage.from.platform));
    let steps = view
        .head
        .iter()
        .chain(view.stages.iter().flat_map(|stage| &stage.steps));
    let rest =
        steps
            .filter_map(|step| step.instruction)
            .flat_map(|instruction| match instruction {
                Instruction::Arg(arg) => arg
                    .items
                    .iter()
                    .filter_map(|item| item.default.as_ref())
                    .collect(),
                instruction => scope::expanded_words(instruction),
            });
    for word in from.chain(rest) {
        // With some value for every name, nothing can be missing.
        if let Err(problem) = word.expand(&|_| Some("x".to_owned())) {
            problems.push(Diagnostic {
                severity: Severity::Warning,
                ..problem
            });
        }
    }
}

/// The settings for the instruction that a finding is about; the list is in order of the source.
fn skip_at(skips: &[(Span, Config)], at: Span) -> Option<&Config> {
    let after = skips.partition_point(|(span, _)| span.start <= at.start);
    let (span, config) = skips.get(after.checked_sub(1)?)?;
    span.contains(at).then_some(config)
}

/// What comments right above an instruction skip for it; the first such comment counts.
fn skips(parsed: &Parsed, problems: &mut Vec<Diagnostic>) -> Vec<(Span, Config)> {
    let mut skips = Vec::new();
    for statement in &parsed.tree.statements {
        for comment in &statement.comments {
            let Some(text) = check_comment(&comment.value) else {
                continue;
            };
            match Config::parse(text) {
                Ok(config) => {
                    unknown_names(&config, comment.span, problems);
                    // Experimental rules are switched on by the file, not by a comment.
                    skips.push((statement.span, config.with_every_experiment()));
                    break;
                }
                Err(reason) => problems.push(Diagnostic::warning(
                    "bad-check-directive",
                    comment.span,
                    reason,
                )),
            }
        }
    }
    skips
}

/// The settings in a comment like `check=skip=RuleName`.
fn check_comment(comment: &str) -> Option<&str> {
    let (name, value) = comment.split_once('=')?;
    name.trim_end()
        .eq_ignore_ascii_case("check")
        .then(|| value.trim())
}

fn unknown_names(config: &Config, span: Span, problems: &mut Vec<Diagnostic>) {
    for name in config.names() {
        if RULES.iter().any(|rule| rule.name == name) {
            continue;
        }
        let near = suggest(name, RULES.iter().map(|rule| rule.name));
        problems.push(
            Diagnostic::warning("unknown-rule", span, format!("there is no rule `{name}`"))
                .with_suggestion(near),
        );
    }
}
