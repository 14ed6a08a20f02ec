//! Process 1 of a step: makes its root, starts the command, reaps, and ends everything with it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, umask, wait,
};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, capabilities, set_capabilities};
use serde::{Deserialize, Serialize};

use super::command::{self, Launch, Streams};
use super::identity::IdentityKind;
use super::root::{self, Plan};
use super::spec::{Network, Outcome};
use super::sys::{self, BpfInstruction, Fork};
use super::target::Stub;
use super::wire::{self, During, Failure};

/// What the init process tells the helper process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// Mount points that were made.
    Stubs(Vec<Stub>),
    /// The command has ended; `alone`: so have all other processes but the init process.
    Ended { outcome: Outcome, alone: bool },
    /// The command could not be started.
    Failed(Failure),
}

/// Everything the init process needs.
pub(super) struct Birth<'a> {
    pub(super) plan: Plan<'a>,
    pub(super) kind: IdentityKind,
    pub(super) filter: Option<&'a [BpfInstruction]>,
    pub(super) streams: Streams,
    pub(super) foreground: bool,
    /// A byte arrives here when the parent is known to be alive.
    pub(super) gate: OwnedFd,
    pub(super) notes: OwnedFd,
}

/// The whole life of the init process.
pub(super) fn live(birth: Birth<'_>) -> ! {
    sys::block_signals();
    let notes = File::from(match birth.notes.try_clone() {
        Ok(notes) => notes,
        Err(_) => sys::exit_now(1),
    });
    match start(birth) {
        Ok((command, outcome)) => reap(command, outcome, &notes),
        Err(failure) => {
            let _ = wire::send(&notes, &Note::Failed(failure));
        }
    }
    sys::exit_now(0)
}

/// Makes the root and starts the command.
fn start(birth: Birth<'_>) -> Result<(Pid, OwnedFd), Failure> {
    // The kernel forgets this at `setns` and `setuid`, which are all behind us.
    set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "tying init to its parent".into())?;
    let mut byte = [0];
    if !matches!(rustix::io::read(&birth.gate, &mut byte), Ok(1)) {
        sys::exit_now(1); // The parent was gone before we were tied to it.
    }
    drop(birth.gate);
    // What is made for the step has the modes it is given; the caller's mask must not show.
    umask(Mode::empty());
    let limit = getrlimit(Resource::Nofile);
    // Every layer of an overlay is an open directory.
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).during(|| "raising the limit of descriptors".into())?;
    let step = birth.plan.step;
    let mut namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if step.network == Network::None {
        namespaces |= UnshareFlags::NEWNET;
    }
    sys::unshare(namespaces).during(|| "making namespaces".into())?;
    match rustix::system::sethostname(step.hostname.as_bytes()) {
        // Podman's filter allows new namespaces but no new name: the container's name stays.
        Err(Errno::PERM) => {}
        other => other.during(|| format!("setting the host name `{}`", step.hostname))?,
    }
    if step.network == Network::None {
        sys::raise_loopback().during(|| "bringing up the loopback interface".into())?;
    }
    let mut stubs = Vec::new();
    let entered = root::enter(&birth.plan, &mut stubs);
    if !stubs.is_empty() {
        let notes = birth
            .notes
            .try_clone()
            .during(|| "duplicating a descriptor".into())?;
        wire::send(File::from(notes), &Note::Stubs(stubs))
            .during(|| "reporting mount points".into())?;
    }
    entered?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .during(|| "making a pipe".into())?;
    match sys::fork().during(|| "starting the command's process".into())? {
        Fork::Child => {
            drop(read);
            let failure = command::launch(&Launch {
                step,
                kind: birth.kind,
                filter: birth.filter,
                streams: birth.streams,
                descriptors: limit,
                foreground: birth.foreground,
            });
            let _ = wire::send(File::from(write), &failure);
            sys::exit_now(1)
        }
        Fork::Parent(command) => Ok((command, read)),
    }
}

/// Waits for the command and passes signals on; orphans are reaped as they come.
fn reap(command: Pid, failure: OwnedFd, notes: &File) {
    let powerful = settle(&failure, notes);
    let mut outcome = None;
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == command {
                outcome = Some(match status.terminating_signal() {
                    Some(signal) => Outcome::Signaled(signal),
                    // The kernel keeps eight bits.
                    None => Outcome::Exited(
                        u8::try_from(status.exit_status().unwrap_or(0) & 0xFF).unwrap_or(u8::MAX),
                    ),
                });
            }
        }
        if let Some(outcome) = outcome {
            sys::kill_all_others();
            // In a container without `CAP_KILL` our own end is what ends them.
            while powerful && wait(WaitOptions::empty()).is_ok() {}
            let note = match wire::receive(File::from(failure)) {
                Ok(Some(failure)) => Note::Failed(failure),
                _ => Note::Ended {
                    outcome,
                    alone: powerful,
                },
            };
            let _ = wire::send(notes, &note);
            return;
        }
        match sys::wait_for_signal() {
            libc::SIGCHLD => {}
            signal => {
                let _ = sys::kill(command, signal);
            }
        }
    }
}

/// Gives away what waiting does not need, so that nothing of the helper process can be reached
/// through process 1 of the step. Whether it can still end processes of other users.
fn settle(failure: &OwnedFd, notes: &File) -> bool {
    sys::close_all_but([failure.as_fd(), notes.as_fd()]);
    // Only weakens a defence if it fails: the step lacks the capability to look into us as well.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Ok(current) = capabilities(None) else {
        return false;
    };
    let kept = CapabilitySet::KILL & current.permitted;
    let kill = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    let _ = set_capabilities(None, kill);
    !kept.is_empty()
}
