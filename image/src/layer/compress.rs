//! Compressing layers, always to the same bytes, and decompressing anybody's.
