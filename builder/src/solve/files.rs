//! `COPY`, `ADD` and `WORKDIR`: the entries are listed first, the list is the key, a miss streams the layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_cache::{LayerRecord, Record};
use rbuild_image::layer::{Toc, compare_paths, file_name, join};
use rbuild_parser::ignore::Ignore;
use rbuild_parser::{Diagnostic, Span};

use super::{Done, Solver};
use crate::context::hash_contents;
use crate::copy::{
    Archive, Content, Meta, Node, NodeKind, Owners, PlaceError, Placed, Placement, Tree,
    clean_path, digest_of, is_pattern, select, write_layer,
};
use crate::error::{BuildError, Doing};
use crate::event::BuildEvent;
use crate::graph::{CopySpec, Located, Step, WorkdirSpec};
use crate::key;
use crate::rootfs::State;

impl Solver<'_> {
    /// `WORKDIR`: makes the directory, and those above it, for the current user (rule 23).
    pub(super) fn workdir(
        &self,
        step: &Step,
        number: usize,
        spec: &WorkdirSpec,
        parent: &State,
    ) -> Result<Done, BuildError> {
        let view = parent
            .view(self.store())
            .doing(|| "cannot read the root file system".to_owned())?;
        let owners = if spec.user.is_empty() {
            Owners::default()
        } else {
            Owners::parse(&spec.user, &|path| parent.read(self.store(), path))
                .map_err(|error| Diagnostic::error("no-such-user", step.span, error.to_string()))?
        };
        let meta = Meta {
            owners: Some(owners),
            mode: None,
            created: Some(self.created_time()),
        };
        let mut placement = Placement::new(view, meta);
        let placed = |error: PlaceError| {
            BuildError::from(Diagnostic::error("bad-path", step.span, error.to_string()))
        };
        let (path, _) = placement.destination(&spec.path).map_err(placed)?;
        placement.directory(&path).map_err(placed)?;
        self.add_files(step, number, placement)
    }

    /// `COPY` and `ADD`.
    pub(super) fn copy(
        &self,
        step: &Step,
        number: usize,
        spec: &CopySpec,
        parent: &State,
        source: Option<&State>,
    ) -> Result<Done, BuildError> {
        let reading = || "cannot read the root file system".to_owned();
        let view = parent.view(self.store()).doing(reading)?;
        let owners = match &spec.chown {
            None => None,
            Some(chown) => Some(
                Owners::parse(&chown.text, &|path| parent.read(self.store(), path)).map_err(
                    |error| Diagnostic::error("no-such-user", chown.span, error.to_string()),
                )?,
            ),
        };
        let meta = Meta {
            owners,
            mode: spec.chmod.clone(),
            created: Some(self.created_time()),
        };
        let mut placing = Placing {
            placement: Placement::new(view, meta),
            spec,
            destination: clean_path(&spec.workdir, &spec.destination.text),
            excludes: excludes(spec, step.span)?,
            named_files: 0,
        };
        let tree;
        let files: Option<&dyn Tree> = match source {
            Some(state) => {
                tree = state.tree(self.store()).doing(reading)?;
                Some(&tree)
            }
            None => self.context.as_ref().map(|context| context as &dyn Tree),
        };
        for path in &spec.paths {
            let files = files.ok_or_else(|| {
                Diagnostic::error(
                    "no-context",
                    path.span,
                    "there is no build context to copy from",
                )
                .with_help("give a directory as the context")
            })?;
            self.source(&mut placing, files, path)?;
        }
        for (name, text) in &spec.inline {
            placing.inline(name, text, self.created_time())?;
        }
        if placing.named_files > 1 {
            let text = format!(
                "{}: {} files are copied onto one name, `{}`, so only the last stays; end the destination with `/` to copy into a directory",
                step.name, placing.named_files, spec.destination.text
            );
            self.observer.on_event(BuildEvent::Notice(&text));
        }
        self.add_files(step, number, placing.placement)
    }

    fn source(
        &self,
        placing: &mut Placing<'_>,
        files: &dyn Tree,
        path: &Located,
    ) -> Result<(), BuildError> {
        let reading = |error: std::io::Error| -> BuildError {
            Diagnostic::error(
                "cannot-read",
                path.span,
                format!("cannot read `{}`: {error}", path.text),
            )
            .into()
        };
        let Some(selected) = select(files, &path.text).map_err(reading)? else {
            let message = format!("`{}` is not there to copy", path.text);
            let mut diagnostic = Diagnostic::error("no-such-file", path.span, message);
            diagnostic.help = files.why_missing(&path.text);
            return Err(diagnostic.into());
        };
        for found in selected {
            placing.placement.next_source();
            if found.node.is_directory() {
                let children = files.walk(&found.path).map_err(reading)?;
                placing.directory(&children)?;
            } else if let Some(archive) =
                self.archive(placing.spec, &found.node).map_err(reading)?
            {
                placing
                    .unpack(&archive)
                    .map_err(|error| placing.refused(&error))?;
            } else if !placing.is_excluded(found.name())
                || is_pattern(&path.text) && placing.excludes.is_none()
            {
                placing.file(found.name(), &found.node)?;
            }
        }
        Ok(())
    }

    /// The archive that a file of an `ADD` is, if it is one.
    fn archive(&self, spec: &CopySpec, node: &Node) -> std::io::Result<Option<Archive>> {
        let NodeKind::File { content, .. } = &node.kind else {
            return Ok(None);
        };
        let mut content = content.clone();
        if !spec.unpack {
            return Ok(None);
        }
        self.hash(std::iter::once(&mut content))?;
        match (&content, content.digest()) {
            (Content::File { path, .. }, Some(digest)) => {
                Archive::open(path, &digest, self.store())
            }
            _ => Ok(None),
        }
    }

    fn hash<'c>(&self, contents: impl Iterator<Item = &'c mut Content>) -> std::io::Result<()> {
        match &self.stat_cache {
            Some(cache) => hash_contents(contents, cache, self.request.jobs),
            None => Ok(()),
        }
    }

    /// The layer of the listed entries, from the cache or written now.
    fn add_files(
        &self,
        step: &Step,
        number: usize,
        mut placement: Placement<'_>,
    ) -> Result<Done, BuildError> {
        if !placement.has_changes() {
            return Ok(Done {
                layer: None,
                created: 0,
                cached: true,
            });
        }
        self.hash(placement.contents_mut()).map_err(|error| {
            Diagnostic::error("cannot-read", step.span, format!("cannot read {error}"))
        })?;
        let list = placement.finish();
        let key = key::files(&digest_of(&list));
        self.cached(
            step,
            number,
            key,
            &|before| self.changed_files(before, &list),
            &|| {
                write_layer(self.store(), &list)
                    .map(Some)
                    .doing(|| format!("cannot make the layer of `{}`", step.name))
            },
        )
    }

    /// Which files differ from those of the earlier layer.
    fn changed_files(&self, before: &Record, list: &[Placed]) -> Option<String> {
        let LayerRecord { diff_id, .. } = before.layer.as_ref()?;
        let toc = self.store().toc(*diff_id).ok()??;
        let changes = compare(&toc, list);
        let shown: Vec<String> = changes.iter().take(3).cloned().collect();
        let more = changes.len().saturating_sub(shown.len());
        match (shown.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(shown.join(", ")),
            (false, more) => Some(format!("{}, and {more} more", shown.join(", "))),
        }
    }
}

