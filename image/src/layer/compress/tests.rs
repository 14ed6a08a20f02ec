//! Bytes that depend on nothing but the input.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use super::{
    CompressError, Compressor, DEFAULT_LEVEL, GzipWriter, Options, decompress, detect, gzip,
};
use crate::{Compression, Digest};

fn options(level: u32, threads: usize) -> Options {
    Options {
        level,
        threads: NonZeroUsize::new(threads).unwrap(),
    }
}

/// Text-like bytes from a seed: neither constant nor random.
fn sample(length: usize) -> Vec<u8> {
    let words = ["layer", "digest", "whiteout", " ", "\n", "0123", "config "];
    let mut state = 1_u64;
    let mut bytes = Vec::with_capacity(length + 10);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let word = words[usize::try_from(state >> 33).unwrap() % words.len()];
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(&state.to_le_bytes()[5..]);
    }
    bytes.truncate(length);
    bytes
}

fn compress(content: &[u8], level: u32, threads: usize, piece: usize) -> Vec<u8> {
    let mut writer = GzipWriter::new(Vec::new(), options(level, threads)).unwrap();
    for piece in content.chunks(piece) {
        writer.write_all(piece).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(input: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decompress(input, compression).read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn neither_threads_nor_pieces_change_the_bytes() {
    for length in [
        0,
        1,
        (1 << 20) - 1,
        1 << 20,
        (1 << 20) + 1,
        3 << 20,
        3_500_000,
    ] {
        let content = sample(length);
        for level in [1, DEFAULT_LEVEL] {
            let want = gzip(&content[..], Vec::new(), options(level, 1)).unwrap();
            for (threads, piece) in [(1, 777), (2, 65_536), (2, 1 << 20), (3, 99_991)] {
                let got = compress(&content, level, threads, piece);
                assert!(
                    got == want,
                    "{length} bytes, level {level}, {threads} threads, {piece}"
                );
            }
            assert!(read_all(&want, Compression::Gzip).unwrap() == content);
            let mut single = Vec::new();
            flate2::read::GzDecoder::new(&want[..])
                .read_to_end(&mut single)
                .unwrap();
            assert!(single == content, "all is in the first member");
        }
    }
}

/// When this fails because the compressor was changed, [`super::GZIP_FORM`] has to move.
#[test]
fn the_bytes_are_those_of_every_earlier_build() {
    let compressed = compress(&sample(2_500_000), DEFAULT_LEVEL, 2, 4096);
    assert_eq!(
        Digest::sha256(compressed).to_string(),
        "sha256:91fdfe1622821b8ad22935a662bb20c85f180b0664c1860abcd48a8bceb51311"
    );
}

#[test]
fn what_cannot_be_written_is_refused() {
    let zstd = Compressor::new(io::sink(), Compression::Zstd, options(6, 1)).err();
    assert_eq!(zstd, Some(CompressError::Unsupported(Compression::Zstd)));
    let level = GzipWriter::new(io::sink(), options(10, 1)).err();
    assert_eq!(level, Some(CompressError::Level(10)));
}

#[test]
fn a_failing_output_fails_the_writer() {
    #[derive(Debug)]
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for threads in [1, 2] {
        let error = gzip(&sample(4 << 20)[..], Full, options(6, threads)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn members_and_frames_are_read_one_after_the_other() {
    let (a, b) = (sample(300_000), b"second".to_vec());
    let both = [a.clone(), b.clone()].concat();
    let members = [compress(&a, 6, 1, 999), compress(&b, 6, 1, 9)].concat();
    assert_eq!(detect(&members), Compression::Gzip);
    assert!(read_all(&members, Compression::Gzip).unwrap() == both);

    let frame = |content: &[u8]| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(content, level)
    };
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"12345"].concat();
    let frames = [skipped.clone(), frame(&a), skipped, frame(&b)].concat();
    assert_eq!(detect(&frames), Compression::Zstd);
    assert!(read_all(&frames, Compression::Zstd).unwrap() == both);
    assert_eq!(read_all(&both, Compression::None).unwrap(), both);
    assert_eq!(detect(&both), Compression::None);
}

#[test]
fn broken_streams_are_errors() {
    let content = sample(200_000);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(&content[..], level);
    for (stream, compression) in [
        (compress(&content, 6, 1, 999), Compression::Gzip),
        (zstd, Compression::Zstd),
    ] {
        for end in [0, 3, 9, stream.len() / 2, stream.len() - 1] {
            let cut = read_all(&stream[..end], compression);
            assert!(cut.is_err(), "{compression:?} {end} of {}", stream.len());
        }
        let mut changed = stream.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 0x55;
        let differs = read_all(&changed, compression).map_or(true, |read| read != content);
        assert!(differs);
        assert!(read_all(b"rubbish, and more of it", compression).is_err());
    }
}

#[test]
fn the_gzip_program_reads_our_bytes() {
    let content = sample(2 << 20);
    let started = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "gzip"));
        eprintln!("this test needs the program `gzip`");
        return;
    };
    let mut input = child.stdin.take().unwrap();
    let compressed = compress(&content, 6, 2, 4096);
    let feeder = std::thread::spawn(move || input.write_all(&compressed));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == content);
}
