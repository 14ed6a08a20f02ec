//! Where base images come from when the local store does not have them.

use std::fmt;

use rbuild_image::{Descriptor, Platform, Reference};

/// Brings images into the local store. The builder knows no HTTP.
pub trait ImageSource: Send + Sync + fmt::Debug {
    /// Makes the store hold the image for `platform` whole, under its name, and returns the descriptor of its
    /// manifest (not of the index it was chosen from).
    ///
    /// `progress` is told what was transferred: label, bytes so far, bytes in all.
    fn fetch(
        &self,
        reference: &Reference,
        platform: &Platform,
        progress: &dyn Fn(&str, u64, u64),
    ) -> Result<Descriptor, SourceError>;
}

/// Why an image could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What failed, with its causes.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

/// A source that has nothing: builds from the local store only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSource;

impl ImageSource for NoSource {
    fn fetch(
        &self,
        reference: &Reference,
        _: &Platform,
        _: &dyn Fn(&str, u64, u64),
    ) -> Result<Descriptor, SourceError> {
        Err(SourceError {
            message: format!("image `{}` is not in the local store", reference.familiar()),
            hint: None,
        })
    }
}
