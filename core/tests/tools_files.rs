//! The built-in tools that work on files.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

use std::sync::Arc;

use futures_util::FutureExt as _;
use seaworthy_core::tool::{Builtin, Tool, ToolAnswer, Toolbox, Verdict, code};
use seaworthy_ports::Latch;
use seaworthy_ports::sandbox::Kind;
use serde_json::{Value, json};

#[expect(dead_code, reason = "shared by test crates that each use a part")]
mod fake_session;

use fake_session::{FakeSession, call, context, refused, succeeded, verify};

fn tool(builtin: Builtin) -> Arc<dyn Tool> {
    builtin.tool().unwrap()
}

fn run(builtin: Builtin, session: &Arc<FakeSession>, arguments: Value) -> ToolAnswer {
    call(&*tool(builtin), session, arguments)
}

fn project() -> Arc<FakeSession> {
    Arc::new(FakeSession::with_files(&[
        (".git/config", "needle"),
        ("README.md", "# Title\n\nA needle here.\n"),
        ("src/lib.rs", "fn needle() {}\r\nfn other() {}\n"),
        ("src/deep/a.rs", "// Needle\n"),
        ("target/out.rs", "needle"),
    ]))
}

#[test]
fn every_built_in_has_its_name_a_strict_schema_and_a_description() {
    for builtin in Builtin::ALL {
        let tool = tool(builtin);
        let definition = tool.definition();
        assert_eq!(definition.name.as_str(), builtin.as_str());
        assert_eq!(
            definition.input_schema["additionalProperties"],
            json!(false)
        );
        assert!(jsonschema::meta::is_valid(&definition.input_schema));
        assert!(definition.description.len() < 1024);
        assert!(!definition.verifiable);
    }
}

#[test]
fn a_toolbox_refuses_two_tools_of_one_name() {
    let twice = [tool(Builtin::Read), tool(Builtin::Read)];
    assert_eq!(Toolbox::new(twice).unwrap_err().0.as_str(), "read");
    let toolbox = Toolbox::new(Builtin::ALL.map(tool)).unwrap();
    assert!(toolbox.get("grep").is_some());
    assert!(toolbox.get("Grep").is_none());
    assert_eq!(toolbox.specs().len(), 7);
}

#[test]
fn list_shows_the_entries_of_one_directory_by_name() {
    let result = succeeded(run(Builtin::List, &project(), json!({})));
    assert_eq!(result["path"], ".");
    assert_eq!(result["cut"], false);
    assert_eq!(
        result["entries"],
        json!([
            { "name": ".git", "kind": "directory", "size": 0 },
            { "name": "README.md", "kind": "file", "size": 24 },
            { "name": "src", "kind": "directory", "size": 0 },
            { "name": "target", "kind": "directory", "size": 0 },
        ])
    );
}

#[test]
fn list_goes_deeper_when_asked_but_not_into_skipped_directories() {
    let result = succeeded(run(
        Builtin::List,
        &project(),
        json!({ "path": "./", "depth": 3 }),
    ));
    let entries = result["entries"].as_array().unwrap();
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            ".git",
            "README.md",
            "src",
            "src/deep",
            "src/deep/a.rs",
            "src/lib.rs",
            "target"
        ]
    );
}

#[test]
fn list_names_are_relative_to_the_listed_directory_and_skipped_ones_can_be_listed() {
    let result = succeeded(run(
        Builtin::List,
        &project(),
        json!({ "path": "target", "depth": 2 }),
    ));
    assert_eq!(result["entries"][0]["name"], "out.rs");
}

#[test]
fn list_cuts_at_a_thousand_entries_and_says_so() {
    let files = (0..1001).map(|number| (format!("f{number:04}"), Vec::new()));
    let session = Arc::new(FakeSession::with_bytes(files));
    let result = succeeded(run(Builtin::List, &session, json!({})));
    assert_eq!(result["entries"].as_array().unwrap().len(), 1000);
    assert_eq!(result["cut"], true);
}

#[test]
fn read_gives_the_wanted_lines() {
    let session = Arc::new(FakeSession::with_files(&[("a", "1\n2\n3\n4")]));
    let all = succeeded(run(Builtin::Read, &session, json!({ "path": "a" })));
    assert_eq!(
        all,
        json!({ "path": "a", "content": "1\n2\n3\n4", "first_line": 1, "lines": 4, "size": 7, "cut": false })
    );
    let part = succeeded(run(
        Builtin::Read,
        &session,
        json!({ "path": "a", "offset": 2, "limit": 2 }),
    ));
    assert_eq!(
        part,
        json!({ "path": "a", "content": "2\n3\n", "first_line": 2, "lines": 2, "size": 7, "cut": true })
    );
    let rest = succeeded(run(
        Builtin::Read,
        &session,
        json!({ "path": "a", "offset": 4 }),
    ));
    assert_eq!(rest["content"], "4");
    assert_eq!(rest["cut"], false);
}

