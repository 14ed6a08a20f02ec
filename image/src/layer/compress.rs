//! Compressing layers, always to the same bytes, and decompressing anybody's.

mod gzip;
mod zstd;

use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroUsize;

use crate::Compression;

pub use gzip::GzipWriter;

/// The level that layers are compressed with unless somebody asks for another.
pub const DEFAULT_LEVEL: u32 = 6;

/// Says how bytes come out of [`GzipWriter`]; it moves when equal input gives other bytes than before.
///
/// Who remembers the compressed digest of a layer remembers this with it.
pub const GZIP_FORM: u32 = 1;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// From 0 (stored) to 9 (smallest).
    pub level: u32,
    /// Threads to work on; the bytes do not depend on it.
    pub threads: NonZeroUsize,
}

/// Why something cannot be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// We can read it, but not write it.
    #[error("writing layers with {0:?} compression is not supported (gzip and none are)")]
    Unsupported(Compression),
    /// There is no such level.
    #[error("compression level {0} is not in 0 to 9")]
    Level(u32),
}

impl From<CompressError> for io::Error {
    fn from(error: CompressError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Compresses what is written to it.
#[derive(Debug)]
pub enum Compressor<W: Write> {
    /// Nothing to do.
    None(W),
    /// gzip.
    Gzip(GzipWriter<W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses into `out`. Zstandard is refused.
    pub fn new(out: W, compression: Compression, options: Options) -> Result<Self, CompressError> {
        match compression {
            Compression::None => Ok(Self::None(out)),
            Compression::Gzip => GzipWriter::new(out, options).map(Self::Gzip),
            Compression::Zstd => Err(CompressError::Unsupported(compression)),
        }
    }

    /// Ends the stream.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(writer) => writer.flush(),
        }
    }
}

/// Compresses all of `input` into `out`.
pub fn gzip<W: Write>(mut input: impl Read, out: W, options: Options) -> io::Result<W> {
    let mut writer = GzipWriter::new(out, options)?;
    io::copy(&mut input, &mut writer)?;
    writer.finish()
}

/// Decompresses `input`: any number of gzip members, or of Zstandard frames with windows of 100 MiB at most.
///
/// Malformed input is an error of the reader that is returned; so is an input that ends too early.
pub fn decompress<'a>(
    input: impl Read + Send + 'a,
    compression: Compression,
) -> Box<dyn Read + Send + 'a> {
    let buffered = |input| BufReader::with_capacity(256 << 10, input);
    match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(input))),
        Compression::Zstd => Box::new(zstd::Frames::new(buffered(input))),
    }
}

/// How a stream that begins with these bytes is compressed; plain when no mark is known.
pub fn detect(beginning: &[u8]) -> Compression {
    match beginning {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

#[cfg(test)]
mod tests;
