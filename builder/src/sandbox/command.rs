//! The command's own process: from a copy of the init process to the program that was asked for.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, Uid, fchown};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, chdir, getpgrp, setpgid, setrlimit, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::identity::IdentityKind;
use super::spec::{ResolvedUser, ResourceLimit, StepSpec};
use super::sys::{self, BpfInstruction};
use super::wire::{During, Failure};

/// The capabilities Docker gives to a container, `00000000a80425fb`.
pub(super) const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Where a command without `PATH` in its environment is looked for; the kernel's and Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The standard streams of the command.
pub(super) struct Streams {
    /// `None`: the step's `/dev/null`.
    pub(super) input: Option<OwnedFd>,
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

/// Everything the command's process needs.
pub(super) struct Launch<'a> {
    pub(super) step: &'a StepSpec,
    pub(super) kind: IdentityKind,
    pub(super) filter: Option<&'a [BpfInstruction]>,
    pub(super) streams: Streams,
    /// The limit of descriptors that the caller has.
    pub(super) descriptors: Rlimit,
    /// Stay in the session of the caller, as the foreground job of its terminal if there is one.
    pub(super) foreground: bool,
}

/// Becomes the command. Returns only what kept it from that; a program that cannot be executed is
/// not such a failure but ends the process with 126 or 127, and a message on standard error.
pub(super) fn launch(launch: &Launch<'_>) -> Failure {
    match prepare(launch) {
        Ok(()) => execute(launch.step),
        Err(failure) => failure,
    }
}

fn prepare(launch: &Launch<'_>) -> Result<(), Failure> {
    let Launch { step, streams, .. } = launch;
    connect(streams).during(|| "connecting the standard streams".into())?;
    session(launch.foreground).during(|| "making a session".into())?;
    sys::close_on_exec_from(3).during(|| "closing descriptors".into())?;
    setrlimit(Resource::Nofile, launch.descriptors)
        .during(|| "restoring the limit of descriptors".into())?;
    for limit in &step.limits {
        set_limit(limit)?;
    }
    chdir(&*step.workdir)
        .during(|| format!("changing to the working directory `{}`", step.workdir))?;
    own_streams(&step.user);
    if let Some(filter) = launch.filter {
        sys::install_filter(filter).during(|| "installing the seccomp filter".into())?;
    }
    if !step.insecure {
        drop_bounding_set().during(|| "dropping capabilities".into())?;
    }
    become_user(&step.user, launch.kind)?;
    restrict_capabilities(step).during(|| "dropping capabilities".into())?;
    umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();
    Ok(())
}

fn connect(streams: &Streams) -> Result<(), Errno> {
    match &streams.input {
        Some(input) => dup2_stdin(input)?,
        None => dup2_stdin(rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDONLY,
            Mode::empty(),
        )?)?,
    }
    dup2_stdout(&streams.output)?;
    dup2_stderr(&streams.error)
}

