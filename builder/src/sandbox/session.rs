//! The caller's side: starts a helper process and talks to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as ChildStdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;

use super::cancel::CancelToken;
use super::error::SandboxError;
use super::identity::Identity;
use super::spec::{Report, Request, Stdio};
use super::sys;
use super::wire::{self, Answer, Decoder, Order};

/// First argument of a helper process; the program must call
/// [`helper_main`](super::helper_main) when it sees it, before it starts any thread.
pub const HELPER_VERB: &str = "__sandbox";

/// How helper processes are started.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The program that calls [`helper_main`](super::helper_main); normally `/proc/self/exe`.
    pub helper: PathBuf,
    /// The ids of the steps, from [`detect`](super::detect).
    pub identity: Identity,
}

/// Runs requests, each in a process of its own. Can be shared by threads.
#[derive(Debug)]
pub struct Sandbox {
    config: SandboxConfig,
}

/// The two output streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives what a step says while it runs.
pub trait StepIo {
    /// A piece of output, as it was read; it may end inside a line or a character.
    fn on_output(&mut self, stream: Stream, bytes: &[u8]);

    /// An event that the handler emitted.
    fn on_event(&mut self, event: Value) {
        drop(event);
    }
}

impl Sandbox {
    /// A sandbox; starts nothing yet.
    pub fn new(config: SandboxConfig) -> Self {
        Self { config }
    }

    /// The identity of all steps.
    pub fn identity(&self) -> &Identity {
        &self.config.identity
    }

    /// Runs a request to its end: on return no process of it is left, whatever happened.
    ///
    /// Blocks the calling thread, which must live until then: the helper dies with it.
    pub fn run(
        &self,
        request: &Request,
        io: &mut dyn StepIo,
        cancel: &CancelToken,
    ) -> Result<Report, SandboxError> {
        if cancel.is_cancelled() {
            return Err(SandboxError::Cancelled);
        }
        let mut helper = Helper::start(&self.config.helper)?;
        let streams = Streams::new(request).map_err(|error| helper.lost(&error))?;
        let foreground = request.stdio == Stdio::Inherited && request.step.is_some();
        helper.order(&self.config.identity, request, &streams)?;
        let Streams { read, write, .. } = streams;
        drop(write);
        let result = Conversation {
            helper: &mut helper,
            streams: read,
            io,
            cancel,
        }
        .hold();
        drop(helper);
        if foreground {
            take_terminal_back();
        }
        result
    }
}

/// The ends of the command's streams.
#[derive(Default)]
struct Streams {
    /// What we read: standard output and standard error.
    read: [Option<OwnedFd>; 2],
    /// What the command writes to, if it is a pipe.
    write: Option<[OwnedFd; 2]>,
    inherited: bool,
}

impl Streams {
    fn new(request: &Request) -> io::Result<Self> {
        let mut streams = Self::default();
        if request.step.is_none() {
            return Ok(streams);
        }
        streams.inherited = request.stdio == Stdio::Inherited;
        if !streams.inherited {
            let (read_output, write_output) = pipe_with(PipeFlags::CLOEXEC)?;
            let (read_error, write_error) = pipe_with(PipeFlags::CLOEXEC)?;
            streams.read = [Some(read_output), Some(read_error)];
            streams.write = Some([write_output, write_error]);
        }
        Ok(streams)
    }
}

/// A helper process. Ended and waited for when dropped.
pub(super) struct Helper {
    child: Child,
    pub(super) control: UnixStream,
    ended: bool,
}

