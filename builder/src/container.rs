//! An image as the root of a container: its layers, and who its users are.

use std::io;

use rbuild_cache::LayerRecord;
use rbuild_image::DiffId;
use rbuild_store::local::LocalStore;

use crate::copy::{OwnerError, identity};
use crate::rootfs::State;
use crate::sandbox::ResolvedUser;

/// The root file system of an image that is in the store.
#[derive(Debug, Clone)]
pub struct ImageRoot {
    store: LocalStore,
    state: State,
}

/// Why a user of a root file system is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoUser(String);

impl ImageRoot {
    /// The root file system that these layers make, lowest first. Layers that were never read are read once.
    pub fn open(store: &LocalStore, layers: &[DiffId]) -> io::Result<Self> {
        Ok(Self {
            store: store.clone(),
            state: State::of_layers(store, layers)?,
        })
    }

    /// Its layers, lowest first.
    pub fn layers(&self) -> &[LayerRecord] {
        &self.state.layers
    }

    /// `user[:group]` by name or number, as `USER` takes it, and the user's home; an empty text is root.
    pub fn user(&self, text: &str) -> Result<(ResolvedUser, String), NoUser> {
        identity(text, &|path| self.state.read(&self.store, path))
            .map(|identity| (identity.user, identity.home))
            .map_err(|error: OwnerError| NoUser(error.to_string()))
    }
}