fn compare(before: &Arc<Toc>, now: &[Placed]) -> Vec<String> {
    let mut earlier: BTreeMap<Vec<u8>, _> = before
        .iter()
        .map(|entry| (entry.path().to_vec(), entry))
        .collect();
    let name = |path: &[u8]| format!("`/{}`", String::from_utf8_lossy(path));
    let mut changes = Vec::new();
    for placed in now {
        let entry = &placed.entry;
        let Some(old) = earlier.remove(&entry.path) else {
            changes.push(format!("{} is new", name(&entry.path)));
            continue;
        };
        let digest = placed.content.as_ref().and_then(Content::digest);
        let old_digest = old.content().map(|content| content.digest);
        if old.kind() != entry.kind.borrowed()
            || (digest.is_some() && old_digest.is_some() && digest != old_digest)
        {
            changes.push(format!("{} changed", name(&entry.path)));
        } else if old.mode() != entry.mode {
            changes.push(format!(
                "{} changed its mode from {:04o} to {:04o}",
                name(&entry.path),
                old.mode(),
                entry.mode
            ));
        } else if (old.uid(), old.gid()) != (entry.uid, entry.gid) {
            changes.push(format!("{} changed its owner", name(&entry.path)));
        }
    }
    let mut gone: Vec<Vec<u8>> = earlier.into_keys().collect();
    gone.sort_by(|left, right| compare_paths(left, right));
    changes.extend(gone.iter().map(|path| format!("{} is gone", name(path))));
    changes
}

