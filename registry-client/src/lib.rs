//! Pulls from and pushes to registries that speak the OCI distribution API.
//!
//! [`Client`] is async and cheap to clone: one per process holds the connections, the tokens and the limits.
//! [`Blocking`] lends it to code that runs on threads.
//! [`docker_config`] reads and writes the credentials that Docker's tools share, [`hosts`] the rules for each registry.
//!
//! Nothing that a registry says about digests is believed: every manifest is hashed before it is used,
//! and every blob while it is written.
//! What this crate does not do: it opens no image (layers are bytes), and it prints nothing.

mod auth;
mod blob;
mod blocking;
mod challenge;
mod client;
mod content;
mod credential;
pub mod docker_config;
mod document;
mod error;
pub mod hosts;
mod list;
mod manifest;
mod progress;
mod pull;
mod push;
mod retry;
mod token;
mod transport;
mod upload;
mod warning;

pub use blocking::Blocking;
pub use client::{Client, ClientConfig};
pub use credential::{Anonymous, Credential, Credentials, Secret, StaticCredentials};
pub use error::{
    ClientError, DigestMismatch, InvalidImage, RegistryError, RegistryErrors, Result, TlsProblem,
};
pub use hosts::{HostRule, HostRules};
pub use manifest::{Document, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
pub use progress::{Observer, Silent, TransferEvent};
pub use pull::PulledImage;
pub use push::{BlobContent, BlobSource, Pushed};
pub use retry::RetryPolicy;
pub use warning::RegistryWarning;
