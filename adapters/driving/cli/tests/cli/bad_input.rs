//! What cannot work says so, with the right exit code, and breaks nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::support::{Done, Place, script};

fn refused(place: &Place, args: &[&str]) -> Done {
    let done = place.run(args);
    assert_eq!(done.code, 2, "{args:?}: {done:?}");
    assert!(done.stdout.is_empty(), "{done:?}");
    assert!(!done.stderr.is_empty());
    done
}

#[test]
fn a_descriptor_with_faults_is_refused_with_each_place() {
    let place = Place::with_script(&script(&[]));
    for (text, line) in [
        ("version: [", "agent.yaml:1:"),
        (
            "version: seaworthy.agent_graph.v1\nnonsense: 1\n",
            "agent.yaml:2:1",
        ),
        ("\u{0}", "agent.yaml:1:"),
        ("", "agent.yaml:1:1"),
    ] {
        place.write("agent.yaml", text);
        let done = refused(&place, &["run", "agent.yaml"]);
        assert!(done.stderr.contains(line), "{text:?}: {done:?}");
    }
    place.write(
        "agent.yaml",
        &crate::support::agent("tester", 4).replace("[list, note", "[lst, note"),
    );
    let done = refused(&place, &["run", "agent.yaml"]);
    assert!(
        done.stderr.contains("lst") && done.stderr.contains("agent.yaml:"),
        "{done:?}"
    );
    assert!(!place.work().join(".seaworthy").exists());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let place = Place::with_script(&script(&[]));
    assert!(
        refused(&place, &["run", "absent.yaml"])
            .stderr
            .contains("absent.yaml")
    );
    assert!(
        refused(&place, &["run", "agent.yaml", "--input", "@absent.txt"])
            .stderr
            .contains("absent.txt")
    );
    fs::write(place.path().join("latin.txt"), b"caf\xe9").unwrap();
    assert!(
        refused(&place, &["run", "agent.yaml", "--input", "@latin.txt"])
            .stderr
            .contains("UTF-8")
    );
    fs::write(place.path().join("large.txt"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    refused(&place, &["run", "agent.yaml", "--input", "@large.txt"]);
    refused(&place, &["run", "latin.txt"]);
    refused(&place, &["run", "work"]);
    fs::remove_file(place.path().join("script.yaml")).unwrap();
    assert!(
        refused(&place, &["run", "agent.yaml"])
            .stderr
            .contains("script.yaml")
    );
    place.write("outside/script.yaml", &script(&[]));
    fs::create_dir(place.path().join("agent")).unwrap();
    fs::rename(
        place.path().join("agent.yaml"),
        place.path().join("agent/agent.yaml"),
    )
    .unwrap();
    symlink(
        "../outside/script.yaml",
        place.path().join("agent/script.yaml"),
    )
    .unwrap();
    assert!(
        refused(&place, &["run", "agent/agent.yaml"])
            .stderr
            .contains("link")
    );
}

#[test]
fn a_broken_script_is_refused_before_anything_runs() {
    let place = Place::with_script("turns: 7\n");
    let done = refused(&place, &["run", "agent.yaml", "--run-id", "r1"]);
    assert!(done.stderr.contains("script.yaml"), "{done:?}");
    refused(&place, &["show", "r1"]);
}

#[test]
fn ids_that_are_none_are_refused() {
    let place = Place::with_script(&script(&[]));
    for id in ["..", ".", "a/b", "", "a b", "é"] {
        refused(&place, &["run", "agent.yaml", &format!("--run-id={id}")]);
        refused(&place, &["run", "agent.yaml", &format!("--session={id}")]);
        refused(&place, &["show", &format!("./{id}")]);
    }
    assert!(!place.work().join(".seaworthy").exists());
}

#[test]
fn ids_that_nobody_has_are_refused() {
    let place = Place::with_script(&script(&[]));
    // Without a store as well as with one.
    for _store in 0..2 {
        for command in ["show", "resume", "events", "verify", "cancel", "reopen"] {
            refused(&place, &[command, "absent"]);
        }
        for command in ["approve", "deny"] {
            refused(&place, &[command, "absent.c1"]);
        }
        refused(&place, &["resolve", "absent.c1", "--did-not-happen"]);
        assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    }
    refused(&place, &["resolve", "r1.c9", "--did-not-happen"]);
    refused(&place, &["approve", "r1"]);
}

#[test]
fn usage_is_refused() {
    let place = Place::with_script(&script(&[]));
    refused(&place, &["nonsense"]);
    refused(&place, &["run"]);
    refused(&place, &["run", "agent.yaml", "--store", "postgres://x"]);
    refused(&place, &["runs", "--store", "memory:"]);
    refused(
        &place,
        &["run", "agent.yaml", "--detach", "--store", "memory:"],
    );
    for model in [
        "main",
        "main=openai",
        "main=nobody:x",
        "other=openai:x",
        "main=scripted:x",
    ] {
        refused(&place, &["run", "agent.yaml", "--model", model]);
    }
    let done = place.command(&["--version"]).output().unwrap();
    assert!(done.status.success());
}

#[test]
fn a_model_without_a_key_is_refused_before_anything_runs() {
    let place = Place::with_script(&script(&[]));
    for (model, key) in [
        ("main=openai:gpt-5-mini", "OPENAI_API_KEY"),
        ("main=anthropic:claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("main=gemini:gemini-2.5-flash", "GEMINI_API_KEY"),
    ] {
        let arguments = ["run", "agent.yaml", "--run-id", "r1", "--model", model];
        let done = refused(&place, &arguments);
        assert!(done.stderr.contains(key), "{done:?}");
    }
    refused(&place, &["show", "r1"]);
}

#[test]
fn an_endpoint_that_refuses_fails_the_run_and_no_key_is_shown() {
    let place = Place::with_script(&script(&[]));
    // A port that nothing listens on: taken and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = place.command(&[
        "run",
        "agent.yaml",
        "--run-id",
        "r1",
        "--model",
        "main=openai:m",
        "--json",
    ]);
    command
        .env("OPENAI_API_KEY", "sk-canary-0123456789")
        .env("OPENAI_BASE_URL", format!("http://127.0.0.1:{port}/v1"));
    let done = Done::of(command.env("SEAWORTHY_LOG", "trace").output().unwrap());
    assert_eq!(done.code, 1, "{}", done.stdout);
    assert!(!done.stdout.contains("canary") && !done.stderr.contains("canary"));
    let database = fs::read(place.work().join(".seaworthy/state.db")).unwrap();
    assert!(!database.windows(6).any(|bytes| bytes == b"canary"));
}

#[test]
fn a_store_that_is_none_is_refused_and_left_alone() {
    let place = Place::with_script(&script(&[]));
    place.write(
        "notes.db",
        "These are my notes, and not a database of any kind. Please leave them alone.\n",
    );
    let before = fs::read(place.path().join("notes.db")).unwrap();
    for args in [
        &["run", "agent.yaml"][..],
        &["runs"],
        &["show", "r1"],
        &["worker"],
        &["doctor"],
    ] {
        let done = refused(&place, &[args, &["--store", "sqlite:notes.db"]].concat());
        assert!(done.stderr.contains("notes.db"), "{done:?}");
    }
    assert_eq!(fs::read(place.path().join("notes.db")).unwrap(), before);
    refused(&place, &["runs", "--store", "sqlite:absent.db"]);
    assert!(!place.path().join("absent.db").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::with_script(&script(&[]));
    // Not even root writes into a file's folder.
    place.write("file", "");
    let done = refused(
        &place,
        &["run", "agent.yaml", "--store", "sqlite:file/state.db"],
    );
    assert!(done.stderr.contains("file/state.db"), "{done:?}");
    fs::set_permissions(place.work(), fs::Permissions::from_mode(0o555)).unwrap();
    let done = place.run(&["run", "agent.yaml"]);
    fs::set_permissions(place.work(), fs::Permissions::from_mode(0o755)).unwrap();
    // Root may write everywhere; everybody else is told where the store should have been.
    assert!(
        done.code == 0 || done.code == 2 && done.stderr.contains(".seaworthy"),
        "{done:?}"
    );
}

#[test]
fn a_workspace_must_be_a_folder() {
    let place = Place::with_script(&script(&[]));
    fs::remove_dir_all(place.work()).unwrap();
    assert!(
        refused(&place, &["run", "agent.yaml"])
            .stderr
            .contains("work")
    );
    fs::write(place.work(), "").unwrap();
    assert!(
        refused(&place, &["run", "agent.yaml"])
            .stderr
            .contains("work")
    );
}

#[test]
fn errors_are_json_where_programs_read() {
    let place = Place::new();
    let done = refused(&place, &["show", "absent", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string());
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let place = Place::with_script(&script(&["note"; 10]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    let mut child = place.start(&["events", "r1", "--json"]);
    drop(child.stdout.take());
    let done = crate::support::finish(child);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let mut child = place.start(&["run", "agent.yaml", "--run-id", "r2", "--json"]);
    drop(child.stdout.take());
    assert_eq!(crate::support::finish(child).code, 0);
    assert_eq!(place.show("r2")["status"], "succeeded");
}

#[test]
fn input_comes_from_standard_input_too() {
    let place = Place::with_script(&script(&[]));
    let mut child = place
        .command(&["run", "agent.yaml", "--run-id", "r1", "--input", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all("größer\n".as_bytes())
        .unwrap();
    assert_eq!(crate::support::finish(child).code, 0);
    let events = place.run(&["events", "r1", "--json"]).json_lines();
    assert_eq!(events[0]["data"]["input"], "größer\n");
}

#[test]
fn a_tool_that_prints_too_much_or_no_json_does_not_break_the_run() {
    let place = Place::with_script(&script(&["note"]));
    place.write_tool(
        "append.sh",
        "#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' 'x'\n",
    );
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    place.write_tool("append.sh", "#!/bin/sh\nprintf '\\033[2J\\377 no json'\n");
    let done = place.run(&["run", "agent.yaml", "--run-id", "r2"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!done.stderr.contains('\u{1b}'));
}

/// Replaces every `from` in the database by `to`, of the same length.
fn damage(place: &Place, from: &[u8], to: &[u8]) {
    let path = place.work().join(".seaworthy/state.db");
    let mut bytes = fs::read(&path).unwrap();
    let found: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_corrupt_record_is_found_and_harms_no_other_run() {
    let place = Place::with_script(&script(&["ask"]));
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--input", "first"])
            .code,
        3
    );
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r2", "--input", "other"])
            .code,
        3
    );
    damage(&place, b"\"input\":\"first\"", b"\"input\":\"worse\"");
    let done = place.run(&["verify", "r1", "--json"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(done.json_lines()[0]["ok"], false);
    for command in ["show", "resume", "events"] {
        let done = place.run(&[command, "r1"]);
        assert_eq!(done.code, 2, "{command}: {done:?}");
        assert!(done.stderr.contains("seaworthy verify r1"), "{done:?}");
    }
    assert_eq!(place.json(&["verify", "r2"])["ok"], true);
    assert_eq!(place.run(&["resume", "r2", "--yes"]).code, 0);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let place = Place::with_script(&script(&[]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    let path = place.work().join(".seaworthy/state.db");
    let mut bytes = fs::read(&path).unwrap();
    // The schema's version is in the header of the file.
    bytes[60..64].copy_from_slice(&1000_u32.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    for args in [
        &["run", "agent.yaml"][..],
        &["runs"],
        &["show", "r1"],
        &["worker"],
        &["doctor"],
    ] {
        let done = refused(&place, args);
        assert!(done.stderr.contains("newer"), "{done:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
