//! The system calls that have no safe wrapper.
//!
//! The only `unsafe` of the sandbox. Nothing here knows what a step is.

#![expect(
    unsafe_code,
    reason = "fork, exec, signals and seccomp have no safe interface"
)]

use std::ffi::{CStr, CString, c_int, c_long, c_ulong};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// The two sides of [`fork`].
pub(super) enum Fork {
    Parent(Pid),
    Child,
}

/// Forks this process, which must have no other thread.
pub(super) fn fork() -> io::Result<Fork> {
    // SAFETY: helper processes are single-threaded when they fork (the contract of `Handler`), so
    // no lock can be held by a thread that does not exist in the child.
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Leaves the process at once: no destructors, no buffers flushed.
pub(super) fn exit_now(status: u8) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(c_int::from(status)) }
}

/// Moves this process, or its future children, to new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `FILES` is never asked for, so no other thread can see descriptors change their meaning.
    unsafe { rustix::thread::unshare_unsafe(flags - UnshareFlags::FILES) }.map_err(io::Error::from)
}

/// Replaces the program. Returns only if that failed.
pub(super) fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on as to be closed by `exec`.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: setting close-on-exec changes nothing for this program.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Closes every descriptor but the standard streams and `keep`.
///
/// Only for a process that goes on to leave with [`exit_now`] and uses nothing but `keep`: the
/// owners of the other descriptors still exist and must never be dropped.
pub(super) fn close_all_but<const N: usize>(keep: [BorrowedFd<'_>; N]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd().unsigned_abs());
    keep.sort_unstable();
    let mut first = 3;
    for last in keep
        .into_iter()
        .map(|fd| fd.wrapping_sub(1))
        .chain([u32::MAX])
    {
        if first <= last && last != u32::MAX - 1 {
            // SAFETY: see above; the caller never touches the other descriptors again.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = last.saturating_add(2);
    }
}

/// Changes attributes of a mount, or of a whole tree of mounts.
pub(super) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: MountAttrFlags,
) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attr = MountAttr {
        set: u64::from(set.bits()),
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` has the layout of `struct mount_attr` (version 0) and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
}

/// One instruction of a BPF program; the layout of `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BpfInstruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) operand: u32,
}

/// Puts this process under a seccomp filter. Needs `CAP_SYS_ADMIN`: privileges may still be gained
/// by running set-user-id programs.
pub(super) fn install_filter(program: &[BpfInstruction]) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const BpfInstruction,
    }
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program {
        length,
        filter: program.as_ptr(),
    };
    // SAFETY: `Program` has the layout of `struct sock_fprog`; the kernel copies the instructions
    // before the call returns.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0 as c_ulong,
            &raw const program,
        )
    })
}

/// Blocks every signal for this thread; returns the mask as it was.
pub(super) fn block_signals() -> SignalMask {
    let mut all = SignalMask::empty();
    let mut before = SignalMask::empty();
    // SAFETY: both sets are initialized and outlive the calls, which cannot fail with them.
    unsafe {
        libc::sigfillset(&raw mut all.0);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all.0, &raw mut before.0);
    }
    before
}

/// A set of signals.
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    fn empty() -> Self {
        // SAFETY: all zeroes is a valid `sigset_t`, the empty one.
        Self(unsafe { mem::zeroed() })
    }

    /// Makes this the mask of the thread.
    pub(super) fn restore(&self) {
        // SAFETY: the set is initialized and outlives the call, which cannot fail with it.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Waits for one of the blocked signals and takes it.
pub(super) fn wait_for_signal() -> i32 {
    let mut all = SignalMask::empty();
    loop {
        // SAFETY: the set is initialized and outlives both calls; no details of the signal are asked for.
        let signal = unsafe {
            libc::sigfillset(&raw mut all.0);
            libc::sigwaitinfo(&raw const all.0, ptr::null_mut())
        };
        if signal > 0 {
            return signal;
        }
    }
}

/// Gives every signal its default meaning and unblocks all of them, as a new program expects it.
pub(super) fn reset_signals() {
    // Not `libc::signal`, which refuses the two signals that the C library keeps for itself: the
    // caller's caller may have had them ignored, and that is inherited.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: zeroes are `SIG_DFL` without flags in the kernel's `struct sigaction`, which has
        // at most 32 bytes, 8 of them the mask. SIGKILL and SIGSTOP fail harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                ptr::null::<u8>(),
                8,
            )
        };
    }
    SignalMask::empty().restore();
}

/// Ignores a signal.
pub(super) fn ignore_signal(signal: c_int) {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends a signal by number.
pub(super) fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: `kill` has no preconditions.
    check(c_long::from(unsafe {
        libc::kill(pid.as_raw_nonzero().get(), signal)
    }))
}

/// Sends `SIGKILL` to every process of this pid namespace but its init, which must be the caller.
pub(super) fn kill_all_others() {
    if rustix::process::getpid().as_raw_nonzero().get() == 1 {
        // SAFETY: `kill` has no preconditions. As pid 1 of its namespace the caller cannot reach
        // processes outside of it.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = 0x41; // IFF_UP | IFF_RUNNING
    // SAFETY: `SIOCSIFFLAGS` reads an `ifreq`, which outlives the call.
    check(c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
