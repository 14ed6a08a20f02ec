//! The blobs of layers: digest and size of the blob, diff id of the tar inside it, in one pass.

use std::io::{self, Read};

use super::{Check, Problem, Role};
use crate::layer::{compress, scan};
use crate::{Descriptor, Digest, Hasher};

impl Check<'_> {
    /// Checks a layer; `want` is its diff id in the config.
    pub(super) fn layer(
        &mut self,
        descriptor: &Descriptor,
        number: usize,
        want: Option<Digest>,
    ) -> io::Result<()> {
        let role = Role::Layer(number);
        let Some(compression) = descriptor.media_type.layer_compression() else {
            self.problems.push(Problem::MediaType {
                role,
                digest: descriptor.digest,
                want: "the media types of layers",
                got: descriptor.media_type.clone(),
            });
            return self.opaque(descriptor, role);
        };
        let Some(blob) = self.open(descriptor, role)? else {
            return Ok(());
        };
        let mut blob = Measured::new(blob, descriptor);
        let read = scan(compress::decompress(&mut blob, compression));
        let (got, size) = blob.finish()?;
        self.check_blob(descriptor, role, got, size);
        match read {
            Err(error) => {
                let reason = match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                self.problems.push(Problem::Layer {
                    layer: number,
                    digest: descriptor.digest,
                    reason,
                });
            }
            Ok(summary) => {
                let got = summary.diff_id.0;
                if let Some(want) = want.filter(|want| *want != got) {
                    self.problems.push(Problem::DiffId {
                        layer: number,
                        want,
                        got,
                    });
                }
            }
        }
        Ok(())
    }

    /// Checks digest and size alone.
    pub(super) fn opaque(&mut self, descriptor: &Descriptor, role: Role) -> io::Result<()> {
        if let Some(blob) = self.open(descriptor, role)? {
            let (got, size) = Measured::new(blob, descriptor).finish()?;
            self.check_blob(descriptor, role, got, size);
        }
        Ok(())
    }
}

/// Counts and hashes what is read.
struct Measured<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Measured<R> {
    fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self {
            inner,
            hasher: descriptor.digest.algorithm().hasher(),
            size: 0,
        }
    }

    /// Reads what is left; digest and size of all.
    fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.hasher.finish(), self.size))
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}