#[test]
fn reading_on_where_a_result_ends_gives_every_line_once() {
    let line = format!("{}\n", "ü".repeat(49));
    let text = line.repeat(30_000);
    let session = Arc::new(FakeSession::with_files(&[("big", &text)]));
    let (mut seen, mut offset) = (String::new(), 1);
    loop {
        let arguments = json!({ "path": "big", "offset": offset, "limit": 10_000 });
        let part = succeeded(run(Builtin::Read, &session, arguments));
        let content = part["content"].as_str().unwrap();
        assert!(content.len() <= 256 * 1024);
        seen.push_str(content);
        offset += part["lines"].as_u64().unwrap();
        if part["cut"] == false {
            break;
        }
    }
    assert!(seen == text);
}

#[test]
fn read_shows_the_start_of_a_line_longer_than_a_result() {
    let session = Arc::new(FakeSession::with_files(&[("long", &"ü".repeat(300_000))]));
    let result = succeeded(run(Builtin::Read, &session, json!({ "path": "long" })));
    assert_eq!(result["cut"], true);
    assert_eq!(result["lines"], 1);
    assert!(result["content"].as_str().unwrap().len() > 250_000);
}

#[test]
fn read_takes_an_empty_file_and_refuses_what_is_no_text_or_not_there() {
    let session = Arc::new(FakeSession::with_bytes([
        ("empty".to_owned(), Vec::new()),
        ("binary".to_owned(), vec![1, 0, 2]),
        ("dir/file".to_owned(), b"x".to_vec()),
    ]));
    let empty = succeeded(run(Builtin::Read, &session, json!({ "path": "empty" })));
    assert_eq!(
        (&empty["content"], &empty["lines"]),
        (&json!(""), &json!(0))
    );
    let read = |path: &str| refused(run(Builtin::Read, &session, json!({ "path": path })));
    assert_eq!(read("binary"), code::INVALID);
    assert_eq!(read("dir"), code::INVALID);
    assert_eq!(read("missing"), code::NOT_FOUND);
    assert_eq!(read("../secret"), code::OUTSIDE);
    assert_eq!(read("/etc/passwd"), code::OUTSIDE);
    let beyond = json!({ "path": "dir/file", "offset": 2 });
    assert_eq!(refused(run(Builtin::Read, &session, beyond)), code::INVALID);
}

#[test]
fn write_replaces_a_file_and_may_be_repeated() {
    let session = project();
    for _ in 0..2 {
        let arguments = json!({ "path": "./new/file.txt", "content": "größe" });
        let result = succeeded(run(Builtin::Write, &session, arguments));
        assert_eq!(result, json!({ "path": "new/file.txt", "bytes": 7 }));
    }
    assert_eq!(session.file("new/file.txt").as_deref(), Some("größe"));
}

