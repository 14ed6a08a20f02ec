//! Writer, reader, table and tree against each other and against a naive model.

mod dialects;
mod hostile;
mod merged;
mod model;
mod round_trip;
