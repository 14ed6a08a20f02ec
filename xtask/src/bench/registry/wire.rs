//! One connection that is kept, and as much HTTP as a push needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A connection to a server.
pub(super) struct Link {
    address: String,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with its whole body.
pub(super) struct Answer {
    status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The answer, if it has this status.
    pub(super) fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            let body = String::from_utf8_lossy(&self.body);
            bail!("{} instead of {status}: {body}", self.status);
        }
        Ok(self)
    }

    /// The status.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// `Location`, without scheme and host.
    pub(super) fn location(&self) -> Result<String> {
        let location = header(&self.head, "location").context("an answer without `Location`")?;
        let path = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => location,
        };
        Ok(path.to_owned())
    }
}

impl Link {
    /// Connects.
    pub(super) fn new(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("no way to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            address: address.to_owned(),
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a request whose body is `parts`, `length` bytes in all.
    pub(super) fn send<'a>(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        length: u64,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Answer> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {length}\r\n\r\n",
            self.address
        )
        .into_bytes();
        for part in parts {
            if head.is_empty() {
                self.stream.write_all(part)?;
            } else {
                // With the body's beginning, so that a small request is one packet.
                head.extend_from_slice(part);
                self.stream.write_all(&head)?;
                head.clear();
            }
        }
        self.stream.write_all(&head)?;
        self.answer(method == "HEAD")
            .with_context(|| format!("{method} {path}"))
    }

    /// Sends a request with a body in memory.
    pub(super) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Answer> {
        self.send(
            method,
            path,
            headers,
            body.len() as u64,
            [body].into_iter().filter(|body| !body.is_empty()),
        )
    }

    fn answer(&mut self, headless: bool) -> Result<Answer> {
        self.buffer.clear();
        let head = loop {
            if let Some(end) = head_end(&self.buffer) {
                break end;
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let status = status(&text).context("not an answer")?;
        let length = match header(&text, "content-length") {
            Some(length) if !headless => length.trim().parse()?,
            _ => 0,
        };
        while self.buffer.len() < head + length {
            self.more()?;
        }
        Ok(Answer {
            status,
            head: text,
            body: self.buffer[head..head + length].to_vec(),
        })
    }

    fn more(&mut self) -> Result<()> {
        let mut part = [0; 16 << 10];
        match self.stream.read(&mut part)? {
            0 => bail!("the connection ended"),
            count => self.buffer.extend_from_slice(&part[..count]),
        }
        Ok(())
    }
}

/// Where the body begins, if the whole head is here.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The status of a head.
pub(super) fn status(head: &str) -> Option<u16> {
    head.get(9..12)?.parse().ok()
}

/// The value of a header of a head.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::{head_end, header, status};

    #[test]
    fn a_head_is_taken_apart() {
        let head =
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 12\r\nlocation:/v2/\r\n\r\nbody";
        assert_eq!(head_end(head.as_bytes()), Some(head.len() - 4));
        assert_eq!(head_end(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(status(head), Some(206));
        assert_eq!(header(head, "content-length"), Some("12"));
        assert_eq!(header(head, "Location"), Some("/v2/"));
        assert_eq!(header(head, "range"), None);
    }
}
