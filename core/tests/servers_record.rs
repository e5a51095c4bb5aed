//! What a log has of the tools of servers: how it is written, and what it comes to.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_core::event::Event;
use seaworthy_core::files::AttachedFile;
use seaworthy_core::record::{self, Link};
use seaworthy_core::replay::{Recall, ToolReplayed};
use seaworthy_core::servers::{Catalogue, LeftOut, ServedTool, ToolsListed};
use seaworthy_core::state::ToolDeferred;
use seaworthy_ports::mcp::{Hints, McpTool, TaskId, TaskSupport, tool_name};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest, ServerAlias, Timestamp};
use serde_json::{Value, json};

fn served(description: &str) -> ServedTool {
    let alias = ServerAlias::new("files").unwrap();
    let tool = McpTool {
        name: tool_name(&alias, "read").unwrap(),
        remote: "read".to_owned(),
        title: None,
        description: description.to_owned(),
        input_schema: json!({"type": "object"}),
        output_schema: None,
        hints: Hints {
            read_only: Some(true),
            ..Hints::default()
        },
        task_support: TaskSupport::Forbidden,
    };
    ServedTool::of(&alias, &tool)
}

fn listed(from: Option<Seq>) -> Event {
    let tool = served("Reads.");
    let tools = BTreeMap::from([(tool.name.clone(), tool)]);
    let left_out = vec![LeftOut {
        remote: "odd".to_owned(),
        server: ServerAlias::new("files").unwrap(),
        why: "its schema is none".to_owned(),
    }];
    Event::ToolsListed(Box::new(ToolsListed {
        catalogue: Catalogue::new(tools, left_out),
        from,
    }))
}

fn picture() -> AttachedFile {
    AttachedFile {
        bytes: 8,
        digest: Digest::of(b"picture"),
        media_type: "image/png".to_owned(),
        name: None,
    }
}

/// What only runs with servers record.
fn events() -> Vec<Event> {
    let call = |number: u32| CallId::new(format!("r.c{number}")).unwrap();
    let now = served("Reads, and tells everybody.");
    let document = AttachedFile {
        bytes: 9,
        digest: Digest::of(b"document"),
        media_type: "application/pdf".to_owned(),
        name: Some("may.pdf".to_owned()),
    };
    let with_change: ToolsListed = serde_json::from_value(json!({
        "catalogue": {
            "changed": {"files__read": now},
            "digest": "sha256:ed45d27147414f34144d7824ffc0377d1d48d7ebbc8cea6841f1275868432270",
            "tools": {"files__read": served("Reads.")},
        },
        "from": 9,
    }))
    .unwrap();
    vec![
        listed(None),
        Event::ToolChanged(Box::new(now.clone())),
        Event::ApprovalRequested {
            accepts: Some(now.digest),
            approval: call(1),
            call: call(1),
            proposal: Digest::of(b"proposal"),
        },
        Event::ToolSucceeded {
            call: call(1),
            duration_ms: 3,
            media: vec![picture(), document],
            output: json!({"content": [{"type": "image", "media_type": "image/png", "bytes": 8}]}),
        },
        Event::ToolReplayed(Box::new(ToolReplayed {
            call: call(2),
            from: Seq(4),
            result: Recall::Succeeded {
                media: vec![picture()],
                output: json!("seen"),
            },
        })),
        Event::ToolsListed(Box::new(with_change)),
    ]
}

#[test]
fn the_golden_log_of_a_run_with_servers_is_read_and_is_what_this_version_writes() {
    let golden = include_str!("golden/v1-servers.jsonl");
    let mut after = Link::default();
    let events = events();
    assert_eq!(golden.lines().count(), events.len());
    for (index, (line, event)) in golden.lines().zip(&events).enumerate() {
        let body = Bytes::from_static(line.as_bytes());
        let (envelope, link) = record::open(after, Seq(index as u64 + 1), &body).unwrap();
        assert_eq!(&envelope.event().unwrap(), event);
        let (kind, data) = record::data_of(event).unwrap();
        let at = Timestamp::from_millis(1_790_000_000_123);
        let sealed = record::seal(after, at, 3, &kind, &data).unwrap();
        assert_eq!(sealed.body, body);
        after = link;
    }
}

