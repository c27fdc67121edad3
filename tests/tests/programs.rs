//! Processes are started, watched and ended as the end-to-end tests need it; with the shell in
//! place of our programs.

use canister_tests::programs::{Program, until};
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Program {
    Program::start_command("shell", Command::new("sh").args(["-c", script]))
}

#[test]
fn what_is_printed_is_kept() {
    let mut program = shell("echo out; echo err >&2; exit 3");
    assert_eq!(program.wait(SOON).code(), Some(3));
    assert_eq!((program.stdout(), program.stderr()), ("out\n".into(), "err\n".into()));
    // Over and over.
    assert_eq!(program.wait(SOON).code(), Some(3));
    program.term();
    program.kill9();
}

#[test]
fn signals_arrive() {
    let mut program =
        shell("trap 'echo bye >&2; exit 0' TERM; echo up >&2; while :; do sleep 0.02; done");
    assert_eq!(program.wait_for_line("u", SOON), "up");
    assert!(program.exited().is_none());
    assert!(program.peak_rss_bytes() > 100_000);
    program.term();
    assert_eq!(program.wait_for_line("bye", SOON), "bye");
    assert_eq!(program.wait(SOON).code(), Some(0));

    let mut program = shell("echo up >&2; exec sleep 100");
    program.wait_for_line("up", SOON);
    program.kill9();
    assert_eq!(program.wait(SOON).signal(), Some(9));
}

#[test]
fn waiting_in_vain_fails_and_says_for_what() {
    let said = |run: fn()| {
        let cause = catch_unwind(run).unwrap_err();
        cause.downcast_ref::<String>().unwrap().clone()
    };
    let said_of_line = said(|| {
        shell("echo no >&2; exit 7").wait_for_line("up", SOON);
    });
    assert!(said_of_line.contains("without printing \"up\""), "{said_of_line}");
    let said_of_end = said(|| {
        shell("exec sleep 100").wait(Duration::from_millis(50));
    });
    assert!(said_of_end.contains("in vain for shell to end"), "{said_of_end}");
    let said_of_condition = said(|| until("rain", Duration::from_millis(50), || None));
    assert_eq!(said_of_condition, "waited 50ms in vain for rain");
}