impl Helper {
    /// Starts one; it waits for its order.
    pub(super) fn start(program: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Spawn {
            helper: program.to_owned(),
            source,
        };
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        // The caller's environment may hold secrets, and process 1 of the step is a copy of the helper.
        let child = Command::new(program)
            .arg(HELPER_VERB)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(ChildStdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            child,
            control,
            ended: false,
        })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn order(
        &mut self,
        identity: &Identity,
        request: &Request,
        streams: &Streams,
    ) -> Result<(), SandboxError> {
        let namespace = match identity {
            Identity::UserNamespace(namespace) => Some(namespace.namespace.as_fd()),
            Identity::Root | Identity::ContainedRoot => None,
        };
        let order = Order::Work {
            parent: own_id(),
            kind: identity.kind(),
            overlay: identity.overlay_mode(),
            namespace: namespace.is_some(),
            input: streams.inherited,
            output: streams.inherited || streams.write.is_some(),
            request: Box::new(request.clone()),
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = namespace.into_iter().collect();
        if streams.inherited {
            descriptors.push(rustix::stdio::stdin());
        }
        match &streams.write {
            Some(pipes) => descriptors.extend(pipes.iter().map(AsFd::as_fd)),
            None if streams.inherited => {
                descriptors.extend([rustix::stdio::stdout(), rustix::stdio::stderr()]);
            }
            None => {}
        }
        wire::send_with(self.control.as_fd(), &order, &descriptors)
            .map_err(|error| self.lost(&error))
    }

    /// What to say when it does not answer: how it ended tells more than the socket's error.
    pub(super) fn lost(&mut self, error: &dyn std::fmt::Display) -> SandboxError {
        let _ = self.child.kill();
        self.ended = true;
        let reason = match self.child.wait() {
            Ok(status) => format!("{error}; it ended with {status}"),
            Err(_) => error.to_string(),
        };
        SandboxError::Lost { reason }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// This process, as the helper's `getppid` sees it.
pub(super) fn own_id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// What the helper is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handler is at work: the process can be killed.
    Handler,
    /// The command runs: the helper ends it when we hang up, and waits until everything is gone.
    Command,
}

/// Listens to a helper until it is done.
struct Conversation<'a> {
    helper: &'a mut Helper,
    streams: [Option<OwnedFd>; 2],
    io: &'a mut dyn StepIo,
    cancel: &'a CancelToken,
}

impl Conversation<'_> {
    fn hold(&mut self) -> Result<Report, SandboxError> {
        let mut phase = Phase::Handler;
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 << 10];
        let mut last: Option<Result<Report, SandboxError>> = None;
        let mut hung_up = false;
        let mut cancelled = false;
        loop {
            if hung_up && self.streams.iter().all(Option::is_none) {
                break;
            }
            let [control, cancel, output, error] = self.wait(hung_up, cancelled)?;
            // Output first: what the command said comes before what became of it.
            for (index, ready) in [output, error].into_iter().enumerate() {
                if ready {
                    self.read_stream(index, &mut buffer)?;
                }
            }
            if cancel {
                cancelled = true;
                match phase {
                    Phase::Handler => drop(self.helper.child.kill()),
                    Phase::Command => drop(self.helper.control.shutdown(std::net::Shutdown::Write)),
                }
            }
            if control {
                match rustix::io::read(&self.helper.control, &mut buffer[..]) {
                    Err(Errno::INTR) => {}
                    Ok(0) | Err(_) => hung_up = true,
                    Ok(count) => decoder.push(&buffer[..count]),
                }
                while let Some(answer) = decoder.next().map_err(|error| self.helper.lost(&error))? {
                    match answer {
                        Answer::Event(event) => self.io.on_event(event),
                        Answer::Running => phase = Phase::Command,
                        Answer::Ended => phase = Phase::Handler,
                        Answer::Ready => {}
                        Answer::Done { outcome, value } => {
                            last = Some(Ok(Report { outcome, value }));
                        }
                        Answer::Failed(failure) => last = Some(Err(failure.into())),
                    }
                }
            }
        }
        let status = self.helper.child.wait();
        self.helper.ended = true;
        match last {
            _ if cancelled => Err(SandboxError::Cancelled),
            Some(result) => result,
            None => Err(SandboxError::Lost {
                reason: match status {
                    Ok(status) => format!("it ended with {status}"),
                    Err(error) => error.to_string(),
                },
            }),
        }
    }

    /// Waits until there is something to do: the helper, the cancellation, output, error output.
    fn wait(&mut self, hung_up: bool, cancelled: bool) -> Result<[bool; 4], SandboxError> {
        let watched = [
            (!hung_up).then(|| self.helper.control.as_fd()),
            (!cancelled).then(|| self.cancel.as_fd()),
            self.streams[0].as_ref().map(AsFd::as_fd),
            self.streams[1].as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let polled = loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
        let ready = watched.map(|fd| fd.is_some() && events.next().unwrap_or(false));
        match polled {
            Ok(_) => Ok(ready),
            Err(error) => Err(self.helper.lost(&error)),
        }
    }

    /// Reads one piece of output.
    fn read_stream(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), SandboxError> {
        let Some(stream) = &self.streams[index] else {
            return Ok(());
        };
        match rustix::io::read(stream, &mut *buffer) {
            Err(Errno::INTR) => {}
            Ok(0) => self.streams[index] = None,
            Ok(count) => {
                let name = if index == 0 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                };
                self.io.on_output(name, &buffer[..count]);
            }
            Err(error) => return Err(self.helper.lost(&error)),
        }
        Ok(())
    }
}

/// The command was the foreground job of the terminal, and now we are again.
fn take_terminal_back() {
    if rustix::termios::isatty(rustix::stdio::stdin()) {
        // From the background this would stop us.
        let mask = sys::block_signals();
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp());
        mask.restore();
    }
}
