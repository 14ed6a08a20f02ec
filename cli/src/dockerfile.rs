//! Finding and reading the Dockerfile, the context and the ignore file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbuild_parser::Diagnostic;

use crate::args::remote_context;
use crate::exit::{Doing, Failure, Outcome};
use crate::printer::{Printer, Style};

/// Places in a Dockerfile are 32-bit offsets.
const SIZE_LIMIT: u64 = 256 << 20;

/// A text and the name that messages give it.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// As the user would name it.
    pub(crate) name: String,
    /// Where it is; `None` for standard input.
    pub(crate) path: Option<PathBuf>,
    /// What it says.
    pub(crate) text: String,
}

/// Reads a text file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Outcome<SourceFile> {
    let from_stdin = path == Path::new("-");
    let name = if from_stdin {
        "standard input".to_owned()
    } else {
        path.strip_prefix("./")
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let mut bytes = Vec::new();
    let reading = || format!("cannot read `{name}`");
    if from_stdin {
        io::stdin()
            .lock()
            .take(SIZE_LIMIT + 1)
            .read_to_end(&mut bytes)
            .doing(reading)?;
    } else {
        let file = std::fs::File::open(path).doing(reading)?;
        // A FIFO or device is fine (`-f <(…)`), a directory is not.
        if file.metadata().doing(reading)?.is_dir() {
            return Err(Failure::unable(format!(
                "`{name}` is a directory, not a Dockerfile"
            )));
        }
        file.take(SIZE_LIMIT + 1)
            .read_to_end(&mut bytes)
            .doing(reading)?;
    }
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(Failure::input(format!(
            "`{name}` is longer than {} MiB",
            SIZE_LIMIT >> 20
        )));
    }
    // Old files have comments and names in other encodings; Docker takes them, so they are no error.
    let (text, _) = rbuild_parser::decode(&bytes);
    Ok(SourceFile {
        name,
        path: (!from_stdin).then(|| path.to_owned()),
        text,
    })
}

/// Checks that a context is a directory of this machine.
pub(crate) fn check_context(context: &Path) -> Outcome<()> {
    if let Some(what) = remote_context(context.as_os_str()) {
        return Err(Failure::unable(format!(
            "{what} is not supported yet: `{}`",
            context.display()
        ))
        .hint("fetch it, then build from the directory"));
    }
    let shown = context.display();
    match std::fs::metadata(context) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::unable(format!(
            "build context `{shown}` is a file, not a directory"
        ))
        .hint(format!(
            "for another Dockerfile: `rbuild -f {shown} DIRECTORY`"
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::unable(format!(
            "build context `{shown}` does not exist"
        ))),
        Err(error) => Err(Failure::io(
            format!("cannot enter build context `{shown}`"),
            &error,
        )),
    }
}

/// Reads the Dockerfile of a build: `file`, or else `Dockerfile` (or `dockerfile`) in the context.
pub(crate) fn locate(file: Option<&Path>, context: &Path) -> Outcome<SourceFile> {
    if let Some(file) = file {
        return read(file);
    }
    for name in ["Dockerfile", "dockerfile"] {
        let path = context.join(name);
        if path.exists() {
            return read(&path);
        }
    }
    Err(Failure::unable(format!(
        "there is no `Dockerfile` in `{}`",
        context.display()
    ))
    .hint("name another file with `-f FILE`"))
}

/// Reads the ignore file: `<Dockerfile>.dockerignore` beside the Dockerfile, or else `.dockerignore` in the context.
pub(crate) fn ignore_file(dockerfile: &SourceFile, context: &Path) -> Outcome<Option<SourceFile>> {
    let own = dockerfile.path.as_ref().map(|path| {
        let mut name = path.clone().into_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        if path.is_file() {
            return read(&path).map(Some);
        }
    }
    Ok(None)
}

/// Shows diagnostics with their places, in the order of the source.
pub(crate) fn show(printer: Printer, source: &SourceFile, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = rbuild_parser::render(&source.name, &source.text, diagnostic);
        printer.raw(&paint(printer, diagnostic, text.trim_end()));
        printer.raw("\n\n");
    }
}

/// Colours the first word of a rendered diagnostic.
fn paint(printer: Printer, diagnostic: &Diagnostic, text: &str) -> String {
    let style = if diagnostic.is_error() {
        Style::Error
    } else {
        Style::Warning
    };
    match text.split_once(':') {
        Some((head, rest)) if !head.contains('\n') => {
            format!("{}:{rest}", printer.paint(style, head))
        }
        _ => text.to_owned(),
    }
}
