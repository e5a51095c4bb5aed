//! The shell and command tools.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking, helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seaworthy_core::tool::{
    ApprovalRule, Builtin, Command, Risk, SideEffect, Tool, ToolAnswer, ToolDefinition, Verdict,
    code,
};
use seaworthy_ports::ToolName;
use seaworthy_ports::sandbox::{Exec, ExecOutput, ExitStatus, Kind, SandboxError};
use serde_json::{Value, json};

#[expect(dead_code, reason = "shared by test crates that each use a part")]
mod fake_session;

use fake_session::{FakeSession, call, output, refused, succeeded, verify};

fn command() -> Command {
    let definition = ToolDefinition {
        name: ToolName::new("publish").unwrap(),
        description: "Publishes.".to_owned(),
        input_schema: json!({ "type": "object" }),
        side_effect: SideEffect::NonIdempotent,
        risk: Risk::High,
        approval: ApprovalRule::Required,
        timeout: Duration::from_secs(5),
        verifiable: false,
    };
    let argv = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Command::new(
        definition,
        argv(&["./publish.sh", "--now"]),
        Some(argv(&["check", "--verify"])),
    )
}

fn session(
    run: impl Fn(&Exec) -> Result<ExecOutput, SandboxError> + Send + Sync + 'static,
) -> Arc<FakeSession> {
    Arc::new(FakeSession::running(run))
}

fn ended(status: ExitStatus, stdout: &'static str, stderr: &'static str) -> Arc<FakeSession> {
    session(move |_exec| Ok(output(status, stdout.as_bytes(), stderr)))
}

fn failed(answer: ToolAnswer) -> &'static str {
    match answer {
        ToolAnswer::Failed(failure) => failure.code,
        other => panic!("expected a failure that may have had an effect, got {other:?}"),
    }
}

