//! The helper process: takes one order, carries it out, and ends.

use std::any::Any;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, setsid, umask, waitpid,
};
use rustix::thread::{
    Gid, LinkNameSpaceType, Uid, UnshareFlags, move_into_link_name_space, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use serde_json::Value;

use super::command::Streams;
use super::handler::{Context, Handler, HandlerError};
use super::identity::IdentityKind;
use super::init::{self, Birth, Note};
use super::root::Plan;
use super::seccomp;
use super::spec::{Outcome, OverlayMode, Request, Stdio, StepSpec};
use super::sys::{self, Fork};
use super::target::{self, Stub};
use super::wire::{self, Answer, Command, During, Failure, Order};

/// The whole life of a helper process. The program calls this, before it starts any thread, when
/// its first argument is [`HELPER_VERB`](super::HELPER_VERB).
///
/// The process takes its order from the socket that is its standard input. The exit status says
/// whether it could report; what it reports is in the messages.
pub fn helper_main(handler: &dyn Handler) -> ExitCode {
    sys::reset_signals();
    sys::ignore_signal(libc::SIGPIPE);
    // What a handler makes must not depend on the caller's shell.
    umask(Mode::from_raw_mode(0o022));
    match take_order() {
        Ok((control, order, descriptors)) => match obey(&control, order, descriptors, handler) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let sent = wire::send(&control, &Answer::Failed(failure));
                if sent.is_ok() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
        },
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes the socket away from standard input, where the command's would be.
fn take_order() -> std::io::Result<(File, Order, Vec<OwnedFd>)> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    let received = wire::receive_with(control.as_fd())?;
    let (order, descriptors) = received.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((File::from(control), order, descriptors))
}

fn obey(
    control: &File,
    order: Order,
    descriptors: Vec<OwnedFd>,
    handler: &dyn Handler,
) -> Result<(), Failure> {
    match order {
        Order::Hold { parent } => {
            die_with(parent)?;
            hold(control)
        }
        Order::Work {
            parent,
            kind,
            overlay,
            namespace,
            input,
            output,
            request,
        } => {
            die_with(parent)?;
            let mut descriptors = descriptors.into_iter();
            let mut next = |wanted: bool| if wanted { descriptors.next() } else { None };
            let (namespace, input, out, err) =
                (next(namespace), next(input), next(output), next(output));
            if request.stdio == Stdio::Inherited {
                // They are meant for the command. When the caller dies we do so at once.
                for signal in [
                    libc::SIGINT,
                    libc::SIGQUIT,
                    libc::SIGTERM,
                    libc::SIGHUP,
                    libc::SIGTSTP,
                    libc::SIGTTOU,
                ] {
                    sys::ignore_signal(signal);
                }
            } else {
                // Control-C in the caller's terminal is the caller's; it cancels.
                setsid().during(|| "leaving the terminal".into())?;
            }
            if let Some(namespace) = namespace {
                join(namespace.as_fd(), kind, parent)?;
            }
            let streams = match (out, err) {
                (Some(output), Some(error)) => Some(Streams {
                    input,
                    output,
                    error,
                }),
                _ => None,
            };
            let worker = Worker {
                control,
                kind,
                overlay,
                handler,
            };
            worker.work(*request, streams)
        }
    }
}

/// Asks the kernel to end this process with its parent.
fn die_with(parent: i32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "tying the sandbox process to its parent".into())?;
    if getppid().map_or(0, |pid| pid.as_raw_nonzero().get()) == parent {
        Ok(())
    } else {
        Err(Failure::setup(
            "tying the sandbox process to its parent",
            "the parent is gone",
        ))
    }
}

/// Makes a user namespace and keeps it until the caller has taken hold of it.
fn hold(control: &File) -> Result<(), Failure> {
    sys::unshare(UnshareFlags::NEWUSER).during(|| "making a user namespace".into())?;
    wire::send(control, &Answer::Ready).during(|| "answering".into())?;
    if !matches!(wire::receive(control), Ok(Some(Command::Mapped))) {
        return Ok(());
    }
    // Some systems give a user namespace but no powers in it: find out now, not at the first step.
    sys::unshare(UnshareFlags::NEWNS)
        .during(|| "making a mount namespace in the user namespace".into())?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .during(|| "changing mounts in the user namespace".into())?;
    wire::send(control, &Answer::Ready).during(|| "answering".into())?;
    let _ = wire::receive::<Command>(control);
    Ok(())
}

/// Becomes root of the build's user namespace.
fn join(namespace: BorrowedFd<'_>, kind: IdentityKind, parent: i32) -> Result<(), Failure> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::User))
        .during(|| "joining the user namespace".into())?;
    match set_thread_groups(&[]) {
        Err(Errno::PERM) if kind == IdentityKind::SingleId => {}
        other => other.during(|| "leaving the caller's groups".into())?,
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .during(|| "becoming root of the user namespace".into())?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .during(|| "becoming root of the user namespace".into())?;
    // The kernel forgets it when ids change.
    die_with(parent)
}

/// One request.
struct Worker<'a> {
    control: &'a File,
    kind: IdentityKind,
    overlay: OverlayMode,
    handler: &'a dyn Handler,
}

