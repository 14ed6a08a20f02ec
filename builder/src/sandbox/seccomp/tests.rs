//! Runs the filter in a small interpreter and asks it what the profile says.

use super::profile::NO;
use super::*;

struct Call {
    arch: Arch,
    number: u32,
    argument: u64,
}

fn evaluate(program: &[BpfInstruction], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let BpfInstruction {
            code,
            jump_true,
            jump_false,
            operand,
        } = program[at];
        at += 1;
        let condition = match code {
            LOAD => {
                accumulator = match operand {
                    NUMBER => call.number,
                    ARCH => call.arch.audit(),
                    ARGUMENT_LOW => (call.argument & 0xFFFF_FFFF) as u32,
                    ARGUMENT_HIGH => (call.argument >> 32) as u32,
                    other => panic!("load from {other}"),
                };
                continue;
            }
            JUMP => {
                at += operand as usize;
                continue;
            }
            RETURN => return operand,
            JUMP_EQUAL => accumulator == operand,
            JUMP_AT_LEAST => accumulator >= operand,
            JUMP_ANY_BIT => accumulator & operand != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if condition { jump_true } else { jump_false });
    }
}

fn number(name: &str, arch: Arch) -> u32 {
    let row = SYSCALLS
        .iter()
        .find(|(listed, ..)| *listed == name)
        .expect("the call is listed");
    u32::try_from(row.2[arch as usize]).expect("the architecture has the call")
}

#[track_caller]
fn check(arch: Arch, number: u32, argument: u64, want: u32) {
    let got = evaluate(
        &default_filter(),
        &Call {
            arch,
            number,
            argument,
        },
    );
    assert_eq!(got, want, "{arch:?} call {number} with {argument:#x}");
}

#[test]
fn the_table_is_sorted_and_has_no_number_twice() {
    assert!(SYSCALLS.is_sorted_by(|left, right| left.0 < right.0));
    for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm] {
        let mut numbers: Vec<i32> = SYSCALLS
            .iter()
            .map(|row| row.2[arch as usize])
            .filter(|number| *number != NO)
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{arch:?}");
    }
}

/// The table against the numbers that the C library was compiled with.
#[test]
fn numbers_are_those_of_the_c_library() {
    for (name, wanted) in [
        ("read", libc::SYS_read),
        ("execve", libc::SYS_execve),
        ("openat2", libc::SYS_openat2),
        ("clone", libc::SYS_clone),
        ("clone3", libc::SYS_clone3),
        ("socket", libc::SYS_socket),
        ("personality", libc::SYS_personality),
        ("chroot", libc::SYS_chroot),
        ("ptrace", libc::SYS_ptrace),
        ("futex_waitv", libc::SYS_futex_waitv),
    ] {
        assert_eq!(i64::from(number(name, ARCHS[0])), wanted, "{name}");
    }
}

#[test]
fn every_listed_call_is_decided_by_its_rule() {
    let program = default_filter();
    for arch in ARCHS {
        for (name, rule, numbers) in SYSCALLS {
            let Ok(number) = u32::try_from(numbers[arch as usize]) else {
                continue;
            };
            let want = if *rule == Rule::NoSys { UNKNOWN } else { ALLOW };
            // 0 is `AF_UNSPEC`, `PER_LINUX`, and a clone without flags: allowed by every rule.
            assert_eq!(
                evaluate(
                    &program,
                    &Call {
                        arch,
                        number,
                        argument: 0
                    }
                ),
                want,
                "{arch:?} {name}"
            );
        }
    }
}

#[test]
fn what_is_not_listed_is_forbidden() {
    for call in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_keyctl,
    ]
    .into_iter()
    .chain([
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
    ])
    .chain([
        libc::SYS_io_uring_setup,
        libc::SYS_init_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
    ])
    .chain([
        libc::SYS_pivot_root,
        libc::SYS_swapon,
        libc::SYS_open_by_handle_at,
        libc::SYS_settimeofday,
    ])
    .chain([
        libc::SYS_quotactl,
        libc::SYS_syslog,
        libc::SYS_acct,
        libc::SYS_kcmp,
        libc::SYS_move_mount,
    ]) {
        check(
            ARCHS[0],
            u32::try_from(call).expect("numbers are small"),
            0,
            DENY,
        );
    }
}

#[test]
fn newer_calls_are_unknown_and_foreign_architectures_end_the_process() {
    let newest = number("removexattrat", ARCHS[0]);
    check(ARCHS[0], newest + 1, 0, UNKNOWN);
    check(ARCHS[0], 0x4000_0000, 0, UNKNOWN);
    check(ARCHS[0], u32::MAX, 0, UNKNOWN);
    let foreign = if ARCHS[0] == Arch::X86_64 {
        Arch::Aarch64
    } else {
        Arch::X86_64
    };
    check(foreign, 0, 0, KILL);
}

#[test]
fn arguments_are_looked_at() {
    let arch = ARCHS[0];
    let alg = 38;
    let vsock = 40;
    for (family, want) in [
        (1, ALLOW),
        (2, ALLOW),
        (10, ALLOW),
        (12, DENY),
        (16, ALLOW),
        (17, ALLOW),
        (alg, DENY),
        (vsock, DENY),
    ] {
        check(arch, number("socket", arch), family, want);
    }
    check(arch, number("socket", arch), 1 << 32 | 2, DENY);
    for (persona, want) in [
        (0, ALLOW),
        (8, ALLOW),
        (0x4_0000, DENY),
        (0xFFFF_FFFF, ALLOW),
        (0x1_0000_0000, DENY),
    ] {
        check(arch, number("personality", arch), persona, want);
    }
    for (flags, want) in [
        (0x11, ALLOW),
        (0x3D_0F00, ALLOW),
        (0x1000_0000, DENY),
        (0x2000_0011, DENY),
    ] {
        check(arch, number("clone", arch), flags, want);
    }
    check(arch, number("clone3", arch), 0, UNKNOWN);
}

#[test]
fn the_program_fits_the_kernel() {
    let length = default_filter().len();
    assert!(length < 4096, "{length} instructions");
}
