//! A registry in this process, and a small client that sends exactly what a test says.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rbuild_image::Digest;
use rbuild_registry_server::config::Config;
use rbuild_registry_server::serve::{self, Running};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod program;

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry with a directory of its own.
pub(crate) struct Fixture {
    pub(crate) running: Option<Running>,
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut config = Config::new(directory.path());
        config.listen.set_port(0);
        config.limits.reserve_bytes = 0;
        change(&mut config);
        let running = serve::start(&config).expect("registry starts");
        Self {
            address: running.address(),
            running: Some(running),
            config,
            directory,
        }
    }

    pub(crate) fn restart(&mut self) {
        drop(self.running.take());
        let running = serve::start(&self.config).expect("registry starts again");
        self.address = running.address();
        self.running = Some(running);
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let framed = headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if !framed && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes, method == "HEAD").expect("an answer")
    }

    /// Sends these bytes and reads one answer; `None` if the server closes without one.
    pub(crate) fn raw(&self, bytes: &[u8], head: bool) -> Option<Answer> {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        read_answer(&mut BufReader::new(stream), head)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("timeout");
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], b"")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    /// Pushes a blob in one request.
    pub(crate) fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, &[], content).expect_status(201);
        digest
    }

    /// Starts an upload and returns where it is.
    pub(crate) fn start(&self, repository: &str) -> String {
        let answer = self.send(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            &[],
            b"",
        );
        answer.expect_status(202);
        answer.header("location").expect("a location").to_owned()
    }

    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        content: &Value,
    ) -> Answer {
        let media_type = content["mediaType"].as_str().unwrap_or(IMAGE).to_owned();
        let body = content.to_string();
        self.send(
            "PUT",
            &format!("/v2/{repository}/manifests/{reference}"),
            &[("Content-Type", &media_type)],
            body.as_bytes(),
        )
    }

    /// Pushes a small image with this layer, and returns the manifest's digest.
    pub(crate) fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(repository, b"{}");
        self.push_blob(repository, layer);
        let manifest = image(layer);
        self.put_manifest(repository, tag, &manifest)
            .expect_status(201);
        Digest::sha256(manifest.to_string())
    }
}

/// A manifest of an image with one layer and the config `{}`.
pub(crate) fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::sha256(content).to_string(),
        "size": content.len(),
    })
}

/// An answer of the registry.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> &Self {
        self.expect_status(status);
        let entry = &self.json()["errors"][0];
        assert_eq!(entry["code"], code, "{}", self.text());
        let message = entry["message"].as_str().expect("a message");
        assert!(message.split(' ').count() > 3, "no sentence: {message}");
        self
    }
}

pub(crate) fn read_answer(reader: &mut BufReader<TcpStream>, head: bool) -> Option<Answer> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    if (100..200).contains(&status) {
        return read_answer(reader, head);
    }
    if head || status == 204 || status == 304 {
        return Some(answer);
    }
    match answer.header("content-length").map(str::to_owned) {
        Some(length) => {
            answer.body = vec![0; length.parse().ok()?];
            reader.read_exact(&mut answer.body).ok()?;
        }
        None => {
            reader.read_to_end(&mut answer.body).ok()?;
        }
    }
    Some(answer)
}

pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ length as u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}
