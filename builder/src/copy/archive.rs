//! Archives that `ADD` unpacks: recognised by content, never by name (rule 34).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rbuild_image::Digest;
use rbuild_image::layer::{self, Rootfs, Toc};
use rbuild_store::local::{Area, LocalStore};

use super::source::{Bytes, RootTree};
use crate::replace::replace;

/// An archive and what is in it.
#[derive(Debug)]
pub(crate) struct Archive {
    view: Rootfs,
    spool: Arc<Spool>,
}

/// The archive as an uncompressed tar, made when the first file of it is read.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    format: Format,
    directory: PathBuf,
    plain: OnceLock<Arc<File>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Archive {
    /// Opens the file at `path`, whose content has digest `digest`; none when it is no archive.
    ///
    /// The table of contents is kept by the digest, so that an unchanged archive is not read again.
    pub(crate) fn open(
        path: &Path,
        digest: &Digest,
        store: &LocalStore,
    ) -> io::Result<Option<Self>> {
        let Some(format) = detect(path)? else {
            return Ok(None);
        };
        let spool = Arc::new(Spool {
            path: path.to_owned(),
            format,
            directory: store.dir(Area::Tmp),
            plain: OnceLock::new(),
        });
        let directory = store.dir(Area::Cache).join("archives");
        let table = directory.join(format!("{}.toc", digest.hex()));
        let known = std::fs::read(&table)
            .ok()
            .and_then(|bytes| Toc::from_bytes(bytes).ok());
        let toc = if let Some(toc) = known {
            toc
        } else {
            let file = spool.file()?;
            let mut reader = &*file;
            reader.seek(SeekFrom::Start(0))?;
            let summary = layer::scan(io::BufReader::with_capacity(1 << 18, reader))
                .map_err(io::Error::other)?;
            std::fs::create_dir_all(&directory)?;
            replace(&table, &summary.toc.to_bytes())?;
            summary.toc
        };
        Ok(Some(Self {
            view: Rootfs::new(vec![Arc::new(toc)]),
            spool,
        }))
    }

    /// Its files.
    pub(crate) fn tree(&self) -> RootTree<'_> {
        RootTree {
            view: &self.view,
            bytes: Bytes::Spool(Arc::clone(&self.spool)),
        }
    }
}

impl Spool {
    /// The uncompressed tar, in a file that has no name.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = self.plain.get() {
            return Ok(Arc::clone(file));
        }
        let source = File::open(&self.path)?;
        let file = if self.format == Format::Plain {
            source
        } else {
            let mut file = unnamed(&self.directory)?;
            unpack(self.format, source, &mut file)?;
            file
        };
        Ok(Arc::clone(self.plain.get_or_init(|| Arc::new(file))))
    }
}

fn unnamed(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn unpack(format: Format, source: File, out: &mut File) -> io::Result<()> {
    let mut source = io::BufReader::with_capacity(1 << 18, source);
    match format {
        Format::Plain => io::copy(&mut source, out).map(drop),
        Format::Gzip => io::copy(&mut flate2::bufread::MultiGzDecoder::new(source), out).map(drop),
        Format::Bzip2 => io::copy(&mut bzip2::bufread::MultiBzDecoder::new(source), out).map(drop),
        Format::Xz => lzma_rs::xz_decompress(&mut source, out).map_err(io::Error::other),
        Format::Zstd => {
            let mut decoder =
                ruzstd::decoding::StreamingDecoder::new(source).map_err(io::Error::other)?;
            io::copy(&mut decoder, out).map(drop)
        }
    }
}

/// The format of an archive: a compressed stream must begin with a tar header too.
fn detect(path: &Path) -> io::Result<Option<Format>> {
    let mut head = Vec::new();
    let mut file = File::open(path)?;
    Read::by_ref(&mut file).take(512).read_to_end(&mut head)?;
    let format = match &head[..] {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [b'B', b'Z', b'h', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        _ => return Ok(is_tar_header(&head).then_some(Format::Plain)),
    };
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    let source = io::BufReader::new(file);
    // What cannot be unpacked is no archive; it is copied as it is.
    let read = match format {
        Format::Plain => Ok(0),
        Format::Gzip => flate2::bufread::MultiGzDecoder::new(source)
            .take(512)
            .read_to_end(&mut first),
        Format::Bzip2 => bzip2::bufread::MultiBzDecoder::new(source)
            .take(512)
            .read_to_end(&mut first),
        Format::Zstd => match ruzstd::decoding::StreamingDecoder::new(source) {
            Ok(decoder) => decoder.take(512).read_to_end(&mut first),
            Err(_) => return Ok(None),
        },
        Format::Xz => {
            let mut limited = FirstBlock(Vec::new());
            let mut source = source;
            // The writer refuses what comes after the first block, which ends the unpacking early.
            let _ = lzma_rs::xz_decompress(&mut source, &mut limited);
            first = limited.0;
            Ok(first.len())
        }
    };
    Ok((read.is_ok() && is_tar_header(&first)).then_some(format))
}

/// Takes 512 bytes and then refuses.
struct FirstBlock(Vec<u8>);

impl io::Write for FirstBlock {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = 512 - self.0.len();
        if room == 0 {
            return Err(io::Error::other("enough"));
        }
        let count = room.min(bytes.len());
        self.0.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a block is a tar header: its checksum holds (POSIX pax, ustar header block).
fn is_tar_header(block: &[u8]) -> bool {
    if block.len() < 512 || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let field = String::from_utf8_lossy(&block[148..156]);
    let Ok(stated) = u32::from_str_radix(field.trim_matches(['\0', ' ']), 8) else {
        return false;
    };
    let sum: u32 = block
        .iter()
        .take(512)
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    sum == stated
}