/// A process group of its own in any case: `kill 0` in a script must not reach our processes.
fn session(foreground: bool) -> Result<(), Errno> {
    if !foreground {
        setsid()?;
        return Ok(());
    }
    setpgid(None, None)?;
    if rustix::termios::isatty(stdin()) {
        // Every signal is still blocked, so this does not stop us although we are in the background.
        match rustix::termios::tcsetpgrp(stdin(), getpgrp()) {
            // A terminal that does not control our session has no foreground group for us.
            Ok(()) | Err(Errno::NOTTY) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets the user of the step open `/dev/stdout` again, which needs permission on the pipe's inode.
/// Terminals and files belong to the caller and stay as they are.
fn own_streams(user: &ResolvedUser) {
    for stream in [stdin(), stdout(), stderr()] {
        let is_pipe = rustix::fs::fstat(stream).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
        });
        if is_pipe && user.uid != 0 {
            // An id that is not mapped is reported by `become_user`.
            let _ = fchown(stream, Some(Uid::from_raw(user.uid)), None::<Gid>);
        }
    }
}

fn drop_bounding_set() -> Result<(), Errno> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if DEFAULT_CAPABILITIES.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Past the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn become_user(user: &ResolvedUser, kind: IdentityKind) -> Result<(), Failure> {
    let groups: Vec<Gid> = user
        .groups
        .iter()
        .map(|group| Gid::from_raw(*group))
        .collect();
    match set_thread_groups(&groups) {
        // With one mapped group the kernel forbids to change them, even to none.
        Err(Errno::PERM)
            if kind == IdentityKind::SingleId
                && user.groups.iter().all(|group| *group == user.gid) => {}
        other => other.during(|| format!("setting the groups {:?}", user.groups))?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).map_err(|error| unmapped("group", user.gid, error))?;
    set_thread_res_uid(uid, uid, uid).map_err(|error| unmapped("user", user.uid, error))
}

fn unmapped(what: &str, id: u32, error: Errno) -> Failure {
    let action = format!("becoming {what} {id}");
    if error == Errno::INVAL {
        return Failure::setup(
            action,
            "this id is not mapped in the user namespace; a larger range in /etc/subuid and /etc/subgid gives it one",
        );
    }
    Failure::setup(action, error)
}

/// `execve` gives root the bounding set and others nothing, so this only matters for what happens
/// before it; but what a process has should never be more than what it is allowed to have.
fn restrict_capabilities(step: &StepSpec) -> Result<(), Errno> {
    if step.insecure || step.user.uid != 0 {
        return Ok(());
    }
    // Inside a container there may be fewer to keep.
    let kept = DEFAULT_CAPABILITIES & capabilities(None)?.permitted;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    clear_ambient_capability_set()
}

fn set_limit(limit: &ResourceLimit) -> Result<(), Failure> {
    let resource = match limit.name.as_str() {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        other => {
            return Err(Failure::Invalid {
                reason: format!("there is no resource limit `{other}`"),
            });
        }
    };
    setrlimit(
        resource,
        Rlimit {
            current: limit.soft,
            maximum: limit.hard,
        },
    )
    .during(|| format!("setting the limit `{}`", limit.name))
}

/// Runs the program, looked up as a shell does it.
fn execute(step: &StepSpec) -> Failure {
    let invalid = |reason: &str| Failure::Invalid {
        reason: reason.to_owned(),
    };
    let Some(name) = step.argv.first() else {
        return invalid("the command is empty");
    };
    let c_strings = |strings: &mut dyn Iterator<Item = String>| {
        strings.map(CString::new).collect::<Result<Vec<_>, _>>()
    };
    let Ok(argv) = c_strings(&mut step.argv.iter().cloned()) else {
        return invalid("an argument of the command holds a zero byte");
    };
    let Ok(env) = c_strings(&mut step.env.iter().map(|(key, value)| format!("{key}={value}")))
    else {
        return invalid("an environment variable holds a zero byte");
    };
    let (message, status) = if name.contains('/') {
        describe(name, &try_program(name, &argv, &env))
    } else {
        search(name, step, &argv, &env)
    };
    let line = format!("{message}\n");
    // If standard error is closed there is nobody to tell.
    let _ = rustix::io::write(stderr(), line.as_bytes());
    sys::exit_now(status)
}

fn search(name: &str, step: &StepSpec, argv: &[CString], env: &[CString]) -> (String, u8) {
    let path = step
        .env
        .iter()
        .rev()
        .find(|(key, _)| key == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value);
    let mut denied = false;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{name}");
        if name.is_empty() {
            break;
        }
        let error = try_program(&candidate, argv, env);
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) if std::fs::symlink_metadata(&candidate).is_err() => {}
            Some(Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP) => {}
            Some(Errno::ACCESS | Errno::ISDIR) => denied = true,
            _ => return describe(&candidate, &error),
        }
    }
    if denied {
        return (format!("exec: \"{name}\": permission denied"), 126);
    }
    (
        format!("exec: \"{name}\": executable file not found in $PATH"),
        127,
    )
}

fn try_program(path: &str, argv: &[CString], env: &[CString]) -> io::Error {
    match CString::new(path) {
        Ok(path) => sys::exec(&path, argv, env),
        Err(error) => error.into(),
    }
}

/// The message and exit status for a program that exists under this path, or should.
fn describe(path: &str, error: &io::Error) -> (String, u8) {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) if std::fs::metadata(path).is_ok() => (
            format!(
                "exec {path}: no such file or directory: its interpreter or loader is missing in the image"
            ),
            127,
        ),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP) => (
            format!("exec: \"{path}\": stat {path}: no such file or directory"),
            127,
        ),
        Some(Errno::ACCESS) if std::fs::metadata(path).is_ok_and(|found| found.is_dir()) => {
            (format!("exec: \"{path}\": is a directory"), 126)
        }
        Some(Errno::ACCESS) => (format!("exec: \"{path}\": permission denied"), 126),
        Some(Errno::NOEXEC) => (
            format!(
                "exec {path}: exec format error: a program of another architecture, or a script without `#!`"
            ),
            126,
        ),
        _ => (format!("exec {path}: {error}"), 126),
    }
}
