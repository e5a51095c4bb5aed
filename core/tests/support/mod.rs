//! A run built from events, one at a time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests: what cannot be built is a failed test"
)]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use std::ops::RangeTo;

use seaworthy_core::context::{Cause, CheckpointRef, Compacted, NotCompacted, Through};
use seaworthy_core::event::{Decision, Event, ModelCalled, RunSubmitted, ToolProposed, WaitReason};
use seaworthy_core::record::Link;
use seaworthy_core::servers::{Catalogue, ServedTool, ToolsListed};
use seaworthy_core::state::{FoldError, RunState, Stamp, ToolDeferred};
use seaworthy_core::tool::{Risk, SideEffect};
use seaworthy_ports::mcp::{Hints, McpTool, TaskId, TaskSupport};
use seaworthy_ports::model_provider::{
    Block, Finish, FinishReason, Message, Role, ToolCallBlock, Usage,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest, RunId, ServerAlias, Timestamp, ToolName, WorkerId};
use serde_json::{Value, json};

pub const MAX_TURNS: u32 = 4;

#[derive(Clone)]
pub struct Run {
    pub state: RunState,
    pub events: Vec<(Event, Stamp)>,
}

pub fn call_id(number: u32) -> CallId {
    CallId::new(format!("r.c{number}")).unwrap()
}

pub fn answer(number: u32, proposal: Digest, granted: bool) -> Event {
    let by = "me".to_owned();
    Event::ApprovalDecided {
        approval: call_id(number),
        proposal,
        granted,
        by,
        reason: None,
    }
}

/// The call is a task, which is asked after in a second.
pub fn deferred(call: CallId, task: &str) -> Event {
    let at = |millis| Timestamp::from_millis(millis);
    Event::ToolDeferred(Box::new(ToolDeferred {
        asks: false,
        call,
        message: Some("going on".to_owned()),
        poll_at: at(2_000),
        since: at(1_000),
        task: TaskId::new(task).unwrap(),
        until: at(9_000),
    }))
}

/// A summary that stands for so many messages.
pub fn compacted(own: u64, session: u64) -> Event {
    Event::ContextCompacted(Box::new(Compacted {
        cause: Cause::Limit,
        checkpoint: CheckpointRef {
            digest: Digest::of(b"summary"),
            seq: Seq(3),
        },
        cost: None,
        duration_ms: 1,
        estimated: true,
        failed_tries: Vec::new(),
        model: "fake".to_owned(),
        provider: "fake".to_owned(),
        request_id: None,
        summary: "so far, so good".to_owned(),
        through: Through { own, session },
        tokens_after: 10,
        tokens_before: 100,
        usage: Usage {
            input_tokens: Some(7),
            ..Usage::default()
        },
    }))
}

/// The tool that every model of these tests calls, as a server describes it.
pub fn served(description: &str) -> ServedTool {
    let tool = McpTool {
        name: ToolName::new("tool").unwrap(),
        remote: "tool".to_owned(),
        title: None,
        description: description.to_owned(),
        input_schema: json!({ "type": "object" }),
        output_schema: None,
        task_support: TaskSupport::Forbidden,
        hints: Hints::default(),
    };
    ServedTool::of(&ServerAlias::new("desk").unwrap(), &tool)
}

/// Servers said that they have these tools.
pub fn listed(tools: &[ServedTool]) -> Event {
    let tools = tools.iter().map(|tool| (tool.name.clone(), tool.clone()));
    Event::ToolsListed(Box::new(ToolsListed {
        catalogue: Catalogue::new(tools.collect(), Vec::new()),
        from: None,
    }))
}

/// A conversation that was not shortened.
pub fn not_compacted(cause: Cause) -> Event {
    Event::ContextNotCompacted(Box::new(NotCompacted {
        cause,
        code: "no_reduction".to_owned(),
        cost: None,
        failed_tries: Vec::new(),
        message: "the summary saves nothing".to_owned(),
        tokens: 100,
        usage: Usage::default(),
    }))
}

impl Run {
    pub fn submitted() -> Self {
        let submitted = RunSubmitted {
            run: RunId::new("r").unwrap(),
            agent: "a".to_owned(),
            input: "go".to_owned(),
            input_digest: Digest::of(b"go"),
            descriptor: json!({}),
            descriptor_digest: Digest::of(b"{}"),
            files: Vec::new(),
            session: None,
            workspace: "/w".to_owned(),
            base_dir: "/b".to_owned(),
            grants_all: None,
            queue: None,
            trace: None,
            replay: None,
            max_turns: MAX_TURNS,
        };
        let event = Event::RunSubmitted(Box::new(submitted));
        let stamp = stamp(1, 0);
        Self {
            state: RunState::begin(event.clone(), stamp).unwrap(),
            events: vec![(event, stamp)],
        }
    }

    /// A run whose model asked for one call for each side effect, all of them allowed.
    pub fn acting(effects: &[SideEffect]) -> Self {
        let mut run = Self::submitted();
        run.attempt();
        run.model("", effects);
        for (index, effect) in effects.iter().enumerate() {
            run.propose(index as u32 + 1, *effect, Decision::Allow);
        }
        run
    }

    /// A run that waits for one approval.
    pub fn asking() -> Self {
        let mut run = Self::submitted();
        run.attempt();
        run.model("", &[SideEffect::NonIdempotent]);
        run.propose(1, SideEffect::NonIdempotent, Decision::RequireApproval);
        let proposal = run.state.call(&call_id(1)).unwrap().proposal.proposal;
        let (approval, call) = (call_id(1), call_id(1));
        run.apply(Event::ApprovalRequested {
            accepts: None,
            approval,
            call,
            proposal,
        })
        .unwrap();
        run
    }

