//! `build`

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rbuild_builder::{
    BuildError, BuildRequest, Dockerfile, Environment, Exported, IgnoreFile, NetworkMode,
    PullPolicy, StepFailure, build,
};
use rbuild_cache::FsCacheIndex;
use rbuild_image::{Platform, Reference};
use rbuild_parser::ignore::Ignore;
use rbuild_parser::lint::{Options, RULES, lint_with};
use rbuild_parser::{Diagnostic, line_column, parse};
use rbuild_store::local::Area;
use serde_json::json;

use super::push::push_names;
use crate::args::{BuildArgs, NetworkChoice, Progress};
use crate::dockerfile::{self, SourceFile};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use crate::printer::Style;
use crate::progress::{Display, clean_lines};
use crate::registry::Source;
use crate::sandbox;
use crate::session::Session;

const EPOCH: &str = "SOURCE_DATE_EPOCH";

pub(crate) fn run(args: &BuildArgs, session: &Session) -> Outcome {
    if let Some(answer) = super::call::answer(args, session) {
        return answer;
    }
    let progress = progress(args, session)?;
    let context = &args.dockerfile.context;
    dockerfile::check_context(context).map_err(|failure| perhaps_a_verb(args, failure))?;
    let source = dockerfile::locate(args.dockerfile.file.as_deref(), context)?;
    let request = request(args, &source)?;
    let findings = findings(&request, &source)?;
    if findings.iter().any(Diagnostic::is_error) {
        show(session, progress, &source, &findings);
        return Err(Failure::silent(Exit::Failed));
    }
    forget_result(args)?;
    let store = session.store()?;
    // The build holds the store itself; this is for the push behind it.
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let registries = Arc::new(Source::new(session.clone(), store.clone()));
    let env = Environment {
        cache: Arc::new(FsCacheIndex::open(store.dir(Area::Cache))),
        source: Arc::clone(&registries) as _,
        executor: Arc::new(sandbox::executor(&store)),
        cancel: session.interrupt.watch().clone(),
        store: store.clone(),
    };
    let display = Display::start(session.printer, progress);
    let built = build(&request, &env, &display);
    let mut warnings = display.finish();
    let built = match built {
        Ok(_) | Err(_) if session.interrupt.is_set() => return Err(interrupted()),
        Ok(built) => built,
        Err(error) => return Err(failure(session, progress, &source, error, &display)),
    };
    if matches!(progress, Progress::Auto | Progress::Tty | Progress::Plain) {
        warnings.extend(findings);
        show_warnings(session, &source, warnings);
        registries.show_warnings();
    } else if progress == Progress::Rawjson {
        warnings.extend(findings);
        show(session, progress, &source, &warnings);
    }
    write_results(args, &built)?;
    if progress == Progress::Quiet {
        session.printer.line(&built.image_id.to_string())?;
    } else {
        session
            .printer
            .note(&format!("Built image {}", built.image_id));
        for name in &args.tag {
            session.printer.note(&format!("Tagged {}", name.familiar()));
        }
    }
    if args.push {
        push_names(&store, session, &args.tag, progress == Progress::Quiet)?;
    }
    Ok(Exit::Done)
}

/// A lone word that is no directory may be a verb with a slip of the fingers: `rbuild imagse`.
fn perhaps_a_verb(args: &BuildArgs, failure: Failure) -> Failure {
    let word = args.dockerfile.context.to_str().unwrap_or_default();
    let verbs = crate::args::verbs();
    let near = rbuild_parser::suggest(word, verbs.iter().map(String::as_str));
    match near {
        Some(verb) if args.tag.is_empty() && args.dockerfile.file.is_none() => {
            failure.hint(format!("did you mean `rbuild {verb}`?"))
        }
        _ => failure,
    }
}

