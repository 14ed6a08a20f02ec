//! `prune` and `df`

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use rbuild_store::local::{Area, LocalStore, PruneScope, Tenant};
use serde_json::json;

use crate::args::{DfArgs, OutputFormat, PruneArgs};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::human;
use crate::interrupt::interrupted;
use crate::printer::table;
use crate::session::{BuildCache, Session};

pub(crate) fn prune(args: &PruneArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    if !args.force && !confirm(args.all, session)? {
        return Ok(Exit::Done);
    }
    let _ = session.interrupt.watch();
    let (scope, cache) = if args.all {
        (PruneScope::Everything, BuildCache::Remove)
    } else {
        (PruneScope::Dangling, BuildCache::Keep)
    };
    let tenant = session.tenant(&store, cache);
    let mut told = false;
    let pruned = loop {
        let pruned = store
            .prune(scope, &[&tenant as &dyn Tenant])
            .doing(|| "cannot remove what is not needed")?;
        if let Some(pruned) = pruned {
            break pruned;
        }
        if session.interrupt.is_set() {
            return Err(interrupted());
        }
        if !told {
            session.printer.note("waiting for another rbuild to end");
            told = true;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for id in &pruned.images {
        session.printer.line(&format!("Deleted: {id}"))?;
    }
    session.printer.line(&format!(
        "Total reclaimed space: {}",
        human::size(pruned.bytes)
    ))?;
    Ok(Exit::Done)
}

fn confirm(all: bool, session: &Session) -> Outcome<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::unable("nobody is there to confirm the removal")
            .hint("`--force` removes without asking"));
    }
    session.printer.warning(if all {
        "this will remove images without a name and the whole build cache"
    } else {
        "this will remove images without a name and what was left over"
    });
    session.printer.raw("Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .doing(|| "cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(crate) fn usage(args: &DfArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let tenant = session.tenant(&store, BuildCache::Keep);
    let usage = store
        .disk_usage(&[&tenant])
        .doing(|| "cannot measure the local store")?;
    let images = image_count(&store)?;
    let rows = [
        ("Images", images, usage.images.bytes),
        (
            "Cached layers",
            usage.cache_blobs.count,
            usage.cache_blobs.bytes,
        ),
        (
            "Unpacked layers",
            usage.snapshots.count,
            usage.snapshots.bytes,
        ),
        ("Cache", usage.cache.count, usage.cache.bytes),
        (
            "Context digests",
            usage.stat_cache.count,
            usage.stat_cache.bytes,
        ),
        ("Index", usage.index.count, usage.index.bytes),
        ("Unused", usage.unused.count, usage.unused.bytes),
    ];
    if args.format == OutputFormat::Json {
        for (kind, count, bytes) in rows {
            let line = json!({ "Type": kind, "Count": count, "Size": human::size(bytes), "SizeBytes": bytes });
            session.printer.line(&line.to_string())?;
        }
        return Ok(Exit::Done);
    }
    let mut cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(kind, count, bytes)| {
            vec![(*kind).to_owned(), count.to_string(), human::size(*bytes)]
        })
        .collect();
    cells.push(vec![
        "Total".to_owned(),
        String::new(),
        human::size(usage.total()),
    ]);
    session
        .printer
        .bytes(table(&["TYPE", "COUNT", "SIZE"], &cells).as_bytes())?;
    session
        .printer
        .note(&format!("The store is in {}", store.root().display()));
    if usage.unreadable > 0 {
        session.printer.warning(&format!(
            "{} directories below `{}` cannot be read and are not counted",
            usage.unreadable,
            store.dir(Area::Snapshots).display()
        ));
    }
    Ok(Exit::Done)
}

fn image_count(store: &LocalStore) -> Outcome<u64> {
    let images = store.images().doing(|| "cannot read the local store")?;
    let mut ids: Vec<_> = images.iter().map(|image| image.image_id).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.len() as u64)
}