#[test]
fn a_command_gets_canonical_arguments_its_key_and_an_absolute_program() {
    let session = session(|exec| {
        assert_eq!(exec.argv, ["/agents/one/publish.sh", "--now"]);
        assert_eq!(exec.cwd, ".");
        assert_eq!(exec.stdin.as_ref(), r#"{"a":1,"b":"ü"}"#.as_bytes());
        assert_eq!(exec.env["SEAWORTHY_IDEMPOTENCY_KEY"], "swk_1");
        assert_eq!(exec.env["SEAWORTHY_CALL_ID"], "run_1.c1");
        assert_eq!(exec.env["TRACEPARENT"], fake_session::TRACEPARENT);
        assert_eq!(exec.env["TRACESTATE"], "vendor=1");
        assert_eq!(exec.timeout, Duration::from_secs(5));
        Ok(output(ExitStatus::Code(0), b"{\"ok\":true}\n", ""))
    });
    let result = succeeded(call(&command(), &session, json!({ "b": "ü", "a": 1 })));
    assert_eq!(result, json!({ "ok": true }));
}

#[test]
fn output_that_is_no_json_is_text_without_its_line_end() {
    let result = |stdout| {
        succeeded(call(
            &command(),
            &ended(ExitStatus::Code(0), stdout, ""),
            json!({}),
        ))
    };
    assert_eq!(result("done\n"), json!("done"));
    assert_eq!(result("two\nlines\r\n"), json!("two\nlines"));
    assert_eq!(result(""), json!(""));
    assert_eq!(result("17\n"), json!(17));
    assert_eq!(result("{\"half\":\n"), json!("{\"half\":"));
}

#[test]
fn a_command_that_ran_and_failed_may_have_had_an_effect() {
    let answer = |status| failed(call(&command(), &ended(status, "", "no"), json!({})));
    assert_eq!(answer(ExitStatus::Code(3)), code::EXIT);
    assert_eq!(answer(ExitStatus::Signal(9)), code::EXIT);
    assert_eq!(answer(ExitStatus::TimedOut), code::TIMEOUT);
    assert_eq!(answer(ExitStatus::Cancelled), code::CANCELLED);
}

#[test]
fn a_failure_shows_the_model_a_bounded_standard_error() {
    let session = session(|_exec| Ok(output(ExitStatus::Code(1), b"", &"e".repeat(100_000))));
    match call(&command(), &session, json!({})) {
        ToolAnswer::Failed(failure) => {
            assert!(failure.message.contains("eee"));
            assert!(failure.message.len() < 10_000);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_did_not_start_had_no_effect() {
    let refuses = |kind| session(move |_exec| Err(SandboxError::new(kind, "fake", "exec", "no")));
    assert_eq!(
        refused(call(&command(), &refuses(Kind::NotFound), json!({}))),
        code::NOT_FOUND
    );
    assert_eq!(
        refused(call(&command(), &refuses(Kind::Denied), json!({}))),
        code::DENIED
    );
    assert_eq!(
        refused(call(&command(), &refuses(Kind::Fenced), json!({}))),
        code::FENCED
    );
    let lost = session(|_exec| {
        Err(SandboxError::new(Kind::Unavailable, "fake", "exec", "lost").with_unknown_effect())
    });
    assert_eq!(
        failed(call(&command(), &lost, json!({}))),
        code::UNAVAILABLE
    );
}

#[test]
fn output_beyond_a_result_is_a_failure_and_never_a_shorter_result() {
    let large = session(|_exec| {
        Ok(output(
            ExitStatus::Code(0),
            &vec![b'a'; 1024 * 1024 + 1],
            "",
        ))
    });
    assert_eq!(
        failed(call(&command(), &large, json!({}))),
        code::OUTPUT_TOO_LARGE
    );
    let cut = session(|_exec| {
        let mut output = output(ExitStatus::Code(0), b"17", "");
        output.stdout.total = 100 * 1024 * 1024;
        Ok(output)
    });
    assert_eq!(
        failed(call(&command(), &cut, json!({}))),
        code::OUTPUT_TOO_LARGE
    );
    assert!(matches!(
        verify(&command(), &cut, json!({})),
        Verdict::Unknown(_)
    ));
}

#[test]
fn a_verifier_answers_by_its_exit_code() {
    let session = session(|exec| {
        assert_eq!(exec.argv, ["check", "--verify"]);
        assert_eq!(exec.env["SEAWORTHY_IDEMPOTENCY_KEY"], "swk_1");
        let status = match std::str::from_utf8(&exec.stdin).unwrap() {
            "0" => ExitStatus::Code(0),
            "1" => ExitStatus::Code(1),
            "2" => ExitStatus::Code(2),
            "3" => ExitStatus::Signal(9),
            _ => ExitStatus::TimedOut,
        };
        Ok(output(status, b"[1]", ""))
    });
    let tool = command();
    assert!(tool.definition().verifiable);
    assert_eq!(
        verify(&tool, &session, json!(0)),
        Verdict::Happened(json!([1]))
    );
    assert_eq!(verify(&tool, &session, json!(1)), Verdict::DidNotHappen);
    for unknown in [2, 3, 4] {
        assert!(matches!(
            verify(&tool, &session, json!(unknown)),
            Verdict::Unknown(_)
        ));
    }
}

#[test]
fn a_verifier_that_cannot_start_leaves_the_call_in_doubt() {
    let session = Arc::new(FakeSession::with_files(&[]));
    assert!(matches!(
        verify(&command(), &session, json!({})),
        Verdict::Unknown(_)
    ));
}

fn shell(session: &Arc<FakeSession>, arguments: Value) -> ToolAnswer {
    call(&*Builtin::Shell.tool().unwrap(), session, arguments)
}

#[test]
fn the_shell_answers_with_the_exit_code_whatever_it_is() {
    let session = session(|exec| {
        assert_eq!(exec.argv, ["sh", "-c", "grep x *"]);
        assert_eq!(exec.cwd, "src");
        assert_eq!(exec.stdin, Bytes::new());
        Ok(output(ExitStatus::Code(1), b"out\n", "err\n"))
    });
    let result = succeeded(shell(
        &session,
        json!({ "command": "grep x *", "cwd": "./src/" }),
    ));
    assert_eq!(
        result,
        json!({ "exit_code": 1, "stdout": "out\n", "stderr": "err\n", "cut": false })
    );
}

#[test]
fn the_shell_reports_a_signal_like_a_shell_does() {
    let result = succeeded(shell(
        &ended(ExitStatus::Signal(9), "", ""),
        json!({ "command": "x" }),
    ));
    assert_eq!(
        (&result["exit_code"], &result["signal"]),
        (&json!(137), &json!(9))
    );
}

#[test]
fn a_shell_command_that_was_killed_may_have_had_an_effect() {
    let answer = |status| failed(shell(&ended(status, "half", ""), json!({ "command": "x" })));
    assert_eq!(answer(ExitStatus::TimedOut), code::TIMEOUT);
    assert_eq!(answer(ExitStatus::Cancelled), code::CANCELLED);
}

#[test]
fn long_shell_output_keeps_its_start_and_its_end() {
    let session = session(|_exec| {
        let text = format!("start{}end", "ü".repeat(200_000));
        Ok(output(ExitStatus::Code(0), text.as_bytes(), ""))
    });
    let result = succeeded(shell(&session, json!({ "command": "x" })));
    let stdout = result["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("start") && stdout.ends_with("end"));
    assert!(stdout.len() < 70_000);
    assert_eq!(result["cut"], true);
}

#[test]
fn a_shell_command_outside_the_workspace_is_refused() {
    let session = ended(ExitStatus::Code(0), "", "");
    let arguments = json!({ "command": "x", "cwd": "../other" });
    assert_eq!(refused(shell(&session, arguments)), code::OUTSIDE);
    assert_eq!(
        refused(shell(&session, json!({ "command": "a\u{0}b" }))),
        code::INVALID
    );
}