impl Worker<'_> {
    fn work(&self, mut request: Request, streams: Option<Streams>) -> Result<(), Failure> {
        // Once the caller is gone there is nobody to tell, and the kernel ends this process.
        let emit = |event: &Value| drop(wire::send(self.control, &Answer::Event(event.clone())));
        let ctx = Context {
            overlay: self.overlay,
            emit: &emit,
        };
        guarded(|| self.handler.prepare(&mut request, &ctx))?;
        let outcome = match (&request.step, streams) {
            (Some(step), Some(streams)) => {
                Some(self.run(step, streams, request.stdio == Stdio::Inherited)?)
            }
            (Some(_), None) => {
                return Err(Failure::Invalid {
                    reason: "a step without streams".into(),
                });
            }
            (None, _) => None,
        };
        let (outcome, init) = match outcome {
            Some((outcome, init)) => (Some(outcome), Some(init)),
            None => (None, None),
        };
        let value = guarded(|| self.handler.finish(&request, outcome, &ctx));
        if let Some(init) = init {
            // It has nothing left to do, but it still holds the mounts.
            let _ = waitpid(Some(init), WaitOptions::empty());
        }
        wire::send(
            self.control,
            &Answer::Done {
                outcome,
                value: value?,
            },
        )
        .during(|| "answering".into())
    }

    /// Runs the command; on return every process of the step has ended but the init process, which
    /// is ending.
    fn run(
        &self,
        step: &StepSpec,
        streams: Streams,
        foreground: bool,
    ) -> Result<(Outcome, Pid), Failure> {
        check(step)?;
        let filter = if step.insecure {
            None
        } else {
            Some(seccomp::default_filter())
        };
        let hosts = hosts(step);
        let resolv_conf = match std::fs::read("/etc/resolv.conf") {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.during(|| "reading `/etc/resolv.conf`".into())?,
        };
        let pipe = || {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .during(|| "making a pipe".into())
        };
        let (gate, open_gate) = pipe()?;
        let (notes, write_notes) = pipe()?;
        sys::unshare(UnshareFlags::NEWPID).during(|| "making a pid namespace".into())?;
        let init = match sys::fork().during(|| "starting init".into())? {
            Fork::Child => {
                // Or our own end would keep the gate from closing when the parent dies.
                drop(open_gate);
                drop(notes);
                let plan = Plan {
                    step,
                    overlay: self.overlay,
                    hosts: &hosts,
                    resolv_conf: &resolv_conf,
                };
                init::live(Birth {
                    plan,
                    kind: self.kind,
                    filter: filter.as_deref(),
                    streams,
                    foreground,
                    gate,
                    notes: write_notes,
                })
            }
            Fork::Parent(init) => init,
        };
        drop((gate, write_notes, streams));
        wire::send(self.control, &Answer::Running).during(|| "answering".into())?;
        rustix::io::write(&open_gate, &[1]).during(|| "starting init".into())?;
        let mut stubs = Vec::new();
        let ended = self.follow(init, notes, &mut stubs);
        if ended.is_err() {
            let _ = sys::kill(init, libc::SIGKILL);
            let _ = waitpid(Some(init), WaitOptions::empty());
        }
        wire::send(self.control, &Answer::Ended).during(|| "answering".into())?;
        target::remove_stubs(&step.upper, &stubs, !step.lower.is_empty())?;
        Ok((ended?, init))
    }

    /// Listens to the init process and to the caller.
    fn follow(&self, init: Pid, notes: OwnedFd, stubs: &mut Vec<Stub>) -> Result<Outcome, Failure> {
        let notes = File::from(notes);
        loop {
            let mut fds = [
                PollFd::new(&notes, PollFlags::IN),
                PollFd::new(self.control, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                other => other.during(|| "waiting for the command".into())?,
            };
            let [from_init, from_caller] = fds.map(|fd| !fd.revents().is_empty());
            if from_init {
                match wire::receive(&notes).during(|| "listening to init".into())? {
                    Some(Note::Stubs(made)) => stubs.extend(made),
                    Some(Note::Ended { outcome, alone }) => {
                        if !alone {
                            let _ = waitpid(Some(init), WaitOptions::empty());
                        }
                        return Ok(outcome);
                    }
                    Some(Note::Failed(failure)) => return Err(failure),
                    None => {
                        return Err(Failure::setup(
                            "waiting for the command",
                            "its init process was killed",
                        ));
                    }
                }
            } else if from_caller {
                // Nothing is said while a command runs: the caller hung up.
                return Err(Failure::setup("waiting for the command", "cancelled"));
            }
        }
    }
}

/// Runs a part of the handler; a panic in it becomes its error.
fn guarded<T>(call: impl FnOnce() -> Result<T, HandlerError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| Failure::Handler {
            message: chain(&*error),
        }),
        Err(panic) => Err(Failure::Handler {
            message: format!("internal error: {}", panic_text(&*panic)),
        }),
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// What cannot be meant.
fn check(step: &StepSpec) -> Result<(), Failure> {
    let invalid = |reason: String| Err(Failure::Invalid { reason });
    if !step.workdir.starts_with('/') {
        return invalid(format!(
            "the working directory `{}` is not absolute",
            step.workdir
        ));
    }
    if step.hostname.len() > 64 {
        return invalid(format!(
            "the host name `{}` has more than 64 bytes",
            step.hostname
        ));
    }
    if let Some((name, _)) = step
        .env
        .iter()
        .find(|(name, _)| name.is_empty() || name.contains('='))
    {
        return invalid(format!("`{name}` is no name for an environment variable"));
    }
    Ok(())
}

/// The step's `/etc/hosts`, as `BuildKit` writes it.
fn hosts(step: &StepSpec) -> Vec<u8> {
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        step.hostname
    );
    for (name, address) in &step.extra_hosts {
        for part in [address, "\t", name, "\n"] {
            text.push_str(part);
        }
    }
    text.into_bytes()
}