    /// A run with crashes, an approval, a doubt and two turns of calls.
    pub fn long() -> Self {
        let mut run = Self::asking();
        run.apply(Event::RunWaiting {
            reason: WaitReason::Approval,
            until: None,
        })
        .unwrap();
        run.attempt();
        let proposal = run.state.call(&call_id(1)).unwrap().proposal.proposal;
        run.apply(answer(1, proposal, true)).unwrap();
        run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
        run.attempt();
        run.apply(Event::ToolInDoubt {
            call: call_id(1),
            reason: "?".to_owned(),
        })
        .unwrap();
        let resolution = seaworthy_core::event::Resolution::DidNotHappen;
        let by = "verifier".to_owned();
        run.apply(Event::ToolResolved {
            call: call_id(1),
            resolution,
            by,
        })
        .unwrap();
        run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
        run.succeed(1, json!({ "ok": true }));
        run.model("", &[SideEffect::ReadOnly, SideEffect::Idempotent]);
        run.propose(2, SideEffect::ReadOnly, Decision::Allow);
        run.propose(3, SideEffect::Idempotent, Decision::Deny);
        run.apply(Event::ToolStarted { call: call_id(2) }).unwrap();
        run.succeed(2, json!("text"));
        run.model("done", &[]);
        run.apply(Event::RunSucceeded {
            output: "done".to_owned(),
        })
        .unwrap();
        run
    }

    pub fn apply(&mut self, event: Event) -> Result<(), FoldError> {
        let attempt = match event {
            Event::AttemptStarted { .. } => self.state.attempt + 1,
            _ => self.state.attempt,
        };
        let stamp = stamp(self.events.len() as u64 + 1, attempt);
        self.state.apply(event.clone(), stamp)?;
        self.events.push((event, stamp));
        Ok(())
    }

    pub fn attempt(&mut self) {
        let worker = WorkerId::new("w").unwrap();
        self.apply(Event::AttemptStarted {
            worker,
            nonce: "n".to_owned(),
        })
        .unwrap();
    }

    /// The model says `text` and asks for one call for each of `effects`.
    pub fn model(&mut self, text: &str, effects: &[SideEffect]) {
        let mut blocks = vec![Block::Text {
            text: text.to_owned(),
            opaque: None,
        }];
        blocks.extend(effects.iter().enumerate().map(|(index, _effect)| {
            Block::ToolCall(ToolCallBlock {
                id: format!("call_{}_{index}", self.events.len()),
                name: "tool".to_owned(),
                arguments: "{}".to_owned(),
                opaque: None,
            })
        }));
        let called = ModelCalled {
            cost: None,
            failed_tries: Vec::new(),
            provider: "fake".to_owned(),
            model: "fake".to_owned(),
            request_digest: Digest::of(b"request"),
            message: Message {
                role: Role::Assistant,
                blocks,
            },
            finish: Finish {
                reason: FinishReason::Stop,
                raw_reason: None,
            },
            usage: Usage {
                input_tokens: Some(1),
                ..Usage::default()
            },
            request_id: None,
            duration_ms: 1,
            tries: 1,
        };
        self.apply(Event::ModelCalled(Box::new(called))).unwrap();
    }

    /// The gateway takes up the next call of the newest answer.
    pub fn propose(&mut self, number: u32, side_effect: SideEffect, decision: Decision) {
        let wishes: Vec<String> = self
            .state
            .messages
            .last()
            .unwrap()
            .tool_calls()
            .map(|call| call.id.clone())
            .collect();
        let taken = self.state.open_calls().count()
            + self
                .state
                .calls
                .values()
                .filter(|call| wishes.contains(&call.proposal.provider_call) && call.has_ended())
                .count();
        let proposed = ToolProposed {
            call: call_id(number),
            provider_call: wishes[taken].clone(),
            tool: "tool".to_owned(),
            arguments: json!({}),
            proposal: Digest::of(&number.to_be_bytes()),
            side_effect,
            risk: Risk::Low,
            idempotency_key: format!("key_{number}"),
        };
        self.apply(Event::ToolProposed(Box::new(proposed))).unwrap();
        self.apply(Event::ToolDecided {
            call: call_id(number),
            decision,
            reason: String::new(),
        })
        .unwrap();
    }

    pub fn succeed(&mut self, number: u32, output: Value) {
        self.apply(Event::ToolSucceeded {
            call: call_id(number),
            output,
            duration_ms: 1,
            media: Vec::new(),
        })
        .unwrap();
    }

    /// The state after the first events.
    pub fn replay(&self, events: RangeTo<usize>) -> RunState {
        let mut events = self.events[events].iter().cloned();
        let (first, stamp) = events.next().unwrap();
        let mut state = RunState::begin(first, stamp).unwrap();
        for (event, stamp) in events {
            state.apply(event, stamp).unwrap();
        }
        state
    }
}

fn stamp(seq: u64, attempt: u32) -> Stamp {
    let link = Link {
        seq: Seq(seq),
        digest: Some(Digest::of(&seq.to_be_bytes())),
    };
    Stamp {
        link,
        at: Timestamp::from_millis(1_790_000_000_000 + seq as i64),
        attempt,
    }
}
