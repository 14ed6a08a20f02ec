//! The live display, on a terminal of its own.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::world::World;

/// Runs a command on a terminal of 60 columns and 20 rows; what it wrote there, and its exit status.
fn on_terminal(command: &mut Command) -> (Vec<u8>, Option<i32>) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("pty");
    grantpt(&master).expect("grant");
    unlockpt(&master).expect("unlock");
    let size = Winsize {
        ws_row: 20,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).expect("size");
    let name = ptsname(&master, Vec::new()).expect("name");
    let name = name.into_string().expect("text");
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name)
        .expect("open");
    let input = slave.try_clone().expect("a second descriptor");
    let mut child = command
        .env("TERM", "xterm")
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::from(slave))
        .spawn()
        .expect("spawn");
    // Our own copies of the terminal are in the command.
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut out = Vec::new();
    let mut master = File::from(master);
    let mut buffer = [0; 4096];
    // A terminal that nobody has open any more answers with an error.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        out.extend_from_slice(&buffer[..count]);
    }
    (out, child.wait().expect("wait").code())
}

/// The screen after these bytes: as much of a terminal as the display uses.
fn screen(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\x1b' => {
                assert_eq!(chars.next(), Some('['), "only control sequences");
                let mut number = String::new();
                let command = loop {
                    match chars.next().expect("a whole sequence") {
                        digit @ ('0'..='9' | ';') => number.push(digit),
                        command => break command,
                    }
                };
                match command {
                    'A' => row -= number.parse::<usize>().expect("a number"),
                    'K' => lines[row].truncate(column),
                    'J' => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    other => assert_eq!(other, 'm', "unexpected sequence"),
                }
            }
            c => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    lines
        .into_iter()
        .map(|line| line.into_iter().collect::<String>().trim_end().to_owned())
        .collect()
}

#[test]
fn the_screen_shows_finished_steps_and_nothing_else() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo out; sleep 0.3; yes | busybox head -n 100; echo a line that is much longer than the terminal is wide, to see it cut; sleep 1\nRUN sleep 0.2\n",
    );
    let mut command = world.command(&["build", "-t", "app", "ctx"]);
    let (bytes, code) = on_terminal(&mut command);
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&bytes));
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    assert!(shown.contains("[+] Building"), "{shown}");
    assert!(
        shown.contains("# y"),
        "output of running steps is shown: {shown}"
    );
    let lines = screen(&bytes);
    let of_display = |line: &&String| line.starts_with(" =>") || line.starts_with("[+]");
    for line in lines.iter().filter(of_display) {
        assert!(
            line.chars().count() < 60,
            "`{line}` reaches the last column"
        );
    }
    insta::assert_snapshot!(world.normal(&lines.join("\n")));
}

#[test]
fn a_failing_step_shows_its_output() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo the reason; exit 3\n",
    );
    let mut command = world.command(&["build", "ctx"]);
    let (bytes, code) = on_terminal(&mut command);
    assert_eq!(code, Some(1));
    let screen = screen(&bytes).join("\n");
    insta::assert_snapshot!(world.normal(&screen));
}

#[test]
fn a_command_gets_the_terminal() {
    let Some(world) = World::with_sandbox() else {
        return;
    };
    let mut command = world.command(&[
        "run",
        "-it",
        "busybox",
        "sh",
        "-c",
        "test -t 0 && test -t 2 && echo on $TERM >&2",
    ]);
    let (bytes, code) = on_terminal(&mut command);
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!((code, shown.as_str()), (Some(0), "on xterm\r\n"));
}

#[test]
fn colours_are_left_out_when_not_wanted() {
    let world = World::new();
    let painted = |name: &str, value: &str| {
        let mut command = world.command(&["inspect", "nothing"]);
        command.env(name, value);
        let (bytes, _) = on_terminal(&mut command);
        bytes.contains(&b'\x1b')
    };
    assert!(painted("IRRELEVANT", "1"));
    assert!(painted("NO_COLOR", ""));
    assert!(!painted("NO_COLOR", "1"));
}
