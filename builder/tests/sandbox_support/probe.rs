//! System calls to try under the seccomp filter.

use std::ffi::c_long;
use std::process::ExitCode;
use std::ptr::null;

use rbuild_builder::sandbox::detect;

/// First argument of this program when it is to make system calls.
pub(crate) const VERB: &str = "__probe";

/// Instead of a call: looks for an identity.
pub(crate) const DETECT: &str = "detect";

/// Makes the calls that the arguments name and prints what came of them.
#[expect(clippy::print_stdout, reason = "the test reads it")]
pub(crate) fn main(calls: impl Iterator<Item = String>) -> ExitCode {
    for name in calls {
        if name == DETECT {
            match detect("/proc/self/exe".as_ref()) {
                Ok(identity) => println!("{:?}", identity.kind()),
                Err(error) => println!("{error}; hint: {}", error.hint().unwrap_or_default()),
            }
            continue;
        }
        let result = match call(&name) {
            -1 => std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(0)
                .to_string(),
            _ => "ok".to_owned(),
        };
        println!("{name} {result}");
    }
    ExitCode::SUCCESS
}

#[expect(unsafe_code, reason = "the point is to make the calls directly")]
fn call(name: &str) -> c_long {
    let invalid = null::<u8>();
    // SAFETY: every call is refused, or fails for its invalid arguments, or only reads, or changes
    // this process in a way that it does not notice before it ends.
    unsafe {
        match name {
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS),
            "unshare_user" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "setns" => libc::syscall(libc::SYS_setns, -1, 0),
            "mount" => libc::syscall(libc::SYS_mount, invalid, invalid, invalid, 0, invalid),
            "umount2" => libc::syscall(libc::SYS_umount2, invalid, 0),
            "pivot_root" => libc::syscall(libc::SYS_pivot_root, invalid, invalid),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0),
            "add_key" => libc::syscall(libc::SYS_add_key, invalid, invalid, invalid, 0, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, -1, invalid, 0),
            "perf_event_open" => libc::syscall(libc::SYS_perf_event_open, invalid, 0, -1, -1, 0),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, -1),
            "io_uring_setup" => libc::syscall(libc::SYS_io_uring_setup, 0, invalid),
            "init_module" => libc::syscall(libc::SYS_init_module, invalid, 0, invalid),
            "kexec_load" => libc::syscall(libc::SYS_kexec_load, 0, 0, invalid, -1),
            "open_by_handle_at" => libc::syscall(libc::SYS_open_by_handle_at, -1, invalid, 0),
            "settimeofday" => libc::syscall(libc::SYS_settimeofday, invalid, invalid),
            "fsopen" => libc::syscall(libc::SYS_fsopen, invalid, 0),
            "clone_newuser" => libc::syscall(
                libc::SYS_clone,
                libc::CLONE_NEWUSER | libc::SIGCHLD,
                0,
                0,
                0,
                0,
            ),
            "clone3" => libc::syscall(libc::SYS_clone3, invalid, 0),
            "unknown" => libc::syscall(900),
            "ptrace_attach" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1 << 20, 0, 0),
            "personality_query" => libc::syscall(libc::SYS_personality, 0xFFFF_FFFF_u32),
            "personality_no_randomize" => {
                libc::syscall(libc::SYS_personality, libc::ADDR_NO_RANDOMIZE)
            }
            "socket_inet" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "socket_netlink" => {
                libc::syscall(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0)
            }
            "socket_alg" => libc::syscall(libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
            "socket_vsock" => libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0),
            "chroot" => libc::syscall(libc::SYS_chroot, c"/".as_ptr()),
            _ => libc::syscall(901, 1),
        }
    }
}