/// The way to show progress: the flag, or else `BUILDKIT_PROGRESS`.
fn progress(args: &BuildArgs, session: &Session) -> Outcome<Progress> {
    if args.quiet {
        return Ok(Progress::Quiet);
    }
    let is_terminal = session.printer.is_terminal();
    if let Some(progress) = args.progress {
        if progress == Progress::Tty && !is_terminal {
            return Err(Failure::unable("standard error is not a terminal")
                .hint("`--progress=plain` needs none, `--progress=auto` looks for itself"));
        }
        return Ok(progress);
    }
    match std::env::var("BUILDKIT_PROGRESS") {
        Ok(text) if !text.is_empty() => clap::ValueEnum::from_str(&text, false).map_err(|_| {
            Failure::unable(format!("`BUILDKIT_PROGRESS` is `{text}`"))
                .hint("it may be `auto`, `tty`, `plain`, `quiet` or `rawjson`")
        }),
        _ => Ok(Progress::Auto),
    }
    .map(|progress| match progress {
        // A variable is a wish, not an order.
        Progress::Tty if !is_terminal => Progress::Plain,
        progress => progress,
    })
}

fn request(args: &BuildArgs, source: &SourceFile) -> Outcome<BuildRequest> {
    let context = &args.dockerfile.context;
    let ignore = dockerfile::ignore_file(source, context)?;
    let mut build_args = Vec::new();
    for (name, value) in &args.build_arg {
        // As docker: a name alone takes the caller's variable, and is nothing where there is none.
        if let Some(value) = value.clone().or_else(|| std::env::var(name).ok()) {
            build_args.push((name.clone(), value));
        }
    }
    if !build_args.iter().any(|(name, _)| name == EPOCH)
        && let Ok(epoch) = std::env::var(EPOCH)
        && !epoch.is_empty()
    {
        build_args.push((EPOCH.to_owned(), epoch));
    }
    Ok(BuildRequest {
        dockerfile: Dockerfile {
            name: source.name.clone(),
            text: source.text.clone(),
        },
        context: Some(context.clone()),
        ignore: ignore.map(|file| IgnoreFile {
            name: file.name,
            text: file.text,
        }),
        epoch: epoch(&build_args)?,
        build_args,
        target: args.target.clone(),
        labels: args
            .label
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()))
            .collect(),
        no_cache: args.no_cache,
        pull: if args.pull {
            PullPolicy::Always
        } else {
            PullPolicy::Missing
        },
        platform: args.platform.clone().unwrap_or_else(Platform::host),
        network: match args.network {
            NetworkChoice::Default | NetworkChoice::Host => NetworkMode::Host,
            NetworkChoice::None => NetworkMode::None,
        },
        secrets: args
            .secret
            .iter()
            .map(|secret| secret.read().doing(|| "cannot read a secret".to_owned()))
            .collect::<Outcome<_>>()?,
        names: args.tag.clone(),
        jobs: args.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            usize::from,
        ),
    })
}

fn epoch(build_args: &[(String, String)]) -> Outcome<Option<i64>> {
    let Some((_, text)) = build_args.iter().rev().find(|(name, _)| name == EPOCH) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Failure::unable(format!("`{EPOCH}` is `{text}`"))
            .hint("it is a number of seconds since 1970-01-01")
    })
}

/// Removes the image id of an earlier build: a build that fails leaves none.
fn forget_result(args: &BuildArgs) -> Outcome<()> {
    match args.iidfile.as_ref().map(fs::remove_file) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io("cannot remove the old image id file", &error))
        }
        _ => Ok(()),
    }
}

