//! What happened to manifests and tags, for other programs.

use std::time::Duration;

use rbuild_image::{Digest, RepositoryName, Tag};
use serde::Serialize;

use super::Directory;
use crate::metadata::{Event, MetadataError, MetadataStore as _};

/// Events that are read at once.
const PAGE: usize = 1000;
/// How often somebody who follows looks again.
const PAUSE: Duration = Duration::from_millis(500);

/// An event as it is printed: one line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: u64,
    time: String,
    action: &'static str,
    repository: &'a RepositoryName,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a Tag>,
    digest: &'a Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Digest>,
}

/// The event as a line of JSON: `event` (its number), `time` (RFC 3339), `action` (`push`, `tag`, `untag`, `delete`, `collect`),
/// `repository`, `digest`, and for tags `tag` and `previous`.
pub fn line(event: &Event) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Line {
        event: event.number,
        time: humantime::format_rfc3339_millis(event.at.system()).to_string(),
        action: event.change.action(),
        repository: &event.repository,
        tag: event.change.tag(),
        digest: event.change.digest(),
        previous: event.change.previous(),
    })
}

/// Hands over what happened after the event with the number `after`; with `follow`, also what happens from now on, until `each` fails.
///
/// The registry may be serving.
pub fn events<E: From<MetadataError>>(
    directory: &Directory,
    mut after: u64,
    follow: bool,
    mut each: impl FnMut(&Event) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let page = directory.metadata.events(after, PAGE)?;
        for event in &page {
            each(event)?;
            after = event.number;
        }
        if page.len() == PAGE {
            continue;
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
