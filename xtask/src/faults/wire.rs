//! A client that sends exactly what a case says, one request for each connection.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::content::digest;

/// A server that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_mins(1);

/// An answer of the registry.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body, as long as its headers say.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The answer, if it has this status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            let text = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
            bail!("status {} instead of {status}: {text}", self.status);
        }
        Ok(self)
    }

    /// The answer, if it is an error of this status with a sentence in it.
    pub(crate) fn expect_error(self, status: u16) -> Result<Self> {
        let answer = self.expect(status)?;
        let body: serde_json::Value =
            serde_json::from_slice(&answer.body).context("an error that is no JSON")?;
        let message = body["errors"][0]["message"].as_str().unwrap_or_default();
        if message.split(' ').count() < 4 {
            bail!("status {status} without a sentence: {body}");
        }
        Ok(answer)
    }

    /// Where an upload goes on.
    pub(crate) fn location(&self) -> Result<String> {
        let location = self.header("location").context("no `Location`")?;
        Ok(location.to_owned())
    }

    /// Bytes of an upload that are here, by its state (`Range: 0-LAST`).
    ///
    /// One byte and none look alike; no case sends a single one.
    pub(crate) fn received(&self) -> Result<usize> {
        let range = self.header("range").context("no `Range`")?;
        let last: usize = range
            .strip_prefix("0-")
            .and_then(|last| last.parse().ok())
            .with_context(|| format!("`Range: {range}`"))?;
        Ok(if last == 0 { 0 } else { last + 1 })
    }
}

/// Sends a request and reads its answer. An error means that no answer is known.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let mut text = head(method, path, headers);
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        // Writing to a String cannot fail.
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    let sent = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.write_all(body));
    // Whoever refuses a body may answer before it has read all of it.
    read_answer(&mut BufReader::new(stream), method == "HEAD").map_err(|error| match sent {
        Err(earlier) => earlier,
        Ok(()) => error,
    })
}

/// Sends the head and a part of a body that should be longer, and hangs up.
pub(crate) fn tear(
    address: &str,
    method: &str,
    path: &str,
    promised: usize,
    part: &[u8],
) -> io::Result<()> {
    hold(address, method, path, promised, part).map(drop)
}

/// The same, without hanging up.
pub(crate) fn hold(
    address: &str,
    method: &str,
    path: &str,
    promised: usize,
    part: &[u8],
) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    let text = head(method, path, &[]);
    stream.write_all(format!("{text}Content-Length: {promised}\r\n\r\n").as_bytes())?;
    stream.write_all(part)?;
    Ok(stream)
}

/// A whole request for this path.
pub(crate) fn get(path: &str) -> String {
    head("GET", path, &[]) + "\r\n"
}

/// Sends these bytes, reads some of the answer, and hangs up.
pub(crate) fn vanish(address: &str, sent: &[u8], wanted: usize) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(sent)?;
    stream.read_exact(&mut vec![0; wanted])
}

/// Everything that comes for a request of this path; `between` happens behind the first bytes.
pub(crate) fn interrupted(
    address: &str,
    path: &str,
    between: impl FnOnce() -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(get(path).as_bytes())?;
    let mut all = vec![0; 50_000];
    stream.read_exact(&mut all)?;
    between()?;
    // A connection that breaks has nothing more to give.
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    all.drain(..end.map_or(0, |end| end + 4));
    Ok(all)
}

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

fn read_answer(reader: &mut impl BufRead, head: bool) -> io::Result<Answer> {
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let status = lines
        .first()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(broken)?;
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    if head || status == 204 {
        return Ok(answer);
    }
    match answer.header("content-length").map(str::to_owned) {
        Some(length) => {
            let length: u64 = length.parse().map_err(|_| broken())?;
            reader.take(length).read_to_end(&mut answer.body)?;
            if answer.body.len() as u64 != length {
                return Err(broken());
            }
        }
        None => drop(reader.read_to_end(&mut answer.body)?),
    }
    Ok(answer)
}

/// The address of a blob.
pub(crate) fn blob_path(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// Pushes a blob in one request.
pub(crate) fn push_blob(address: &str, repository: &str, content: &[u8]) -> io::Result<Answer> {
    let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(content));
    send(address, "POST", &path, &[], content)
}

/// Starts an upload, and tells where it goes on.
pub(crate) fn start_upload(address: &str, repository: &str) -> Result<String> {
    let path = format!("/v2/{repository}/blobs/uploads/");
    send(address, "POST", &path, &[], b"")?
        .expect(202)?
        .location()
}

/// Sends bytes `at..` of an upload as a chunk.
pub(crate) fn patch(address: &str, location: &str, at: usize, chunk: &[u8]) -> io::Result<Answer> {
    let range = format!("{at}-{}", (at + chunk.len()).saturating_sub(1));
    send(
        address,
        "PATCH",
        location,
        &[("Content-Range", &range)],
        chunk,
    )
}

/// Ends an upload.
pub(crate) fn finish(address: &str, location: &str, digest: &str) -> io::Result<Answer> {
    let path = format!("{location}?digest={digest}");
    send(address, "PUT", &path, &[], b"")
}

/// Pushes a blob in chunks of at most `size` bytes, and returns the last answer.
pub(crate) fn push_chunked(
    address: &str,
    repository: &str,
    content: &[u8],
    size: usize,
) -> Result<Answer> {
    let location = start_upload(address, repository)?;
    let mut at = 0;
    for chunk in content.chunks(size.max(1)) {
        patch(address, &location, at, chunk)?.expect(202)?;
        at += chunk.len();
    }
    Ok(finish(address, &location, &digest(content))?)
}

/// Reads a blob and compares it with what was pushed, by bytes and by what the headers say.
pub(crate) fn check_blob(address: &str, repository: &str, content: &[u8]) -> Result<()> {
    let name = digest(content);
    let answer = send(address, "GET", &blob_path(repository, &name), &[], b"")
        .with_context(|| format!("GET {name}"))?
        .expect(200)
        .with_context(|| format!("GET {name} of {} bytes", content.len()))?;
    same(&answer, &name, content)
}

/// Whether an answer carries these bytes under this digest.
pub(crate) fn same(answer: &Answer, name: &str, content: &[u8]) -> Result<()> {
    if answer.body != content {
        bail!(
            "{name}: {} wrong bytes were served instead of {}",
            answer.body.len(),
            content.len()
        );
    }
    if answer.header("docker-content-digest") != Some(name) {
        bail!("{name} is served as {answer:?}");
    }
    Ok(())
}
