//! Reading the layer tars of others.

use std::io::{self, Read};

use super::{LayerSummary, TocError};

/// Why a stream is no layer that we can use.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Reading failed.
    #[error("reading a layer")]
    Io(#[from] io::Error),
    /// The entries do not make a layer.
    #[error(transparent)]
    Toc(#[from] TocError),
}

/// Reads an uncompressed layer tar to its end, in one pass.
pub fn scan(tar: impl Read) -> Result<LayerSummary, LayerError> {
    let _ = tar;
    Err(io::Error::from(io::ErrorKind::Unsupported).into())
}
