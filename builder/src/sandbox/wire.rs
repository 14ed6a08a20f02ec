//! Messages between the caller and a helper process: JSON with a length before it, over a stream
//! socket; descriptors travel with the first message.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::SandboxError;
use super::identity::IdentityKind;
use super::spec::{Outcome, OverlayMode, Request};

/// The first message to a helper process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Make a user namespace and hold it until the socket closes.
    Hold { parent: i32 },
    /// Work on a request. Descriptors: the user namespace if there is one, then standard input if
    /// `input`, then standard output and standard error if `output`.
    Work {
        parent: i32,
        kind: IdentityKind,
        overlay: OverlayMode,
        namespace: bool,
        input: bool,
        output: bool,
        request: Box<Request>,
    },
}

/// What the caller says afterwards.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// The id maps of the held namespace are written.
    Mapped,
}

/// What a helper process says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The user namespace exists, or works.
    Ready,
    /// The command is about to start: from here on the helper obeys the socket.
    Running,
    /// Every process of the step has ended.
    Ended,
    /// From the handler.
    Event(Value),
    /// The last message of a request.
    Done {
        outcome: Option<Outcome>,
        value: Value,
    },
    /// The last message of a request that could not be fulfilled.
    Failed(Failure),
}

/// A [`SandboxError`] that can travel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Setup { action: String, reason: String },
    Invalid { reason: String },
    Handler { message: String },
}

impl Failure {
    /// Something the kernel refused.
    pub(super) fn setup(action: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Setup {
            action: action.into(),
            reason: cause.to_string(),
        }
    }
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Setup { action, reason } => Self::Setup { action, reason },
            Failure::Invalid { reason } => Self::Invalid { reason },
            Failure::Handler { message } => Self::Handler { message },
        }
    }
}

/// Says what was being done when the kernel refused.
pub(super) trait During<T> {
    /// `action` is a participle: "mounting `/proc`".
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> During<T> for Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|cause| Failure::setup(action(), cause))
    }
}

/// No message is larger; protects against a length that is not one.
const LIMIT: usize = 1 << 30;

/// At most this many descriptors travel with a message.
const MAX_DESCRIPTORS: usize = 4;

/// A message as it travels.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length =
        u32::try_from(frame.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Sends a message.
pub(super) fn send(mut socket: impl Write, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&encode(message)?)
}

/// Receives a message; `None` at the end of the stream.
pub(super) fn receive<T: DeserializeOwned>(mut socket: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; checked_length(length)?];
    socket.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Sends a message together with descriptors.
pub(super) fn send_with(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let frame = encode(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = loop {
        match sendmsg(
            socket,
            &[IoSlice::new(&frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut rest = &frame[sent..];
    while !rest.is_empty() {
        match rustix::net::send(socket, rest, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => rest = &rest[other?..],
        }
    }
    Ok(())
}

/// Receives a message with the descriptors that came with it; `None` at the end of the stream.
pub(super) fn receive_with<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut descriptors = Vec::new();
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut length[filled..])];
        let received = match recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?.bytes,
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        if received == 0 {
            return Ok(None);
        }
        filled += received;
    }
    let mut body = vec![0; checked_length(length)?];
    let mut at = 0;
    while at < body.len() {
        match rustix::io::read(socket.as_fd(), &mut body[at..]) {
            Ok(0) => return Ok(None),
            Ok(count) => at += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

/// Cuts a byte stream that arrives in pieces into messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is complete.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((length, body)) = self.bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = checked_length(*length)?;
        let Some(body) = body.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

fn checked_length(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > LIMIT {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        Ok(length)
    }
}
