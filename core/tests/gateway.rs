//! The gateway: what becomes of a call before anything runs.

use std::sync::Arc;

use seaworthy_core::event::{Decision, Event, ToolProposed};
use seaworthy_core::gateway::Gateway;
use seaworthy_core::tool::{
    ApprovalRule, Risk, SideEffect, Tool, ToolAnswer, ToolContext, ToolDefinition, Toolbox, Verdict,
};
use seaworthy_ports::model_provider::ToolCallBlock;
use seaworthy_ports::{RunId, ToolName, async_trait};
use serde_json::{Value, json};

#[derive(Debug)]
struct Named(ToolDefinition);

#[async_trait]
impl Tool for Named {
    fn definition(&self) -> &ToolDefinition {
        &self.0
    }

    async fn call(&self, _context: ToolContext, arguments: Value) -> ToolAnswer {
        ToolAnswer::Succeeded(arguments)
    }

    async fn verify(&self, _context: ToolContext, _arguments: Value) -> Verdict {
        Verdict::Unknown("nobody asked".to_owned())
    }
}

#[expect(clippy::unwrap_used, reason = "the names here are names")]
fn gateway(approval: ApprovalRule, description: &str) -> Gateway {
    let definition = ToolDefinition {
        name: ToolName::new("send").unwrap(),
        description: description.to_owned(),
        input_schema: json!({
            "type": "object",
            "required": ["to"],
            "additionalProperties": false,
            "properties": { "to": { "type": "string" } },
        }),
        side_effect: SideEffect::NonIdempotent,
        risk: Risk::High,
        approval,
        timeout: std::time::Duration::from_secs(1),
        verifiable: false,
    };
    let tool: Arc<dyn Tool> = Arc::new(Named(definition));
    Gateway::new(Toolbox::new([tool]).unwrap()).unwrap()
}

#[expect(clippy::unwrap_used, reason = "the ids here are ids")]
fn propose(
    gateway: &Gateway,
    number: u32,
    name: &str,
    arguments: &str,
    by: Option<&str>,
) -> Vec<Event> {
    let wish = ToolCallBlock {
        id: "call_1".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        opaque: None,
    };
    gateway
        .propose(&RunId::new("r").unwrap(), number, &wish, by)
        .unwrap()
}

#[expect(clippy::panic, reason = "anything else is a failed test")]
fn proposal(events: &[Event]) -> &ToolProposed {
    match events {
        [Event::ToolProposed(proposed), ..] => proposed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_fits_is_allowed_and_hashed() {
    let events = propose(
        &gateway(ApprovalRule::None, "d"),
        1,
        "send",
        r#"{"to":"me"}"#,
        None,
    );
    assert_eq!(proposal(&events).call.as_str(), "r.c1");
    assert!(matches!(
        &events[1..],
        [Event::ToolDecided {
            decision: Decision::Allow,
            ..
        }]
    ));
}

#[test]
fn space_and_order_of_keys_do_not_change_the_hash_and_anything_else_does() {
    let plain = gateway(ApprovalRule::None, "d");
    let hash = |gateway: &Gateway, number, arguments: &str| {
        proposal(&propose(gateway, number, "send", arguments, None)).proposal
    };
    let first = hash(&plain, 1, r#"{"to":"me"}"#);
    assert_eq!(first, hash(&plain, 1, "{ \"to\" :\n\"me\" }"));
    assert_ne!(first, hash(&plain, 1, r#"{"to":"you"}"#));
    assert_ne!(
        first,
        hash(&plain, 2, r#"{"to":"me"}"#),
        "the same call twice on purpose is two"
    );
    let changed = gateway(ApprovalRule::None, "another description");
    assert_ne!(
        first,
        hash(&changed, 1, r#"{"to":"me"}"#),
        "a changed tool is another proposal"
    );
}

#[test]
fn what_does_not_fit_never_reaches_policy() {
    let gateway = gateway(ApprovalRule::Required, "d");
    let wishes = [
        ("send", "{}"),
        ("send", r#"{"to":1}"#),
        ("send", r#"{"to":"me","cc":"you"}"#),
        ("send", "{\"to\":"),
        ("send", "[]"),
        ("shend", r#"{"to":"me"}"#),
        ("../send", "{}"),
        ("", ""),
    ];
    for (name, arguments) in wishes {
        let events = propose(&gateway, 1, name, arguments, Some("run --yes"));
        assert!(
            matches!(
                &events[1..],
                [Event::ToolFailed {
                    no_effect: true,
                    ..
                }]
            ),
            "{name} {arguments}: {events:?}"
        );
    }
}

#[test]
fn an_approval_is_asked_for_the_very_proposal_and_granted_only_by_somebody() {
    let gateway = gateway(ApprovalRule::Required, "d");
    let events = propose(&gateway, 1, "send", r#"{"to":"me"}"#, None);
    let asked = proposal(&events).proposal;
    let Event::ApprovalRequested { proposal, .. } = &events[2] else {
        panic!("{events:?}")
    };
    assert_eq!((*proposal, events.len()), (asked, 3));
    let events = propose(&gateway, 1, "send", r#"{"to":"me"}"#, Some("run --yes"));
    let Event::ApprovalDecided {
        granted,
        by,
        proposal,
        ..
    } = &events[3]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (*granted, by.as_str(), *proposal),
        (true, "run --yes", asked)
    );
}

#[test]
fn a_flood_of_arguments_is_refused_and_not_kept() {
    let flood = format!(r#"{{"to":"{}"}}"#, "x".repeat(2 * 1024 * 1024));
    let events = propose(&gateway(ApprovalRule::None, "d"), 1, "send", &flood, None);
    assert!(matches!(&events[1..], [Event::ToolFailed { .. }]));
    assert!(proposal(&events).arguments.to_string().len() < 10_000);
}
