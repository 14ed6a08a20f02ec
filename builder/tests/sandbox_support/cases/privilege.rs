//! What a command may do, compared with Docker's defaults.

use std::collections::BTreeMap;
use std::fs;

use rbuild_builder::sandbox::{Access, BindMount, Network, Outcome, ResolvedUser, SandboxMount};

use crate::sandbox_support::harness::{Case, Needs};
use crate::sandbox_support::world::{Step, World};

pub(crate) const CASES: &[Case] = &[
    (
        "capabilities_are_dockers",
        Needs::Any,
        capabilities_are_dockers,
    ),
    (
        "capabilities_of_a_user_are_dockers",
        Needs::Range,
        capabilities_of_a_user_are_dockers,
    ),
    (
        "the_seccomp_filter_is_dockers",
        Needs::Any,
        the_seccomp_filter_is_dockers,
    ),
    (
        "insecure_lifts_the_restrictions",
        Needs::Any,
        insecure_lifts_the_restrictions,
    ),
    (
        "masked_and_read_only_paths_are_dockers",
        Needs::Any,
        masked_and_read_only_paths_are_dockers,
    ),
    ("dev_is_as_in_docker", Needs::Any, dev_is_as_in_docker),
    (
        "device_nodes_of_the_step_cannot_be_opened",
        Needs::Root,
        device_nodes_of_the_step_cannot_be_opened,
    ),
    (
        "no_network_has_only_loopback",
        Needs::Any,
        no_network_has_only_loopback,
    ),
    (
        "inside_a_container_the_error_says_what_to_do",
        Needs::Any,
        inside_a_container_the_error_says_what_to_do,
    ),
    ("processes_are_isolated", Needs::Any, processes_are_isolated),
    (
        "the_mount_table_shows_nothing_of_the_host",
        Needs::Any,
        the_mount_table_shows_nothing_of_the_host,
    ),
];

fn status(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(":\t"))
        .collect()
}

fn capabilities_are_dockers(world: &World) {
    let text = world.output("cat /proc/self/status");
    let status = status(&text);
    for (key, want) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "00000000a80425fb"),
        ("CapEff", "00000000a80425fb"),
        ("CapBnd", "00000000a80425fb"),
        ("CapAmb", "0000000000000000"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("NoNewPrivs", "0"),
    ] {
        assert_eq!(status[key], want, "{key}");
    }
}

fn capabilities_of_a_user_are_dockers(world: &World) {
    let mut step = world.script("cat /proc/self/status");
    step.spec.user = ResolvedUser {
        uid: 1000,
        gid: 1000,
        groups: vec![],
    };
    let ran = world.run(&step);
    let status = status(&ran.stdout);
    for (key, want) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "00000000a80425fb"),
        ("CapAmb", "0000000000000000"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status[key], want, "{key}");
    }
}

/// This program inside the step, where it makes system calls and prints their errors.
fn probe(world: &World, calls: &[&str]) -> Step {
    let mut argv = vec!["/probe", crate::sandbox_support::probe::VERB];
    argv.extend(calls);
    let mut step = world.command(&argv);
    let program = fs::canonicalize("/proc/self/exe").expect("the path of this program");
    let bind = |source: &str, target: &str| {
        SandboxMount::Bind(BindMount {
            tree: vec!["/".into()],
            source: source.to_owned(),
            target: target.to_owned(),
            access: Access::ReadOnly,
        })
    };
    step.spec
        .mounts
        .push(bind(&program.display().to_string(), "/probe"));
    for libraries in ["/lib", "/lib64"] {
        if fs::exists(libraries).is_ok_and(|exists| exists) {
            step.spec.mounts.push(bind(libraries, libraries));
        }
    }
    step
}

fn the_seccomp_filter_is_dockers(world: &World) {
    // Name, and what the call says: "ok" or an error number. Whatever the filter lets through
    // fails for its invalid arguments, with another number.
    let cases = [
        ("unshare", "1"),
        ("unshare_user", "1"),
        ("setns", "1"),
        ("mount", "1"),
        ("umount2", "1"),
        ("pivot_root", "1"),
        ("keyctl", "1"),
        ("add_key", "1"),
        ("bpf", "1"),
        ("perf_event_open", "1"),
        ("userfaultfd", "1"),
        ("io_uring_setup", "1"),
        ("init_module", "1"),
        ("kexec_load", "1"),
        ("open_by_handle_at", "1"),
        ("settimeofday", "1"),
        ("fsopen", "1"),
        ("clone_newuser", "1"),
        ("clone3", "38"),
        ("unknown", "38"),
        ("ptrace_attach", "3"),
        ("personality_query", "ok"),
        ("personality_no_randomize", "1"),
        ("socket_inet", "ok"),
        ("socket_netlink", "ok"),
        ("socket_alg", "1"),
        ("socket_vsock", "1"),
        ("chroot", "ok"),
    ];
    let ran = world.run(&probe(world, &cases.map(|(name, _)| name)));
    assert_eq!(ran.outcome, Outcome::Exited(0), "{ran:#?}");
    let got: Vec<(&str, &str)> = ran
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    assert_eq!(got, cases);
}

