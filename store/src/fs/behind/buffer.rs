//! Memory for large writes.

use std::io;

use memmap2::{Advice, MmapMut};

use super::pool::Pool;

/// Bytes of a buffer. One that is full begins and ends at a multiple of this in its file.
///
/// It is a huge page of the usual processors: the kernel looks up each page of what it writes directly.
pub(super) const SIZE: usize = 2 << 20;

/// Memory that begins at a multiple of a page.
#[derive(Debug)]
pub(super) struct Memory(MmapMut);

impl Memory {
    /// New memory is cleared by the kernel, which costs as much as filling it.
    pub(super) fn new() -> io::Result<Self> {
        let map = MmapMut::map_anon(SIZE)?;
        // Pages of the usual size do as well.
        let _ = map.advise(Advice::HugePage);
        Ok(Self(map))
    }
}

/// Memory of a pool, which gets it back when this is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    /// `None` only while it is dropped.
    memory: Option<Memory>,
    pool: Pool,
}

impl Buffer {
    pub(super) const fn new(memory: Memory, pool: Pool) -> Self {
        Self {
            memory: Some(memory),
            pool,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory.0)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.give_back(memory);
        }
    }
}

/// A buffer that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    buffer: Buffer,
    length: usize,
    /// Place of its first byte in the file.
    start: u64,
}

impl Filling {
    /// For what belongs at `start`.
    pub(super) const fn new(buffer: Buffer, start: u64) -> Self {
        Self {
            buffer,
            length: 0,
            start,
        }
    }

    /// Adds bytes as far as there is room, and tells how many.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let free = &mut self.buffer.bytes_mut()[self.length..];
        free[..count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count
    }

    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.length]
    }

    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// Bytes that it still takes, so that it ends at a multiple of its size.
    pub(super) fn room(&self) -> usize {
        let past = usize::try_from(self.start % SIZE as u64).unwrap_or(0);
        SIZE - past - self.length
    }

    /// The memory, whatever it holds.
    pub(super) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}
