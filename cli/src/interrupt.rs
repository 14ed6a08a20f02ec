//! Ctrl-C: the first one asks the work to end, the second one ends the process.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_builder::sandbox::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

use crate::exit::{Exit, Failure};

/// Tells when the user wants the command to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    token: CancelToken,
    /// A signal came. The token alone does not tell: a build cancels it too, when a step fails.
    set: AtomicBool,
    notify: Notify,
    /// A command has the terminal: it gets Ctrl-C itself, and decides.
    command_has_terminal: AtomicBool,
    /// Somebody listens and will end by itself.
    watched: AtomicBool,
    /// What the terminal was like before its echo was switched off.
    terminal: Mutex<Option<Termios>>,
}

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn listen() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            token: CancelToken::new()?,
            set: AtomicBool::new(false),
            notify: Notify::new(),
            command_has_terminal: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            terminal: Mutex::new(None),
        });
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let listener = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    listener.signalled(signal);
                }
            })?;
        Ok(Self { shared })
    }

    /// From now on the first signal only sets the token; the caller watches it and ends in good order.
    pub(crate) fn watch(&self) -> &CancelToken {
        self.shared.watched.store(true, Ordering::Release);
        &self.shared.token
    }

    /// From now on Ctrl-C is the business of the command in the foreground.
    pub(crate) fn leave_terminal_to_command(&self) {
        self.shared
            .command_has_terminal
            .store(true, Ordering::Release);
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::Acquire)
    }

    /// Ends when a signal comes.
    pub(crate) async fn wait(&self) {
        self.shared.watched.store(true, Ordering::Release);
        let mut notified = std::pin::pin!(self.shared.notify.notified());
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }

    /// Switches the terminal's echo off until the guard is dropped, or a signal ends the process.
    pub(crate) fn without_echo(&self) -> io::Result<EchoGuard<'_>> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        *self.lock() = Some(before);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(EchoGuard { interrupt: self })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Termios>> {
        self.shared
            .terminal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, pipe or writer that fails once a signal has come, so that what uses it ends in good order.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    interrupt: Interrupt,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, interrupt: &Interrupt) -> Self {
        let _ = interrupt.watch();
        Self {
            inner,
            interrupt: interrupt.clone(),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.interrupt.is_set() {
            // Not `ErrorKind::Interrupted`: that one means "try again".
            return Err(io::Error::other("interrupted"));
        }
        Ok(())
    }
}

impl<T: Read + AsFd> Read for Watched<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        loop {
            self.check()?;
            // A pipe may stay silent for long; a file is always ready.
            let mut waiting = [PollFd::new(&self.inner, PollFlags::IN)];
            match poll(&mut waiting, Some(&moment)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.inner.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<T: Write> Write for Watched<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Shared {
    fn signalled(&self, signal: i32) {
        if signal == SIGINT && self.command_has_terminal.load(Ordering::Acquire) {
            return;
        }
        let again = self.set.swap(true, Ordering::AcqRel);
        self.token.cancel();
        self.notify.notify_waiters();
        if again || !self.watched.load(Ordering::Acquire) {
            self.restore_terminal();
            leave();
        }
    }

    fn restore_terminal(&self) {
        let mut terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = terminal.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the main thread may hang in a system call: this is how a process ends on a signal"
)]
fn leave() -> ! {
    std::process::exit(130)
}

/// Switches the echo on again when dropped.
#[derive(Debug)]
pub(crate) struct EchoGuard<'a> {
    interrupt: &'a Interrupt,
}

impl Drop for EchoGuard<'_> {
    fn drop(&mut self) {
        self.interrupt.shared.restore_terminal();
    }
}

/// How a command ends that was interrupted.
pub(crate) fn interrupted() -> Failure {
    Failure {
        message: "interrupted".to_owned(),
        ..Failure::silent(Exit::Interrupted)
    }
}
