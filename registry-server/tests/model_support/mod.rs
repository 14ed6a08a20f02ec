//! The parts of the model-based tests.

pub(crate) mod life;
pub(crate) mod random;
pub(crate) mod state;
pub(crate) mod world;
