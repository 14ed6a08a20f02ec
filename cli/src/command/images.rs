//! `images`

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::SystemTime;

use rbuild_image::{Digest, Reference};
use rbuild_store::local::{ImageRecord, LocalStore};
use serde_json::json;

use crate::args::{ImagesArgs, OutputFormat};
use crate::exit::{Doing, Exit, Outcome};
use crate::human;
use crate::printer::table;
use crate::session::{Session, documents};
use crate::size::image_size;

/// One line of the list.
#[derive(Debug)]
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: Digest,
    created: Option<String>,
    size: u64,
}

const NONE: &str = "<none>";

pub(crate) fn run(args: &ImagesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let mut rows = rows(&store, args)?;
    // The newest first, as docker; names break the tie.
    rows.sort_by(|a, b| {
        let time = |row: &Row| row.created.as_deref().and_then(human::parse_time);
        (time(b), &a.repository, &a.tag, &a.digest).cmp(&(
            time(a),
            &b.repository,
            &b.tag,
            &b.digest,
        ))
    });
    let id = |row: &Row| {
        if args.no_trunc {
            row.id.to_string()
        } else {
            row.id.short()
        }
    };
    if args.quiet {
        let mut seen = HashSet::new();
        for row in rows.iter().filter(|row| seen.insert(row.id)) {
            session.printer.line(&id(row))?;
        }
        return Ok(Exit::Done);
    }
    let now = SystemTime::now();
    if args.format == OutputFormat::Json {
        for row in &rows {
            let line = json!({
                "Repository": row.repository,
                "Tag": row.tag,
                "Digest": row.digest,
                "ID": id(row),
                "CreatedAt": row.created,
                "CreatedSince": human::ago(row.created.as_deref(), now),
                "Size": human::size(row.size),
                "SizeBytes": row.size,
            });
            session.printer.line(&line.to_string())?;
        }
        return Ok(Exit::Done);
    }
    let mut header = vec!["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
    let mut cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.repository.clone(),
                row.tag.clone(),
                row.digest.clone(),
                id(row),
                human::ago(row.created.as_deref(), now),
                human::size(row.size),
            ]
        })
        .collect();
    if !args.digests {
        header.remove(2);
        for row in &mut cells {
            row.remove(2);
        }
    }
    session.printer.bytes(table(&header, &cells).as_bytes())?;
    Ok(Exit::Done)
}

fn rows(store: &LocalStore, args: &ImagesArgs) -> Outcome<Vec<Row>> {
    let reading = || "cannot read the local store";
    let filter = Filter::parse(args.repository.as_deref());
    let images: BTreeMap<Digest, ImageRecord> = store
        .images()
        .doing(reading)?
        .into_iter()
        .map(|image| (image.descriptor.digest, image))
        .collect();
    let names = store.names().doing(reading)?;
    let mut named = HashSet::new();
    let mut rows = Vec::new();
    let mut shown: BTreeSet<(String, Digest)> = BTreeSet::new();
    let tags = names
        .iter()
        .filter(|(reference, _)| reference.digest.is_none());
    let digests = names
        .iter()
        .filter(|(reference, _)| reference.digest.is_some());
    for (reference, descriptor) in tags.chain(digests) {
        let Some(image) = images.get(&descriptor.digest) else {
            continue;
        };
        named.insert(image.image_id);
        let repository = reference.familiar_name();
        // A repo digest is a line of its own only where the repository has no tag for the image.
        if reference.digest.is_some() && shown.contains(&(repository.clone(), image.image_id)) {
            continue;
        }
        shown.insert((repository.clone(), image.image_id));
        if !filter.accepts(reference) {
            continue;
        }
        let digest = match reference.digest {
            Some(digest) => Some(digest),
            None => repo_digest(&names, &repository, &image.descriptor.digest),
        };
        rows.push(row(
            store,
            image,
            repository,
            reference.tag.as_ref().map(|tag| tag.as_str().to_owned()),
            digest,
        )?);
    }
    for image in images.values() {
        if filter == Filter::All && named.insert(image.image_id) {
            rows.push(row(store, image, NONE.to_owned(), None, None)?);
        }
    }
    Ok(rows)
}

fn repo_digest(
    names: &[(Reference, rbuild_image::Descriptor)],
    repository: &str,
    manifest: &Digest,
) -> Option<Digest> {
    names
        .iter()
        .filter(|(name, descriptor)| {
            descriptor.digest == *manifest && name.familiar_name() == repository
        })
        .find_map(|(name, _)| name.digest)
}

fn row(
    store: &LocalStore,
    image: &ImageRecord,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
) -> Outcome<Row> {
    // One damaged image must not hide the others.
    let (created, size) = match documents(store, image) {
        Ok(documents) => (
            documents.config.value().created.clone(),
            image_size(store, &documents)?,
        ),
        Err(_) => (None, 0),
    };
    Ok(Row {
        repository,
        tag: tag.unwrap_or_else(|| NONE.to_owned()),
        digest: digest.map_or_else(|| NONE.to_owned(), |digest| digest.to_string()),
        id: image.image_id,
        created,
        size,
    })
}

/// Which names are listed.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    All,
    Repository(String),
    Name(String),
    Nothing,
}

impl Filter {
    fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else {
            return Self::All;
        };
        match text.parse::<Reference>() {
            Ok(reference) if text.ends_with(&reference_suffix(&reference)) => {
                Self::Name(reference.familiar())
            }
            Ok(reference) => Self::Repository(reference.familiar_name()),
            Err(_) => Self::Nothing,
        }
    }

    fn accepts(&self, reference: &Reference) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Repository(repository) => reference.familiar_name() == *repository,
            Self::Name(name) => reference.familiar() == *name,
        }
    }
}

/// What a text ends with if it names tag or digest itself.
fn reference_suffix(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("@{digest}"),
        (None, Some(tag)) => format!(":{tag}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_with_a_tag_is_for_one_name() {
        for (filter, name, want) in [
            ("app", "app:1", true),
            ("app", "team/app:1", false),
            ("app:1", "app:1", true),
            ("app:1", "app:2", false),
            ("localhost:5000/app", "localhost:5000/app:7", true),
            ("localhost:5000/app:7", "localhost:5000/app:7", true),
            ("No Name", "app:1", false),
        ] {
            let reference: Reference = name.parse().expect("name");
            assert_eq!(
                Filter::parse(Some(filter)).accepts(&reference),
                want,
                "{filter} {name}"
            );
        }
    }
}
