//! `history`

use std::time::SystemTime;

use serde_json::json;

use crate::args::{HistoryArgs, OutputFormat};
use crate::exit::{Exit, Outcome};
use crate::human;
use crate::printer::table;
use crate::session::{Session, documents};
use crate::size::layer_size;

const MISSING: &str = "<missing>";
/// Docker's width of CREATED BY.
const INSTRUCTION_WIDTH: usize = 45;

pub(crate) fn run(args: &HistoryArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let image = Session::find(&store, &args.image)?.image;
    let documents = documents(&store, &image)?;
    let config = documents.config.value();
    let id = if args.no_trunc {
        image.image_id.to_string()
    } else {
        image.image_id.short()
    };
    let mut layers = config.rootfs.diff_ids.iter();
    let mut entries = Vec::new();
    for entry in &config.history {
        let size = match (entry.empty_layer, layers.next_if_layer(entry.empty_layer)) {
            (false, Some(layer)) => layer_size(&store, *layer)?.unwrap_or(0),
            _ => 0,
        };
        entries.push((entry, size));
    }
    // The image is what its last entry made; the others have no id.
    entries.reverse();
    let now = SystemTime::now();
    let mut rows = Vec::new();
    for (index, (entry, size)) in entries.iter().enumerate() {
        let name = if index == 0 { id.as_str() } else { MISSING };
        if args.quiet {
            session.printer.line(name)?;
            continue;
        }
        let created = entry.created.clone().unwrap_or_default();
        let by = entry
            .created_by
            .clone()
            .unwrap_or_default()
            .replace('\t', " ");
        let comment = entry.comment.clone().unwrap_or_default();
        let shown_size = if args.human {
            human::size(*size)
        } else {
            size.to_string()
        };
        if args.format == OutputFormat::Json {
            let line = json!({
                "ID": name,
                "CreatedAt": created,
                "CreatedSince": human::ago(Some(&created), now),
                "CreatedBy": by,
                "Size": shown_size,
                "Comment": comment,
            });
            session.printer.line(&line.to_string())?;
            continue;
        }
        let by = by.replace('\n', " ");
        rows.push(vec![
            name.to_owned(),
            if args.human {
                human::ago(Some(&created), now)
            } else {
                created
            },
            if args.no_trunc {
                by
            } else {
                human::shorten(&by, INSTRUCTION_WIDTH)
            },
            shown_size,
            comment,
        ]);
    }
    if !args.quiet && args.format == OutputFormat::Table {
        let header = ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
        session.printer.bytes(table(&header, &rows).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Takes the next layer for an entry that has one.
trait NextIfLayer: Iterator + Sized {
    fn next_if_layer(&mut self, empty: bool) -> Option<Self::Item> {
        if empty { None } else { self.next() }
    }
}

impl<I: Iterator> NextIfLayer for I {}