/// A step is a container with Docker's restrictions, so it shows what a user sees in one.
fn inside_a_container_the_error_says_what_to_do(world: &World) {
    let ran = world.run(&probe(world, &[crate::sandbox_support::probe::DETECT]));
    assert!(
        ran.stdout
            .starts_with("no sandbox is possible here: this root user lacks CAP_SYS_ADMIN; "),
        "{ran:#?}"
    );
    assert!(
        ran.stdout
            .contains("making a user namespace: Operation not permitted"),
        "{ran:#?}"
    );
    assert!(
        ran.stdout
            .contains("hint: inside a container: run it as root with"),
        "{ran:#?}"
    );
}

fn insecure_lifts_the_restrictions(world: &World) {
    let mut step = world.script(
        "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs none /tmp && touch /tmp/x && ls /tmp; \
         cat /proc/keys > /dev/null && echo keys",
    );
    step.spec.insecure = true;
    let ran = world.run(&step);
    assert_eq!(ran.outcome, Outcome::Exited(0), "{ran:#?}");
    let status = status(&ran.stdout);
    assert_eq!(status["Seccomp"], "0");
    assert!(
        u64::from_str_radix(status["CapEff"], 16).expect("a number") & 1 << 21 != 0,
        "CAP_SYS_ADMIN"
    );
    assert!(ran.stdout.ends_with("x\nkeys\n"), "{ran:#?}");
    assert_eq!(ran.names(), Vec::<&str>::new());
}

fn masked_and_read_only_paths_are_dockers(world: &World) {
    let script = "for f in kcore keys latency_stats timer_list sched_debug interrupts; do \
            [ -e /proc/$f ] && head -c 1 /proc/$f; done; \
        for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do \
            [ -e $d ] && ls -A $d; done; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do \
            [ -e $f ] && ( echo x > $f ) 2>/dev/null && echo wrote $f; done; \
        for d in /proc/acpi /sys /sys/firmware /proc/sys; do [ -e $d ] && touch $d/x 2>/dev/null && echo made $d/x; done; \
        echo end";
    assert_eq!(world.output(script), "end\n");
}

fn dev_is_as_in_docker(world: &World) {
    let names = world.output("ls /dev");
    assert_eq!(
        names.split_whitespace().collect::<Vec<_>>(),
        [
            "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
            "stdin", "stdout", "tty", "urandom", "zero"
        ]
    );
    let script = "echo x > /dev/null && head -c 4 /dev/urandom | wc -c && head -c 4 /dev/zero | wc -c && \
        stat -c '%F %a %t:%T' /dev/null /dev/zero && stat -c '%a' /dev/shm /dev && touch /dev/shm/x && \
        df -k /dev/shm | tail -n 1 | awk '{ print $2 }' && ls /dev/pts && readlink /dev/fd";
    assert_eq!(
        world.output(script),
        "4\n4\ncharacter special file 666 1:3\ncharacter special file 666 1:5\n1777\n755\n65536\nptmx\n/proc/self/fd\n"
    );
}

fn device_nodes_of_the_step_cannot_be_opened(world: &World) {
    let ran = world.run(&world.script(
        "mknod /disk b 7 0 && mknod /null c 1 3 && mknod /dev/disk b 7 0 || exit 1; \
         for f in /disk /null /dev/disk; do head -c 1 $f; done",
    ));
    assert_eq!(ran.outcome, Outcome::Exited(1), "{ran:#?}");
    assert_eq!(
        ran.stderr.matches("Permission denied").count(),
        3,
        "{ran:#?}"
    );
}

fn no_network_has_only_loopback(world: &World) {
    let script = "grep -c : /proc/net/dev; ls /sys/class/net; ifconfig lo | grep -o UP; ping_target=127.0.0.1; \
        cat /etc/resolv.conf > /dev/null && echo resolv";
    let mut step = world.script(script);
    step.spec.network = Network::None;
    assert_eq!(world.run(&step).stdout, "1\nlo\nUP\nresolv\n");
    let host = fs::read_to_string("/proc/net/dev").expect("the interfaces");
    let own = world.output("cat /proc/net/dev");
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&own), names(&host));
}

fn processes_are_isolated(world: &World) {
    assert_eq!(
        world
            .output("echo $$; cd /proc; ls -d [0-9]*")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["2", "1", "2"]
    );
    let zombies = "i=0; (true &); while ps -o stat | grep -q '^Z'; do i=$((i + 1)); [ $i -lt 2000 ] || exit 1; done; exit 0";
    assert_eq!(
        world.run(&world.script(zombies)).outcome,
        Outcome::Exited(0)
    );
}

fn the_mount_table_shows_nothing_of_the_host(world: &World) {
    let table = world.output("cat /proc/self/mountinfo");
    let directory = world.directory.display().to_string();
    assert!(!table.contains(&directory), "{table}");
    let points: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    assert_eq!(points[0], "/");
    assert!(
        points.iter().all(|point| ["/proc", "/sys", "/dev", "/etc/"]
            .iter()
            .any(|top| point.starts_with(top))
            || *point == "/"),
        "{table}"
    );
}