/// `--exclude` patterns; none when there are none.
fn excludes(spec: &CopySpec, span: Span) -> Result<Option<Ignore>, BuildError> {
    if spec.excludes.is_empty() {
        return Ok(None);
    }
    let patterns = spec.excludes.iter().map(String::as_str);
    let ignore = Ignore::from_patterns(patterns)
        .map_err(|error| Diagnostic::error("bad-pattern", span, format!("`--exclude`: {error}")))?;
    Ok(Some(ignore))
}

/// The placing of one instruction's sources.
struct Placing<'a> {
    placement: Placement<'a>,
    spec: &'a CopySpec,
    destination: String,
    excludes: Option<Ignore>,
    /// Files that went onto the destination's own name.
    named_files: usize,
}

impl Placing<'_> {
    fn refused(&self, error: &PlaceError) -> BuildError {
        Diagnostic::error(
            "bad-destination",
            self.spec.destination.span,
            error.to_string(),
        )
        .into()
    }

    fn is_excluded(&self, path: &[u8]) -> bool {
        self.excludes
            .as_ref()
            .is_some_and(|ignore| ignore.is_ignored(&String::from_utf8_lossy(path)))
    }

    /// A source directory: its contents go into the destination (rule 25).
    fn directory(&mut self, children: &[Node]) -> Result<(), BuildError> {
        let place = |placing: &mut Self| -> Result<(), PlaceError> {
            let (base, _) = placing.placement.destination(&placing.destination)?;
            placing.placement.directory(&base)?;
            for child in children {
                if !placing.is_excluded(&child.path) {
                    placing.placement.put(&join(&base, &child.path), child)?;
                }
            }
            Ok(())
        };
        place(self).map_err(|error| self.refused(&error))
    }

    /// An archive: the destination is a directory in any case.
    fn unpack(&mut self, archive: &Archive) -> Result<(), PlaceError> {
        let (base, _) = self.placement.destination(&self.destination)?;
        self.placement.directory(&base)?;
        let files = archive
            .tree()
            .walk(b"")
            .map_err(|error| PlaceError::NotDirectory(error.to_string()))?;
        for child in &files {
            if !self.is_excluded(&child.path) {
                self.placement.put_unpacked(&base, &child.path, child)?;
            }
        }
        Ok(())
    }

    /// A source file: into the destination when that is a directory or written as one, else under its name (rule 26).
    fn file(&mut self, name: &[u8], node: &Node) -> Result<(), BuildError> {
        let text = &self.spec.destination.text;
        let written_as_directory =
            text.ends_with('/') || matches!(file_name(text.as_bytes()), b"." | b"..");
        let place = |placing: &mut Self| -> Result<(), PlaceError> {
            let (base, is_directory) = placing.placement.destination(&placing.destination)?;
            if written_as_directory || is_directory {
                placing.placement.put(&join(&base, name), node)
            } else {
                placing.named_files += 1;
                placing.placement.put(&base, node)
            }
        };
        place(self).map_err(|error| self.refused(&error))
    }

    /// A file that is written in the Dockerfile: 0644, root's.
    fn inline(
        &mut self,
        name: &str,
        text: &str,
        time: rbuild_image::layer::Time,
    ) -> Result<(), BuildError> {
        self.placement.next_source();
        let content = Content::Text(Arc::from(text.as_bytes()));
        let node = Node {
            path: name.as_bytes().to_vec(),
            kind: NodeKind::File {
                size: text.len() as u64,
                content,
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: time,
            xattrs: BTreeMap::new(),
            identity: None,
        };
        self.file(name.as_bytes(), &node)
    }
}