fn data(event: &Event) -> (String, Value) {
    let (name, data) = record::data_of(event).unwrap();
    let again: Event = serde_json::from_value(json!({"type": name, "data": data})).unwrap();
    assert_eq!(&again, event);
    (name, data)
}

#[test]
fn tools_are_written_as_they_were_in_the_first_version_that_had_them() {
    let tool = json!({
        "description": "Reads.",
        "digest": served("Reads.").digest,
        "hints": {"read_only": true},
        "input_schema": {"type": "object"},
        "name": "files__read",
        "remote": "read",
        "server": "files",
    });
    let (name, listed) = data(&listed(Some(Seq(4))));
    assert_eq!(name, "tools_listed");
    let digest = listed["catalogue"]["digest"].clone();
    let expected = json!({
        "catalogue": {
            "digest": digest,
            "left_out": [{"remote": "odd", "server": "files", "why": "its schema is none"}],
            "tools": {"files__read": tool},
        },
        "from": 4,
    });
    assert_eq!(listed, expected);
    let (name, changed) = data(&Event::ToolChanged(Box::new(served("Reads."))));
    assert_eq!((name.as_str(), changed), ("tool_changed", tool));
}

#[test]
fn a_digest_is_of_everything_a_tool_is_and_nothing_else() {
    let written = r#"{"description":"Reads.","hints":{"read_only":true},"input_schema":{"type":"object"},"name":"files__read","output_schema":null,"remote":"read","server":"files"}"#;
    assert_eq!(served("Reads.").digest, Digest::of(written.as_bytes()));
}

#[test]
fn an_approval_that_accepts_nothing_is_written_as_it_always_was() {
    let call = CallId::new("r.c1").unwrap();
    let asked = |accepts| Event::ApprovalRequested {
        accepts,
        approval: call.clone(),
        call: call.clone(),
        proposal: Digest::of(b"proposal"),
    };
    let (_name, plain) = data(&asked(None));
    assert!(plain.get("accepts").is_none());
    let digest = Digest::of(b"now");
    let (_name, accepting) = data(&asked(Some(digest)));
    assert_eq!(accepting["accepts"], json!(digest));
}

#[test]
fn a_call_that_is_a_task_is_written_like_this() {
    let deferred = ToolDeferred {
        asks: false,
        call: CallId::new("r.c1").unwrap(),
        message: None,
        poll_at: Timestamp::from_millis(2_000),
        since: Timestamp::from_millis(1_000),
        task: TaskId::new("786512e2").unwrap(),
        until: Timestamp::from_millis(9_000),
    };
    let (name, written) = data(&Event::ToolDeferred(Box::new(deferred)));
    assert_eq!(name, "tool_deferred");
    let at = |millis| json!(Timestamp::from_millis(millis));
    let expected = json!({
        "call": "r.c1",
        "poll_at": at(2_000),
        "since": at(1_000),
        "task": "786512e2",
        "until": at(9_000),
    });
    assert_eq!(written, expected);
}

#[test]
fn whether_calls_become_tasks_is_no_part_of_what_a_tool_is() {
    let alias = ServerAlias::new("files").unwrap();
    let tool = |task_support| McpTool {
        name: tool_name(&alias, "read").unwrap(),
        remote: "read".to_owned(),
        title: None,
        description: "Reads.".to_owned(),
        input_schema: json!({"type": "object"}),
        output_schema: None,
        hints: Hints {
            read_only: Some(true),
            ..Hints::default()
        },
        task_support,
    };
    let pinned = served("Reads.");
    let now = tool(TaskSupport::Required);
    assert!(pinned.is_still(&now));
    assert_eq!(ServedTool::of(&alias, &now), pinned);
}
