//! Parts of the sandbox tests.

pub(crate) mod cases;
pub(crate) mod handler;
pub(crate) mod harness;
pub(crate) mod parent;
pub(crate) mod probe;
pub(crate) mod world;
