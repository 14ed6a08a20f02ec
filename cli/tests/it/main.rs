//! The real program, run as users run it: exit status, standard output, standard error.
//!
//! What differs from run to run (directories, digests, times, sizes, ports) is replaced; see [`normal`].
//! Equal digests have equal labels, so a snapshot shows which are the same.

mod build;
mod check;
mod errors;
mod images;
mod interrupt;
mod normal;
mod registry;
mod run;
mod terminal;
mod usage;
mod world;
