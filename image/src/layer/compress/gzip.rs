//! gzip by blocks, on several threads, to bytes that depend on input and level alone.
//!
//! The compressor's output depends on how its input is cut, so the input is cut at fixed places, and each block
//! is compressed by itself in one call: a fresh compressor, a buffer that is large enough, and a flush to a byte
//! border behind it. The blocks make one deflate stream in one gzip member, which every reader understands.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compress, Compression as Level, FlushCompress, Status};

use super::{CompressError, Options};

/// Where the input is cut.
const BLOCK: usize = 1 << 20;
/// Method deflate; no name, no time, no flags; of no system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses what is written to it into one gzip member.
///
/// It holds a few MiB for each thread.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
    options: Options,
    block: Vec<u8>,
    checksum: crc32fast::Hasher,
    length: u32,
    started: bool,
    jobs: Option<Sender<Job>>,
    /// Blocks in work, in order.
    pending: VecDeque<Receiver<io::Result<Block>>>,
    spare: Vec<Block>,
}

#[derive(Debug)]
struct Job {
    block: Block,
    last: bool,
    reply: SyncSender<io::Result<Block>>,
}

#[derive(Debug, Default)]
struct Block {
    input: Vec<u8>,
    output: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl<W: Write> GzipWriter<W> {
    /// Compresses into `out`.
    pub fn new(out: W, options: Options) -> Result<Self, CompressError> {
        if options.level > 9 {
            return Err(CompressError::Level(options.level));
        }
        Ok(Self {
            out,
            options,
            block: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            length: 0,
            started: false,
            jobs: None,
            pending: VecDeque::new(),
            spare: Vec::new(),
        })
    }

    /// Writes what is left, and the end of the member.
    pub fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.pending.is_empty() {
            self.write_next()?;
        }
        self.out
            .write_all(&self.checksum.finalize().to_le_bytes())?;
        self.out.write_all(&self.length.to_le_bytes())?;
        Ok(self.out)
    }

    /// Gives the block to a thread, or compresses it here when there is one thread only.
    fn submit(&mut self, last: bool) -> io::Result<()> {
        let mut block = self.spare.pop().unwrap_or_default();
        mem::swap(&mut block.input, &mut self.block);
        self.block.clear();
        let threads = self.options.threads.get();
        if threads == 1 || (last && self.jobs.is_none()) {
            compress(&mut block, self.options.level, last)?;
            return self.write_block(block);
        }
        if self.pending.len() > threads {
            self.write_next()?;
        }
        let (reply, done) = sync_channel(1);
        let jobs = self
            .jobs
            .get_or_insert_with(|| start(threads, self.options.level));
        let job = Job { block, last, reply };
        if let Err(refused) = jobs.send(job) {
            // No thread could be had.
            let Job { mut block, .. } = refused.0;
            while !self.pending.is_empty() {
                self.write_next()?;
            }
            compress(&mut block, self.options.level, last)?;
            return self.write_block(block);
        }
        self.pending.push_back(done);
        Ok(())
    }

    fn write_next(&mut self) -> io::Result<()> {
        let Some(done) = self.pending.pop_front() else {
            return Ok(());
        };
        let gone = |_| io::Error::other("a compressing thread has died");
        let block = done.recv().map_err(gone)??;
        self.write_block(block)
    }

    fn write_block(&mut self, block: Block) -> io::Result<()> {
        if !self.started {
            self.out.write_all(&HEADER)?;
            self.started = true;
        }
        self.out.write_all(&block.output)?;
        self.checksum.combine(&block.checksum);
        // The format keeps the length modulo 2^32, and a block is far shorter than that.
        let length = u32::try_from(block.input.len()).unwrap_or(0);
        self.length = self.length.wrapping_add(length);
        self.spare.push(block);
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        // A full block waits for a byte behind it: only then it is known not to be the last one.
        if self.block.len() == BLOCK {
            self.submit(false)?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        if self.block.capacity() < BLOCK {
            let want = if self.started || self.block.len() + count > BLOCK / 2 {
                BLOCK
            } else {
                self.block.len() + count
            };
            self.block.reserve_exact(want - self.block.len());
        }
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: where the stream is flushed would change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts threads that work until the sender is gone; fewer than asked for when there are no more to be had.
fn start(threads: usize, level: u32) -> Sender<Job> {
    let (jobs, incoming) = channel::<Job>();
    let incoming = Arc::new(Mutex::new(incoming));
    for _ in 0..threads {
        let incoming = Arc::clone(&incoming);
        let work = move || {
            loop {
                let next = match incoming.lock() {
                    Ok(incoming) => incoming.recv(),
                    Err(_) => return,
                };
                let Ok(Job {
                    mut block,
                    last,
                    reply,
                }) = next
                else {
                    return;
                };
                let result = compress(&mut block, level, last).map(|()| block);
                // The writer may have been dropped.
                let _ = reply.send(result);
            }
        };
        let thread = thread::Builder::new().name("layer-gzip".to_owned());
        if thread.spawn(work).is_err() {
            break;
        }
    }
    jobs
}

fn compress(block: &mut Block, level: u32, last: bool) -> io::Result<()> {
    let Block {
        input,
        output,
        checksum,
    } = block;
    *checksum = crc32fast::Hasher::new();
    checksum.update(input);
    output.clear();
    // More than the worst case: stored blocks add five bytes for each 16 KiB or more.
    let room = input.len() + input.len() / 64 + 1024;
    output.reserve_exact(room);
    // Its buffers carry nothing over from block to block when each has its own.
    let mut state = Compress::new(Level::new(level), false);
    let (flush, want) = if last {
        (FlushCompress::Finish, Status::StreamEnd)
    } else {
        (FlushCompress::Sync, Status::Ok)
    };
    let status = state.compress_vec(input, output, flush)?;
    let whole = state.total_in() == input.len() as u64 && output.len() < output.capacity();
    if status == want && whole {
        Ok(())
    } else {
        Err(io::Error::other("the compressor left a block unfinished"))
    }
}
