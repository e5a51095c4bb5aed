//! What an application's test can rely on when it scripts a sandbox.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use seaworthy_fakes::{ExpectedCommand, ScriptedSandbox};
use seaworthy_ports::sandbox::{
    Exec, ExecOutput, ExitStatus, Kind, Limits, Owner, Policy, Sandbox as _, SandboxError,
    SandboxSession, SandboxSpec,
};
use seaworthy_ports::{Latch, RunId};

#[expect(clippy::unwrap_used, reason = "a fake is ready at once")]
fn open(sandbox: &ScriptedSandbox) -> Arc<dyn SandboxSession> {
    let spec = SandboxSpec {
        policy: Policy::UNCONFINED,
        workspace: "/work".into(),
        limits: Limits::default(),
        env: Default::default(),
        owner: Owner {
            run: RunId::new("run_1").unwrap(),
            attempt: 1,
        },
    };
    sandbox.open(spec).now_or_never().unwrap().unwrap()
}

fn command<const N: usize>(argv: [&str; N]) -> Exec {
    Exec {
        argv: argv.map(str::to_owned).into(),
        cwd: String::new(),
        env: Default::default(),
        stdin: Bytes::new(),
        timeout: Duration::from_secs(1),
        cancel: Latch::never(),
        on_output: None,
    }
}

#[expect(clippy::unwrap_used, reason = "a fake is ready at once")]
fn run(session: &dyn SandboxSession, exec: Exec) -> Result<ExecOutput, SandboxError> {
    session.exec(exec).now_or_never().unwrap()
}

fn complains(sandbox: &ScriptedSandbox) -> bool {
    catch_unwind(AssertUnwindSafe(|| sandbox.assert_all_used())).is_err()
}

#[test]
fn commands_that_come_as_listed_come_to_what_the_list_says() {
    let sandbox = ScriptedSandbox::new([
        ExpectedCommand::new(["cargo", "build"])
            .printing("built")
            .complaining("a warning")
            .writing("target/app", "binary"),
        ExpectedCommand::new(["cargo", "test"]).ending(ExitStatus::Code(101)),
        ExpectedCommand::new(["git", "push"]).failing(Kind::Denied),
    ])
    .with_file("Cargo.toml", "[package]");
    let session = open(&sandbox);
    let built = run(&*session, command(["cargo", "build"])).unwrap();
    assert_eq!(built.status, ExitStatus::Code(0));
    assert_eq!(
        (built.stdout.bytes, built.stdout.total),
        ("built".into(), 5)
    );
    assert_eq!(built.stderr.bytes, "a warning");
    let tested = run(&*session, command(["cargo", "test"])).unwrap();
    assert_eq!(tested.status, ExitStatus::Code(101));
    let pushed = run(&*session, command(["git", "push"]));
    assert_eq!(pushed.unwrap_err().kind(), Kind::Denied);
    sandbox.assert_all_used();
    assert_eq!(sandbox.file("target/app"), Some("binary".into()));
    let read = session.read("Cargo.toml", 0, 99).now_or_never().unwrap();
    assert_eq!(read.unwrap().bytes, "[package]");
}

#[test]
fn a_command_that_has_not_come_fails_the_test() {
    let sandbox =
        ScriptedSandbox::new([ExpectedCommand::new(["one"]), ExpectedCommand::new(["two"])]);
    run(&*open(&sandbox), command(["one"])).unwrap();
    assert!(complains(&sandbox));
}

#[test]
fn a_command_that_is_not_expected_is_an_error_that_names_it_and_fails_the_test() {
    let sandbox = ScriptedSandbox::new([ExpectedCommand::new(["ls", "-l"])]);
    let session = open(&sandbox);
    let error = run(&*session, command(["rm", "-rf"])).unwrap_err();
    assert_eq!(error.kind(), Kind::Rejected);
    // What it says is all that there is to find the mistake with.
    assert!(error.message().contains(r#"["rm", "-rf"]"#));
    assert!(error.message().contains(r#"["ls", "-l"]"#));
    // It has not used up what is expected, but it is not forgotten either.
    run(&*session, command(["ls", "-l"])).unwrap();
    assert!(complains(&sandbox));
}

#[test]
fn commands_must_come_in_their_order() {
    let sandbox =
        ScriptedSandbox::new([ExpectedCommand::new(["one"]), ExpectedCommand::new(["two"])]);
    let error = run(&*open(&sandbox), command(["two"])).unwrap_err();
    assert_eq!(error.kind(), Kind::Rejected);
}

#[test]
fn a_command_that_was_cancelled_before_is_still_expected() {
    let sandbox = ScriptedSandbox::new([ExpectedCommand::new(["one"])]);
    let session = open(&sandbox);
    let (setter, cancel) = Latch::new();
    setter.set();
    let mut exec = command(["one"]);
    exec.cancel = cancel;
    let output = run(&*session, exec).unwrap();
    assert_eq!(output.status, ExitStatus::Cancelled);
    assert!(complains(&sandbox));
    run(&*session, command(["one"])).unwrap();
    sandbox.assert_all_used();
}

#[test]
fn output_is_shown_to_whoever_listens() {
    let sandbox = ScriptedSandbox::new([ExpectedCommand::new(["one"])
        .printing("out")
        .complaining("error")]);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&shown);
    let mut exec = command(["one"]);
    exec.on_output = Some(Arc::new(move |chunk| {
        sink.lock().unwrap().push(chunk.bytes.clone());
    }));
    run(&*open(&sandbox), exec).unwrap();
    assert_eq!(*shown.lock().unwrap(), ["out", "error"]);
}
