//! Files that a step adds: which they are, where they go, and the layer that holds them.
//!
//! `COPY`, `ADD` and `WORKDIR` first make the list of entries that their layer will have ([`Placement`]);
//! the list is the key of the step, and on a miss it is streamed into a layer. No directory is made.

mod archive;
mod mode;
mod owner;
mod path;
mod place;
mod select;
mod source;
mod write;

pub(crate) use archive::Archive;
pub(crate) use mode::ModeChange;
pub(crate) use owner::{OwnerError, Owners, identity};
pub(crate) use path::clean_path;
pub(crate) use place::{CREATED_TIME, Meta, PlaceError, Placed, Placement, digest_of};
pub(crate) use select::{is_pattern, select};
pub(crate) use source::{Bytes, Content, Node, NodeKind, RootTree, Stamp, Tree};
pub(crate) use write::{store_layer, write_layer};
