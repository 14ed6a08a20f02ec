//! Docker's default seccomp filter as a BPF program.
//!
//! Built as a binary decision tree over ranges of numbers: the kernel evaluates the whole program
//! once per system call number when it is installed, and once per call afterwards where a rule
//! looks at arguments, so a short path matters more than a short program.

mod profile;

use super::sys::BpfInstruction;
use profile::{
    Arch, CLONE_NAMESPACES, PERSONALITIES, Rule, SOCKET_FAMILIES, SOCKET_FAMILIES_BELOW, SYSCALLS,
};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7FFF_0000; // SECCOMP_RET_ALLOW
const KILL: u32 = 0x8000_0000; // SECCOMP_RET_KILL_PROCESS
const ERRNO: u32 = 0x0005_0000; // SECCOMP_RET_ERRNO
const DENY: u32 = ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = ERRNO | libc::ENOSYS as u32;

// Offsets in `struct seccomp_data`; both architectures are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_LOW: u32 = 16;
const ARGUMENT_HIGH: u32 = 20;

/// The first of the numbers that arm keeps for calls of its own.
const ARM_PRIVATE: u32 = 0xF_0000;

#[cfg(target_arch = "x86_64")]
const ARCHS: [Arch; 2] = [Arch::X86_64, Arch::I386];
#[cfg(target_arch = "aarch64")]
const ARCHS: [Arch; 2] = [Arch::Aarch64, Arch::Arm];

/// The filter for this machine: its own architecture and the 32-bit one that it can run.
pub(super) fn default_filter() -> Vec<BpfInstruction> {
    let [native, compat] = ARCHS.map(section);
    let over_native = u32::try_from(native.len()).unwrap_or(u32::MAX);
    // Conditional jumps reach only 255 instructions, so the sections are reached by plain ones.
    let mut program = vec![
        instruction(LOAD, ARCH),
        branch(JUMP_EQUAL, ARCHS[0].audit(), 0, 1),
        instruction(JUMP, 3),
        branch(JUMP_EQUAL, ARCHS[1].audit(), 0, 1),
        instruction(JUMP, 1 + over_native),
        instruction(RETURN, KILL),
    ];
    program.extend(native);
    program.extend(compat);
    program
}

/// What is done from one number on, up to the next range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Return(u32),
    Check(Rule),
}

/// The part of the filter for one architecture.
fn section(arch: Arch) -> Vec<BpfInstruction> {
    let mut program = vec![instruction(LOAD, NUMBER)];
    program.extend(tree(&ranges(arch)));
    program
}

/// All numbers from 0 on as ranges, each with its action; adjacent ranges differ.
fn ranges(arch: Arch) -> Vec<(u32, Action)> {
    let mut listed: Vec<(u32, Action)> = SYSCALLS
        .iter()
        .filter_map(|(_, rule, numbers)| {
            let number = u32::try_from(numbers[arch as usize]).ok()?;
            let action = match rule {
                Rule::Allow => Action::Return(ALLOW),
                Rule::NoSys => Action::Return(UNKNOWN),
                other => Action::Check(*other),
            };
            Some((number, action))
        })
        .collect();
    listed.sort_unstable_by_key(|(number, _)| *number);
    // A call that is newer than the profile was not judged by it: programs must see "not known" and
    // use an older way, not "forbidden", as runc does it.
    let newest = listed
        .iter()
        .map(|(number, _)| *number)
        .filter(|number| *number < ARM_PRIVATE)
        .max()
        .unwrap_or(0);
    let mut ranges: Vec<(u32, Action)> = Vec::with_capacity(listed.len());
    let mut push = |start: u32, action: Action| match ranges.last() {
        Some((_, last)) if *last == action => {}
        _ => ranges.push((start, action)),
    };
    let mut next = 0;
    for (number, action) in listed {
        if number > next {
            push(
                next,
                if next > newest {
                    Action::Return(UNKNOWN)
                } else {
                    Action::Return(DENY)
                },
            );
        }
        push(number, action);
        next = number + 1;
    }
    push(next, Action::Return(UNKNOWN));
    ranges
}

/// A decision tree over `ranges`, with the number in the accumulator.
fn tree(ranges: &[(u32, Action)]) -> Vec<BpfInstruction> {
    let (left, right) = match ranges {
        [] => return vec![instruction(RETURN, DENY)],
        [(_, action)] => return leaf(*action),
        _ => ranges.split_at(ranges.len() / 2),
    };
    let pivot = right.first().map_or(0, |(start, _)| *start);
    let (left, right) = (tree(left), tree(right));
    let mut program = match u8::try_from(left.len()) {
        Ok(skip) => vec![branch(JUMP_AT_LEAST, pivot, skip, 0)],
        Err(_) => vec![
            branch(JUMP_AT_LEAST, pivot, 0, 1),
            instruction(JUMP, u32::try_from(left.len()).unwrap_or(u32::MAX)),
        ],
    };
    program.extend(left);
    program.extend(right);
    program
}

fn leaf(action: Action) -> Vec<BpfInstruction> {
    match action {
        Action::Return(value) => vec![instruction(RETURN, value)],
        Action::Check(Rule::Allow) => vec![instruction(RETURN, ALLOW)],
        Action::Check(Rule::NoSys) => vec![instruction(RETURN, UNKNOWN)],
        Action::Check(Rule::Fork) => vec![
            instruction(LOAD, ARGUMENT_LOW),
            branch(JUMP_ANY_BIT, CLONE_NAMESPACES, 0, 1),
            instruction(RETURN, DENY),
            instruction(RETURN, ALLOW),
        ],
        Action::Check(Rule::Personality) => one_of(PERSONALITIES, None),
        Action::Check(Rule::Socket) => one_of(SOCKET_FAMILIES, Some(SOCKET_FAMILIES_BELOW)),
    }
}

/// Allows the call if its first argument is below `below` or one of `values`, as 64-bit numbers.
fn one_of(values: &[u32], below: Option<u32>) -> Vec<BpfInstruction> {
    let mut tests: Vec<(u16, u32, bool)> = Vec::new();
    if let Some(limit) = below {
        tests.push((JUMP_AT_LEAST, limit, false));
    }
    tests.extend(values.iter().map(|value| (JUMP_EQUAL, *value, true)));
    // high word, its test, deny, low word | tests | deny | allow
    let mut program = vec![
        instruction(LOAD, ARGUMENT_HIGH),
        branch(JUMP_EQUAL, 0, 1, 0),
        instruction(RETURN, DENY),
        instruction(LOAD, ARGUMENT_LOW),
    ];
    let count = tests.len();
    for (index, (code, operand, allow_if)) in tests.into_iter().enumerate() {
        // At most some thirty tests, so the distance to the last instruction fits.
        let far = u8::try_from(count - index).unwrap_or(u8::MAX);
        program.push(if allow_if {
            branch(code, operand, far, 0)
        } else {
            branch(code, operand, 0, far)
        });
    }
    program.push(instruction(RETURN, DENY));
    program.push(instruction(RETURN, ALLOW));
    program
}

fn instruction(code: u16, operand: u32) -> BpfInstruction {
    BpfInstruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    }
}

fn branch(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> BpfInstruction {
    BpfInstruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

#[cfg(test)]
mod tests;
