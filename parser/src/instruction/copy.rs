//! `COPY` and `ADD`.

use std::collections::HashMap;

use super::Heredoc;
use super::flag::{Kind, Known};
use super::read::Reader;
use crate::heredoc::{Marker, marker};
use crate::span::Span;
use crate::word::Word;

/// What is copied and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths, patterns, and for `ADD` URLs; without the heredocs.
    pub paths: Vec<Word>,
    /// Files written in the Dockerfile itself; each is named by its delimiter.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: Word,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`: a stage, its index, an image, or a named context.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, each.
    pub excludes: Vec<Word>,
    /// What and where to.
    pub sources: Sources,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, each.
    pub excludes: Vec<Word>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, when given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, when given.
    pub unpack: Option<bool>,
    /// What and where to.
    pub sources: Sources,
}

const COPY_FLAGS: Known = &[
    ("chmod", Kind::Value),
    ("chown", Kind::Value),
    ("exclude", Kind::Values),
    ("from", Kind::Value),
    ("link", Kind::Switch),
    ("parents", Kind::Switch),
];

const ADD_FLAGS: Known = &[
    ("checksum", Kind::Value),
    ("chmod", Kind::Value),
    ("chown", Kind::Value),
    ("exclude", Kind::Values),
    ("keep-git-dir", Kind::Switch),
    ("link", Kind::Switch),
    ("unpack", Kind::Switch),
];

/// Types a `COPY`.
pub(super) fn copy(reader: &mut Reader<'_>) -> Option<Copy> {
    let flags = reader.flags(COPY_FLAGS);
    Some(Copy {
        from: flags.word("from"),
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        parents: flags.switch("parents").unwrap_or_default(),
        excludes: flags.words("exclude"),
        sources: sources(reader)?,
    })
}

/// Types an `ADD`.
pub(super) fn add(reader: &mut Reader<'_>) -> Option<Add> {
    let flags = reader.flags(ADD_FLAGS);
    Some(Add {
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        excludes: flags.words("exclude"),
        checksum: flags.word("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
        sources: sources(reader)?,
    })
}

/// The last argument is the destination; the others are paths or markers of heredocs.
fn sources(reader: &mut Reader<'_>) -> Option<Sources> {
    let mut words = reader.words();
    let name = reader.statement.name();
    let destination = words.pop();
    let Some(destination) = destination.filter(|_| !words.is_empty()) else {
        let span = reader.statement.arguments.text.span;
        let span = if span.is_empty() {
            reader.statement.keyword.span
        } else {
            span
        };
        let help = Some(format!("write `{name} SOURCE… DESTINATION`"));
        reader.error(
            "missing-argument",
            span,
            format!("`{name}` needs a source and a destination"),
            help,
        );
        return None;
    };
    if marker(destination.raw()).is_some() {
        let message = format!("a heredoc cannot be the destination of `{name}`");
        reader.error("heredoc-destination", destination.span, message, None);
        return None;
    }
    let given = &reader.statement.heredocs;
    let bodies: HashMap<&str, &Heredoc> = given
        .iter()
        .map(|heredoc| (heredoc.name.as_str(), heredoc))
        .collect();
    let mut paths = Vec::with_capacity(words.len());
    let mut heredocs: Vec<Heredoc> = Vec::new();
    for word in words {
        if let Some(marker) = marker(word.raw()) {
            let body = bodies.get(marker.name.as_str()).copied();
            heredocs.push(named(marker, &word, body));
            continue;
        }
        // A marker with a blank after `<<` is several words; the first stands for it.
        let before = given.partition_point(|heredoc| heredoc.span.end <= word.span.start);
        match given
            .get(before)
            .filter(|heredoc| heredoc.span.contains(word.span))
        {
            Some(heredoc) if heredocs.last() != Some(heredoc) => heredocs.push(heredoc.clone()),
            Some(_) => {}
            None => paths.push(word),
        }
    }
    Some(Sources {
        paths,
        heredocs,
        destination,
    })
}

/// The body that belongs to a marker: the last of that name; none gives an empty file, as in
/// `BuildKit`, where the JSON form has markers but no bodies.
fn named(marker: Marker, word: &Word, body: Option<&Heredoc>) -> Heredoc {
    Heredoc {
        name: marker.name,
        fd: marker.fd,
        content: body.map(|body| body.content.clone()).unwrap_or_default(),
        expand: marker.expand,
        strip_tabs: marker.strip_tabs,
        span: word.span,
        content_span: body.map_or(Span::at(word.span.end), |body| body.content_span),
    }
}
