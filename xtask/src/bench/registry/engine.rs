//! Many connections that read, driven by one thread, so that the client leaves the machine to the server.
//!
//! Bodies are thrown away inside the kernel (`MSG_TRUNC`): the client does not pay for copying what it would not look at.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::epoll;
use rustix::net::RecvFlags;

use super::wire::{head_end, header, status};

/// Most bytes that one call throws away.
const GULP: usize = 4 << 20;

/// How long the connections work.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// For this long; what is under way at the end does not count.
    Time(Duration),
    /// Until each has been through its list once.
    Once,
}

/// What the clients got.
pub(super) struct Got {
    pub(super) requests: u64,
    /// Of bodies.
    pub(super) bytes: u64,
    pub(super) wall: Duration,
    /// Of each request, in order of length.
    pub(super) latencies: Vec<Duration>,
}

impl Got {
    /// The time that 99 of 100 requests did not need.
    pub(super) fn p99(&self) -> Duration {
        let at = self.latencies.len() * 99 / 100;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

struct Connection {
    stream: TcpStream,
    /// The next request.
    next: usize,
    requests_done: usize,
    began: Instant,
    state: State,
}

enum State {
    Head(Vec<u8>),
    Body(u64),
    Ended,
}

/// Lets `connections` connections go through `requests`, each from another place in the list.
pub(super) fn read(
    address: &str,
    connections: usize,
    requests: &[Vec<u8>],
    until: Until,
) -> Result<Got> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
        all.push(Connection {
            stream,
            next: match until {
                Until::Time(_) => number * 7 % requests.len(),
                Until::Once => 0,
            },
            requests_done: 0,
            began: Instant::now(),
            state: State::Ended,
        });
    }
    let start = Instant::now();
    let mut got = Got {
        requests: 0,
        bytes: 0,
        wall: Duration::ZERO,
        latencies: Vec::new(),
    };
    for connection in &mut all {
        connection.ask(requests)?;
    }
    let mut open = all.len();
    let mut buffer = vec![0; GULP];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    let wait = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    while open > 0 {
        events.clear();
        epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&wait),
        )?;
        if events.is_empty() {
            bail!("nothing came for {} s", wait.tv_sec);
        }
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            let connection = all.get_mut(number).context("no such connection")?;
            if !connection.take(&mut buffer, &mut got)? {
                continue;
            }
            let over = match until {
                Until::Time(time) => start.elapsed() >= time,
                Until::Once => connection.requests_done >= requests.len(),
            };
            if over {
                open -= 1;
            } else {
                connection.ask(requests)?;
            }
        }
        if matches!(until, Until::Time(time) if start.elapsed() >= time) {
            break;
        }
    }
    got.wall = start.elapsed();
    got.latencies.sort_unstable();
    Ok(got)
}

impl Connection {
    fn ask(&mut self, requests: &[Vec<u8>]) -> Result<()> {
        let request = requests.get(self.next).context("nothing to ask for")?;
        self.next = (self.next + 1) % requests.len();
        self.began = Instant::now();
        // A request is far shorter than what a socket holds.
        self.stream.write_all(request)?;
        self.state = State::Head(Vec::new());
        Ok(())
    }

    /// Takes what has come; `true` when that was the end of an answer.
    fn take(&mut self, buffer: &mut [u8], got: &mut Got) -> Result<bool> {
        loop {
            match &mut self.state {
                State::Ended => bail!("the server sent what nobody asked for"),
                State::Head(head) => {
                    let room = buffer.len().min(8 << 10);
                    let count = match self.stream.read(&mut buffer[..room]) {
                        Ok(0) => bail!("the server closed the connection"),
                        Ok(count) => count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                        Err(error) => return Err(error.into()),
                    };
                    head.extend_from_slice(&buffer[..count]);
                    let Some(end) = head_end(head) else {
                        continue;
                    };
                    let length = checked_length(&head[..end])?;
                    got.bytes += length;
                    let here = (head.len() - end) as u64;
                    self.state = State::Body(length.checked_sub(here).context("too many bytes")?);
                }
                State::Body(0) => {
                    self.state = State::Ended;
                    self.requests_done += 1;
                    got.requests += 1;
                    got.latencies.push(self.began.elapsed());
                    return Ok(true);
                }
                State::Body(left) => {
                    let room = usize::try_from(*left).unwrap_or(GULP).min(buffer.len());
                    match rustix::net::recv(&self.stream, &mut buffer[..room], RecvFlags::TRUNC) {
                        Ok((_, 0)) => bail!("the server closed the connection in a body"),
                        Ok((_, count)) => *left -= count as u64,
                        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
}

fn checked_length(head: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(head)?;
    if !matches!(status(text), Some(200 | 206)) {
        bail!("an answer that was not asked for: {text}");
    }
    let length = header(text, "content-length").context("an answer without a length")?;
    Ok(length.parse()?)
}