#[test]
fn a_failed_write_tells_whether_it_may_have_happened() {
    let arguments = json!({ "path": "a", "content": "b" });
    let full = Arc::new(FakeSession::with_files(&[]).refusing_writes(Kind::NoSpace, false));
    assert_eq!(
        refused(run(Builtin::Write, &full, arguments.clone())),
        code::NO_SPACE
    );
    let fenced = Arc::new(FakeSession::with_files(&[]).refusing_writes(Kind::Fenced, false));
    assert_eq!(
        refused(run(Builtin::Write, &fenced, arguments.clone())),
        code::FENCED
    );
    let lost = Arc::new(FakeSession::with_files(&[]).refusing_writes(Kind::Unavailable, true));
    match run(Builtin::Write, &lost, arguments) {
        ToolAnswer::Failed(failure) => assert_eq!(failure.code, code::UNAVAILABLE),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edit_repeated_after_a_crash_changes_nothing_more() {
    let session = Arc::new(FakeSession::with_files(&[("a", "one\ntwo\n")]));
    let arguments = json!({ "path": "a", "old": "two\n", "new": "two\nthree\n" });
    let first = succeeded(run(Builtin::Edit, &session, arguments.clone()));
    assert_eq!(first, json!({ "path": "a", "replaced": true }));
    let again = succeeded(run(Builtin::Edit, &session, arguments));
    assert_eq!(again["replaced"], true);
    assert_eq!(session.file("a").as_deref(), Some("one\ntwo\nthree\n"));
}

#[test]
fn an_edit_that_does_not_match_once_is_refused_and_writes_nothing() {
    let session = Arc::new(FakeSession::with_files(&[("a", "x x y")]));
    let edit = |old: &str, new: &str| {
        refused(run(
            Builtin::Edit,
            &session,
            json!({ "path": "a", "old": old, "new": new }),
        ))
    };
    assert_eq!(edit("x", "z"), code::INVALID);
    assert_eq!(edit("q", "z"), code::INVALID);
    assert_eq!(edit("y", ""), code::INVALID);
    assert_eq!(session.file("a").as_deref(), Some("x x y"));
}

#[test]
fn glob_finds_files_by_segment_and_skips_what_nobody_wants() {
    let paths =
        |arguments: Value| succeeded(run(Builtin::Glob, &project(), arguments))["paths"].clone();
    assert_eq!(
        paths(json!({ "pattern": "**/*.rs" })),
        json!(["src/deep/a.rs", "src/lib.rs"])
    );
    assert_eq!(
        paths(json!({ "pattern": "src/*.rs" })),
        json!(["src/lib.rs"])
    );
    assert_eq!(paths(json!({ "pattern": "./*.md" })), json!(["README.md"]));
    assert_eq!(
        paths(json!({ "pattern": "*.rs", "path": "src" })),
        json!(["src/lib.rs"])
    );
    assert_eq!(
        paths(json!({ "pattern": "*.rs", "path": "target" })),
        json!(["target/out.rs"])
    );
    let bad = run(Builtin::Glob, &project(), json!({ "pattern": "a[" }));
    assert_eq!(refused(bad), code::INVALID);
    let outside = run(
        Builtin::Glob,
        &project(),
        json!({ "pattern": "*", "path": ".." }),
    );
    assert_eq!(refused(outside), code::OUTSIDE);
}

#[test]
fn glob_cuts_at_a_thousand_paths_and_says_so() {
    let files = (0..1001).map(|number| (format!("f{number:04}"), Vec::new()));
    let session = Arc::new(FakeSession::with_bytes(files));
    let result = succeeded(run(Builtin::Glob, &session, json!({ "pattern": "*" })));
    assert_eq!(
        (&result["count"], &result["cut"]),
        (&json!(1000), &json!(true))
    );
}

#[test]
fn grep_finds_lines_with_their_numbers() {
    let result = succeeded(run(
        Builtin::Grep,
        &project(),
        json!({ "pattern": "needle" }),
    ));
    assert_eq!(
        result,
        json!({
            "matches": [
                { "path": "README.md", "line": 3, "text": "A needle here." },
                { "path": "src/lib.rs", "line": 1, "text": "fn needle() {}" },
            ],
            "count": 2,
            "cut": false,
        })
    );
}

#[test]
fn grep_narrows_by_glob_path_and_case() {
    let count =
        |arguments: Value| succeeded(run(Builtin::Grep, &project(), arguments))["count"].clone();
    assert_eq!(
        count(json!({ "pattern": "needle", "ignore_case": true })),
        3
    );
    assert_eq!(count(json!({ "pattern": "needle", "glob": "**/*.md" })), 1);
    assert_eq!(count(json!({ "pattern": "needle", "path": "src" })), 1);
    assert_eq!(
        count(json!({ "pattern": "needle", "path": "src/lib.rs" })),
        1
    );
    assert_eq!(count(json!({ "pattern": "^$" })), 1);
    let bad = run(Builtin::Grep, &project(), json!({ "pattern": "(" }));
    assert_eq!(refused(bad), code::INVALID);
    let missing = run(
        Builtin::Grep,
        &project(),
        json!({ "pattern": "a", "path": "nowhere" }),
    );
    assert_eq!(refused(missing), code::NOT_FOUND);
}

#[test]
fn grep_leaves_binary_files_out_and_cuts_lines_and_matches() {
    let session = Arc::new(FakeSession::with_bytes([
        ("binary".to_owned(), b"x\0x".to_vec()),
        ("long".to_owned(), "xü".repeat(1000).into_bytes()),
        ("many".to_owned(), "x\n".repeat(300).into_bytes()),
    ]));
    let result = succeeded(run(Builtin::Grep, &session, json!({ "pattern": "x" })));
    assert_eq!(
        (&result["count"], &result["cut"]),
        (&json!(200), &json!(true))
    );
    assert_eq!(result["matches"][0]["path"], "long");
    assert!(result["matches"][0]["text"].as_str().unwrap().len() <= 500);
}

#[test]
fn arguments_that_a_schema_would_refuse_are_an_answer_not_a_panic() {
    for builtin in Builtin::ALL {
        for arguments in [
            json!(null),
            json!([]),
            json!({ "path": 1 }),
            json!({ "surprise": true }),
        ] {
            assert_eq!(refused(run(builtin, &project(), arguments)), code::INVALID);
        }
    }
}

#[test]
fn a_built_in_cannot_tell_what_became_of_a_call() {
    let verdict = verify(
        &*tool(Builtin::Shell),
        &project(),
        json!({ "command": "true" }),
    );
    assert!(matches!(verdict, Verdict::Unknown(_)));
}

#[test]
fn a_cancelled_search_ends_without_effect() {
    let (setter, latch) = Latch::new();
    setter.set();
    for (builtin, arguments) in [
        (Builtin::List, json!({})),
        (Builtin::Read, json!({ "path": "README.md" })),
        (Builtin::Glob, json!({ "pattern": "*" })),
        (Builtin::Grep, json!({ "pattern": "x" })),
    ] {
        let mut context = context(&project());
        context.cancel = latch.clone();
        let answer = tool(builtin).call(context, arguments).now_or_never();
        assert_eq!(refused(answer.unwrap()), code::CANCELLED);
    }
}
