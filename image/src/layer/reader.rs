//! Reading the layer tars of others: any order, any dialect, any intention.
//!
//! What comes out is in canonical form. Later entries of a path win; links in the way of a path are followed
//! inside the layer; of several names of a file the first in order has its bytes; paths that leave the root are
//! refused, as engines do. Sparse files are refused.

mod changes;
mod input;
mod member;
mod pax;

use std::io::{self, Read};

use super::{FileContent, LayerSummary, TocError};
use crate::{DiffId, Hasher};
use changes::Changes;
use input::Input;
use member::{Member, What};

/// Why a stream is no layer that we can use.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Reading failed.
    #[error("cannot read the layer")]
    Io(#[from] io::Error),
    /// The entries do not make a layer.
    #[error(transparent)]
    Toc(#[from] TocError),
    /// The tar breaks off.
    #[error("the layer's tar is cut off at byte {offset}")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// A header is none.
    #[error("the layer's tar has a broken header at byte {offset}: {what}")]
    Header {
        /// Where the header begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A header has a type that layers do not have.
    #[error("`{path}` in the layer's tar has the unknown type {flag:?}")]
    Type {
        /// The entry.
        path: String,
        /// The type's letter.
        flag: char,
    },
    /// A sparse file.
    #[error("`{0}` is a sparse file, which is not supported in layers")]
    Sparse(String),
    /// A path leaves the root, or is no path.
    #[error("`{0}` is not a path inside the root")]
    Path(String),
    /// A name that means a removed file stands where it means nothing.
    #[error("`{0}` is no valid whiteout")]
    Whiteout(String),
    /// A hard link that leads to a directory or to itself.
    #[error("hard link `{path}` cannot lead to `{target}`")]
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// Links inside the layer lead in a circle.
    #[error("too many links on the way of `{0}`")]
    TooManyLinks(String),
}

/// Reads an uncompressed layer tar to its end, in one pass with bounded buffers.
pub fn scan(tar: impl Read) -> Result<LayerSummary, LayerError> {
    let mut input = Input::new(tar);
    let mut changes = Changes::default();
    let mut file_bytes = 0_u64;
    while let Some(Member { path, what }) = member::next(&mut input)? {
        match what {
            What::File { size, attributes } => {
                let offset = input.position();
                let mut hasher = Hasher::sha256();
                input.read(size, |bytes| hasher.update(bytes))?;
                input.skip_padding(size)?;
                let content = FileContent {
                    digest: hasher.finish(),
                    size,
                    offset,
                };
                changes.file(&path, attributes, content)?;
            }
            What::Other { kind, attributes } => changes.other(&path, kind, attributes)?,
            What::Hardlink { target } => changes.link(&path, &target)?,
            What::Whiteout => changes.whiteout(&path)?,
            What::Opaque => changes.opaque(&path)?,
        }
    }
    input.drain()?;
    let size = input.position();
    let toc = changes.finish()?;
    for entry in toc.iter() {
        file_bytes += entry.content().map_or(0, |content| content.size);
    }
    Ok(LayerSummary {
        diff_id: DiffId(input.finish()),
        content_id: toc.content_id(),
        size,
        file_bytes,
        entries: toc.len() as u64,
        toc,
    })
}