/// Writes what scripts read: the image id, and the facts about the build.
fn write_results(args: &BuildArgs, built: &Exported) -> Outcome<()> {
    let write = |path: &Path, text: &str| {
        fs::write(path, text).doing(|| format!("cannot write `{}`", path.display()))
    };
    if let Some(path) = &args.iidfile {
        write(path, &built.image_id.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = args.tag.iter().map(Reference::to_string).collect();
        let mut facts = json!({
            "containerimage.config.digest": built.image_id,
            "containerimage.descriptor": built.manifest,
            "containerimage.digest": built.manifest.digest,
        });
        if let (Some(facts), false) = (facts.as_object_mut(), names.is_empty()) {
            facts.insert("image.name".to_owned(), json!(names.join(",")));
        }
        write(path, &format!("{facts:#}\n"))?;
    }
    Ok(())
}

/// Shows why a build failed.
fn failure(
    session: &Session,
    progress: Progress,
    source: &SourceFile,
    error: BuildError,
    display: &Display,
) -> Failure {
    match error {
        BuildError::Diagnostics(diagnostics) => {
            show(session, progress, source, &diagnostics);
            Failure::silent(Exit::Failed)
        }
        BuildError::Step(failed) => {
            if progress == Progress::Rawjson {
                show(
                    session,
                    progress,
                    source,
                    std::slice::from_ref(&failed.diagnostic),
                );
            } else {
                show_step(session, source, &failed, display);
            }
            Failure::silent(Exit::Failed)
        }
        BuildError::System {
            what,
            hint,
            source: error,
        } => Failure::io(what, &error).hint_if(hint),
        BuildError::Cancelled => interrupted(),
    }
}

/// Shows diagnostics as the progress is shown: source excerpts for people, one line of JSON for tools.
fn show(session: &Session, progress: Progress, source: &SourceFile, list: &[Diagnostic]) {
    if progress == Progress::Rawjson {
        let line = json!({ "diagnostics": super::check::as_json(source, list) });
        session.printer.note(&line.to_string());
    } else {
        dockerfile::show(session.printer, source, list);
    }
}

/// What the lint says: the rules that BuildKit has too. `check` asks all of them.
///
/// They are errors where the Dockerfile says `# check=error=true`; rules of our own must not stop what BuildKit builds.
fn findings(request: &BuildRequest, source: &SourceFile) -> Outcome<Vec<Diagnostic>> {
    let parsed = parse(&source.text);
    if parsed.has_errors() {
        return Ok(Vec::new());
    }
    let ignore = request.ignore.as_ref().map(|file| {
        Ignore::parse(&file.text)
            .map_err(|error| Failure::input(format!("`{}`, {error}", file.name)))
    });
    let ignore = ignore.transpose()?;
    let platform = request.platform.to_string();
    let options = Options {
        ignore: ignore.as_ref(),
        platform: Some(&platform),
        ..Options::default()
    };
    let mut findings = lint_with(&parsed, &source.text, &options);
    let only_ours = |code: &str| {
        RULES
            .iter()
            .any(|rule| rule.name == code && !rule.in_buildkit)
    };
    findings.retain(|finding| !only_ours(finding.code));
    Ok(findings)
}

/// Shows warnings, a line for each: `check` shows them in full.
fn show_warnings(session: &Session, source: &SourceFile, mut warnings: Vec<Diagnostic>) {
    warnings.sort_by(|a, b| {
        (a.span.start, a.code, &a.message).cmp(&(b.span.start, b.code, &b.message))
    });
    warnings.dedup();
    for warning in &warnings {
        let line = line_column(&source.text, warning.span.start).line;
        session.printer.warning(&format!(
            "{}: {} ({}:{line})",
            warning.code, warning.message, source.name
        ));
    }
    if !warnings.is_empty() {
        session
            .printer
            .hint("`rbuild check` shows these places, and what to do");
    }
}

/// Shows a step that failed: its last output, then the instruction in its Dockerfile.
fn show_step(session: &Session, source: &SourceFile, failed: &StepFailure, display: &Display) {
    let printer = session.printer;
    let lines = clean_lines(&failed.tail);
    if !lines.is_empty() {
        let rule = "------";
        let title = if display.shows_output() {
            format!("the last output of {}:", failed.name)
        } else {
            format!("{}:", failed.name)
        };
        printer.note(rule);
        printer.note(&format!(" > {}", printer.paint(Style::Bold, &title)));
        for line in lines {
            printer.note(&line);
        }
        printer.note(rule);
    }
    dockerfile::show(printer, source, std::slice::from_ref(&failed.diagnostic));
}
