//! What holds of the fold for every sequence of events: lawful ones, as the machine asks for them, and hostile ones.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use seaworthy_core::context::Cause;
use seaworthy_core::event::{Decision, Event, Resolution, WaitReason};
use seaworthy_core::files::AttachedFile;
use seaworthy_core::history::cut;
use seaworthy_core::machine::{self, Step, Work};
use seaworthy_core::servers::{MAX_QUESTIONS, Question, Reply, Wants};
use seaworthy_core::state::{Call, CallStatus, RunState, Stamp, ToolDeferred};
use seaworthy_core::tool::SideEffect;
use seaworthy_ports::model_provider::{Message, Role, check_history};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest, ServerAlias, SignalId, WorkerId};
use serde_json::json;
use support::{Run, answer, call_id, served};

const EFFECTS: [SideEffect; 3] = [
    SideEffect::ReadOnly,
    SideEffect::Idempotent,
    SideEffect::NonIdempotent,
];
const DECISIONS: [Decision; 3] = [Decision::Allow, Decision::RequireApproval, Decision::Deny];

/// What a tool says of itself, at one time and another.
const SAID: [&str; 3] = ["Does it.", "Does it, and tells everybody.", "Does nothing."];

/// What a tool shows.
fn picture() -> AttachedFile {
    AttachedFile {
        bytes: 8,
        digest: Digest::of(b"picture"),
        media_type: "image/png".to_owned(),
        name: None,
    }
}

/// Numbers to choose by, used up one after the other; then always 0.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % end
    }

    fn of<T: Clone>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())].clone()
    }
}

/// Any event, about a call that there may be or not, whether it makes sense here or not.
fn hostile(run: &Run, choices: &mut Choices) -> Event {
    let calls = [
        call_id(1),
        call_id(2),
        call_id(3),
        call_id(4),
        call_id(u32::MAX),
        CallId::new("r").unwrap(),
        CallId::new("other.c1").unwrap(),
        CallId::new("r.c99999999999").unwrap(),
    ];
    let call = choices.of(&calls);
    let right = run.state.call(&call).map(|call| call.proposal.proposal);
    let proposal = choices
        .of(&[right, Some(Digest::of(b"another")), right])
        .unwrap_or(Digest::of(b"none"));
    let text = || "text".to_owned();
    match choices.below(28) {
        0 => run.events[0].0.clone(),
        1 => Event::AttemptStarted {
            worker: WorkerId::new("w").unwrap(),
            nonce: text(),
        },
        2 => Event::SessionLoaded { through: Seq(7) },
        3 | 4 => {
            let mut other = Run::submitted();
            let asked: Vec<_> = (0..choices.below(4))
                .map(|_| choices.of(&EFFECTS))
                .collect();
            other.model("said", &asked);
            other.events.pop().unwrap().0
        }
        5 => Event::ModelFailed {
            failed_tries: Vec::new(),
            code: text(),
            message: text(),
            tries: 3,
        },
        6 => {
            let mut other = Run::submitted();
            other.model("said", &[SideEffect::ReadOnly; 4]);
            let number = choices.of(&[1, 2, 3, 4, u32::MAX]);
            other.propose(number, choices.of(&EFFECTS), Decision::Allow);
            other.events.pop();
            other.events.pop().unwrap().0
        }
        7 => Event::ToolDecided {
            call,
            decision: choices.of(&DECISIONS),
            reason: text(),
        },
        8 => {
            let changed = served(choices.of(&SAID)).digest;
            Event::ApprovalRequested {
                accepts: choices.of(&[None, Some(changed)]),
                approval: call.clone(),
                call,
                proposal,
            }
        }
        9 => Event::ApprovalDecided {
            approval: call,
            proposal,
            granted: choices.below(2) == 0,
            by: text(),
            reason: None,
        },
        10 => Event::ToolStarted { call },
        11 => Event::ToolSucceeded {
            call,
            output: json!({ "ok": [1, null] }),
            duration_ms: 1,
            media: choices.of(&[Vec::new(), vec![picture()]]),
        },
        12 => Event::ToolFailed {
            call,
            code: text(),
            message: text(),
            no_effect: choices.below(2) == 0,
        },
        13 => Event::ToolInDoubt {
            call,
            reason: text(),
        },
        14 => Event::ToolResolved {
            call,
            resolution: choices.of(&[
                Resolution::DidNotHappen,
                Resolution::Happened {
                    output: json!("it did"),
                },
            ]),
            by: text(),
        },
        23 => support::deferred(call, choices.of(&["task", "another"])),
        24 => polled(call, true),
        25 => asked(call),
        26 => replied(call),
        15 => Event::SignalReceived {
            signal: SignalId::new("look:1").unwrap(),
            note: text(),
        },
        16 => Event::RunWaiting {
            reason: choices.of(&[WaitReason::Approval, WaitReason::InDoubt, WaitReason::Task]),
            until: None,
        },
        17 => Event::RunReopened { by: text() },
        18 | 19 => {
            let counts = [0, 1, 2, 3, 5, u64::MAX];
            support::compacted(choices.of(&counts), choices.of(&counts))
        }
        20 => support::not_compacted(choices.of(&[Cause::Limit, Cause::Refused])),
        21 => {
            let tools = [served(choices.of(&SAID))];
            support::listed(choices.of(&[&[][..], &tools]))
        }
        22 => Event::ToolChanged(Box::new(served(choices.of(&SAID)))),
        _ => choices.of(&[
            Event::RunFailed {
                code: text(),
                message: text(),
            },
            Event::RunCancelled {
                by: text(),
                reason: None,
            },
            Event::RunSucceeded { output: text() },
        ]),
    }
}

/// What a driver would record next, as the machine says, or a crash, an error or a person in between.
fn lawful(run: &mut Run, choices: &mut Choices) {
    match choices.below(12) {
        0 => return run.attempt(),
        1 => {
            let event = choices.of(&[
                Event::SignalReceived {
                    signal: SignalId::new("late").unwrap(),
                    note: "late".to_owned(),
                },
                Event::RunCancelled {
                    by: "me".to_owned(),
                    reason: None,
                },
            ]);
            return run.apply(event).unwrap();
        }
        _ => {}
    }
    match machine::next(&run.state) {
        Step::Ended => {}
        Step::Fail { code, message } => {
            let code = code.to_owned();
            run.apply(Event::RunFailed { code, message }).unwrap();
            if choices.below(2) == 0 {
                run.apply(Event::RunReopened {
                    by: "me".to_owned(),
                })
                .unwrap();
            }
        }
        // What a driver may do before it calls the model.
        Step::CallModel if choices.below(8) == 1 => {
            run.apply(support::listed(&[served(choices.of(&SAID))]))
                .unwrap();
        }
        Step::CallModel if choices.below(4) == 0 => shorten(run, choices),
        Step::CallModel => {
            let asked: Vec<_> = (0..choices.below(4))
                .map(|_| choices.of(&EFFECTS))
                .collect();
            run.model("said", &asked);
        }
        Step::Propose => propose(run, choices),
        // The agent has no servers, and no output schema.
        Step::ListTools | Step::Reject(_) => {}
        Step::Work(work) => {
            if run.state.catalogue.is_some() && choices.below(4) == 1 {
                let now = Box::new(served(choices.of(&SAID)));
                run.apply(Event::ToolChanged(now)).unwrap();
            }
            let one = choices.of(&work);
            work_on(run, &one, choices);
        }
        Step::Wait(reason) => {
            let is_left_alone = |call: &Call| {
                matches!(call.status, CallStatus::Deferred(_)) && call.open_question().is_none()
            };
            let waiting: Vec<(u32, Digest, bool)> = run
                .state
                .calls
                .iter()
                .filter(|(_, call)| !call.has_ended() && !is_left_alone(call))
                .map(|(number, call)| {
                    let asks = call.status == CallStatus::AwaitingApproval;
                    (*number, call.proposal.proposal, asks)
                })
                .collect();
            run.apply(Event::RunWaiting {
                reason,
                until: run.state.next_poll(),
            })
            .unwrap();
            run.attempt();
            if waiting.is_empty() {
                // The next attempt asks after the tasks.
                assert_eq!(reason, WaitReason::Task);
                return;
            }
            let (number, proposal, asks) = choices.of(&waiting);
            let is_question = run.state.calls[&number].open_question().is_some();
            let event = if is_question {
                replied(call_id(number))
            } else if asks {
                answer(number, proposal, choices.below(2) == 0)
            } else {
                resolved(number, choices)
            };
            run.apply(event).unwrap();
        }
        Step::Answer(output) => run.apply(Event::RunSucceeded { output }).unwrap(),
    }
}

/// A summary of all but the newest answers, of a session of four messages or without one.
fn shorten(run: &mut Run, choices: &mut Choices) {
    let shown = run.state.conversation(&session());
    let before = run.state.context.through();
    let Some(at) = cut(&shown, 1 + choices.below(3) as u32) else {
        return run.apply(support::not_compacted(Cause::Limit)).unwrap();
    };
    let more = at as u64 - u64::from(run.state.context.summary.is_some());
    let of_session = more.min(session().len() as u64 - before.session);
    let event = support::compacted(before.own + more - of_session, before.session + of_session);
    run.apply(event).unwrap();
}

/// What the session has before the run.
fn session() -> Vec<Message> {
    let said = |text: &str| Message {
        role: Role::Assistant,
        ..Message::user(text)
    };
    vec![
        Message::user("one"),
        said("1"),
        Message::user("two"),
        said("2"),
    ]
}

fn propose(run: &mut Run, choices: &mut Choices) {
    let asked = run.state.messages.last().unwrap().tool_calls().count();
    for _call in 0..asked {
        let number = run.state.next_call();
        let decision = choices.of(&DECISIONS);
        run.propose(number, choices.of(&EFFECTS), decision);
        if decision == Decision::RequireApproval {
            let proposal = run.state.call(&call_id(number)).unwrap().proposal.proposal;
            let (approval, call) = (call_id(number), call_id(number));
            let catalogue = run.state.catalogue.as_deref();
            let changed = catalogue.and_then(|catalogue| catalogue.changed.get("tool"));
            run.apply(Event::ApprovalRequested {
                accepts: changed.map(|now| now.digest),
                approval,
                call,
                proposal,
            })
            .unwrap();
        }
    }
}

fn work_on(run: &mut Run, work: &Work, choices: &mut Choices) {
    let call = work.call().clone();
    let number = seaworthy_core::state::call_number(&call).unwrap();
    let asks = matches!(work, Work::Poll(_)) && choices.below(3) == 1;
    let known = run.state.call(&call).unwrap();
    if asks && known.open_question().is_none() && known.questions.len() < MAX_QUESTIONS {
        run.apply(asked(call.clone())).unwrap();
    }
    let event = match (work, choices.below(3)) {
        (Work::Poll(_), _) if asks => polled(call, true),
        (Work::Start(_), _) => Event::ToolStarted { call },
        (Work::Poll(_), 0) => support::deferred(call, "task"),
        (Work::Poll(_), 1) => match run.state.call(&call).unwrap().proposal.side_effect {
            SideEffect::NonIdempotent => Event::ToolInDoubt {
                call,
                reason: "the task is lost".to_owned(),
            },
            SideEffect::ReadOnly | SideEffect::Idempotent => Event::ToolStarted { call },
        },
        (Work::Poll(_), _) => Event::ToolSucceeded {
            call,
            output: json!("the task's"),
            duration_ms: 1,
            media: Vec::new(),
        },
        // The one that began it may have heard of a task just before it died.
        (Work::Repeat(_) | Work::Verify(_), 2) => support::deferred(call, "task"),
        (Work::Verify(_), 0) => resolved(number, choices),
        (Work::Verify(_), _) => Event::ToolInDoubt {
            call,
            reason: "?".to_owned(),
        },
        (Work::Repeat(_), 0) => Event::ToolFailed {
            call,
            code: "exit".to_owned(),
            message: "exit code 1".to_owned(),
            no_effect: false,
        },
        (Work::Repeat(_), _) => Event::ToolSucceeded {
            call,
            output: json!("result"),
            duration_ms: 1,
            media: choices.of(&[Vec::new(), vec![picture()]]),
        },
    };
    run.apply(event).unwrap();
}

/// The server of a task was asked after it, and wants input or goes on.
fn polled(call: CallId, asks: bool) -> Event {
    match support::deferred(call, "task") {
        Event::ToolDeferred(task) => Event::ToolDeferred(Box::new(ToolDeferred { asks, ..*task })),
        other => other,
    }
}

fn question() -> Question {
    Question {
        digest: Digest::of(b"question"),
        key: None,
        server: ServerAlias::new("desk").unwrap(),
        wants: Wants::Input {
            message: "Who?".to_owned(),
            schema: json!({}),
        },
    }
}

fn asked(call: CallId) -> Event {
    Event::QuestionAsked {
        call,
        question: Box::new(question()),
    }
}

fn replied(call: CallId) -> Event {
    Event::QuestionAnswered {
        by: "me".to_owned(),
        call,
        question: question().digest,
        reply: Reply::Declined,
    }
}

fn resolved(number: u32, choices: &mut Choices) -> Event {
    Event::ToolResolved {
        call: call_id(number),
        resolution: choices.of(&[
            Resolution::DidNotHappen,
            Resolution::Happened {
                output: json!("it did"),
            },
        ]),
        by: "me".to_owned(),
    }
}

/// A run as a driver would have written it, to its end or not.
fn lawful_run(choices: &mut Choices, steps: usize) -> Run {
    let mut run = Run::submitted();
    run.attempt();
    for _step in 0..steps {
        if run.state.outcome.is_some() {
            break;
        }
        lawful(&mut run, choices);
    }
    run
}

/// A lawful run, and behind it whatever the fold lets pass.
fn attacked_run(choices: &mut Choices, steps: usize) -> Run {
    let lawful_steps = choices.below(steps);
    let mut run = lawful_run(choices, lawful_steps);
    for _step in 0..steps {
        let event = hostile(&run, choices);
        let _refused = run.apply(event);
    }
    run
}

/// Numbers to choose by, for a run of up to sixty steps.
fn numbers() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..600)
}

/// Everything that is computed of a state, none of which may panic.
fn look_at(state: &RunState) -> (Step, usize, u32) {
    let _status = state.status();
    (
        machine::next(state),
        state.open_calls().count(),
        state.next_call(),
    )
}

/// The state after a snapshot of the first `cut` events was stored, read back and continued.
fn resumed(run: &Run, cut: usize) -> RunState {
    let stored = serde_json::to_vec(&run.replay(..cut)).unwrap();
    let mut restored: RunState = serde_json::from_slice(&stored).unwrap();
    for (event, stamp) in &run.events[cut..] {
        restored.apply(event.clone(), *stamp).unwrap();
    }
    restored
}

proptest! {
    #[test]
    fn every_event_is_taken_or_refused_and_a_refused_one_changes_nothing(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let mut run = attacked_run(&mut choices, 40);
        for _try in 0..20 {
            let event = hostile(&run, &mut choices);
            let before = run.state.clone();
            let (_, last) = run.events[run.events.len() - 1];
            let attempt = choices.below(4) as u32;
            let stamp = Stamp { attempt, ..last };
            if run.state.apply(event, stamp).is_err() {
                prop_assert_eq!(&run.state, &before);
            }
            look_at(&run.state);
        }
    }

    #[test]
    fn a_log_begins_with_a_submission_and_with_nothing_else(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let run = lawful_run(&mut choices, 10);
        let event = hostile(&run, &mut choices);
        let begins = matches!(event, Event::RunSubmitted(_));
        prop_assert_eq!(RunState::begin(event, run.events[0].1).is_ok(), begins);
    }

    #[test]
    fn every_prefix_of_what_was_taken_is_taken_again_to_the_same_state(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let run = attacked_run(&mut choices, 40);
        for end in 1..=run.events.len() {
            look_at(&run.replay(..end));
        }
        prop_assert_eq!(run.replay(..run.events.len()), run.state);
    }

    #[test]
    fn a_checkpoint_and_the_tail_are_the_whole_at_every_split(numbers in numbers(), attacked in any::<bool>()) {
        let mut choices = Choices(numbers.into_iter());
        let run = if attacked { attacked_run(&mut choices, 40) } else { lawful_run(&mut choices, 60) };
        for cut in 1..=run.events.len() {
            prop_assert_eq!(&resumed(&run, cut), &run.state, "cut at {}", cut);
        }
    }

    #[test]
    fn a_provider_accepts_the_conversation_whenever_the_model_has_the_word(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let mut run = Run::submitted();
        run.attempt();
        for _step in 0..60 {
            if machine::next(&run.state) == Step::CallModel {
                prop_assert_eq!(check_history(&run.state.messages), Ok(()));
                prop_assert_eq!(check_history(&run.state.conversation(&session())), Ok(()));
            }
            if run.state.outcome.is_some() {
                break;
            }
            lawful(&mut run, &mut choices);
        }
    }

    #[test]
    fn a_summary_takes_no_message_away_and_the_rest_is_shown_as_it_is(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let mut run = Run::submitted();
        run.attempt();
        for _step in 0..60 {
            if run.state.outcome.is_some() {
                break;
            }
            let before = std::sync::Arc::clone(&run.state.messages);
            lawful(&mut run, &mut choices);
            prop_assert!(run.state.messages.starts_with(&before));
            let shown = run.state.conversation(&session());
            let through = run.state.context.through();
            let all: Vec<Message> = session().into_iter().chain(run.state.messages.iter().cloned()).collect();
            let rest = all.len() - (through.own + through.session) as usize;
            prop_assert!(shown[shown.len() - rest..] == all[all.len() - rest..]);
            let heads = usize::from(run.state.context.summary.is_some());
            prop_assert_eq!(shown.len() - rest, heads);
        }
    }

    #[test]
    fn what_a_run_has_of_a_tool_changes_with_a_listing_or_with_just_what_was_agreed_to(numbers in numbers(), attacked in any::<bool>()) {
        let mut choices = Choices(numbers.into_iter());
        let run = if attacked { attacked_run(&mut choices, 40) } else { lawful_run(&mut choices, 60) };
        let mut before = run.replay(..1);
        for (event, stamp) in &run.events[1..] {
            let mut after = before.clone();
            after.apply(event.clone(), *stamp).unwrap();
            let has = |state: &RunState| state.catalogue.as_ref().map(|catalogue| catalogue.tools.clone());
            let tools = has(&after);
            if has(&before) != tools {
                let agreed = match event {
                    Event::ToolsListed(_) => true,
                    Event::ApprovalDecided { approval, granted: true, .. } => {
                        let asked = after.call(approval).and_then(|call| call.approval.as_ref());
                        let accepts = asked.and_then(|asked| asked.accepts);
                        accepts.is_some() && tools.unwrap().get("tool").map(|tool| tool.digest) == accepts
                    }
                    _ => false,
                };
                prop_assert!(agreed, "{}", stamp.link.seq);
            }
            before = after;
        }
    }

    #[test]
    fn whatever_the_fold_lets_pass_it_shows_a_conversation_of_its_own(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let run = attacked_run(&mut choices, 40);
        if machine::next(&run.state) == Step::CallModel && run.state.context.summary.is_some() {
            prop_assert_eq!(check_history(&run.state.conversation(&[])), Ok(()));
        }
    }

    #[test]
    fn taking_a_run_up_again_mends_nothing_that_once_did_not(numbers in numbers(), times in 2..5_usize) {
        let mut choices = Choices(numbers.into_iter());
        let steps = choices.below(40);
        let mut once = lawful_run(&mut choices, steps);
        if once.state.outcome.is_some() {
            return Ok(());
        }
        once.attempt();
        let mut again = once.clone();
        for _time in 1..times {
            again.attempt();
        }
        prop_assert_eq!(&again.state.messages, &once.state.messages);
        prop_assert_eq!(&again.state.calls, &once.state.calls);
        prop_assert_eq!(&again.state.phase, &once.state.phase);
        if !matches!(machine::next(&again.state), Step::Fail { code: "crash_loop", .. }) {
            prop_assert_eq!(machine::next(&again.state), machine::next(&once.state));
        }
    }

    #[test]
    fn a_call_that_may_not_be_repeated_never_is(numbers in numbers()) {
        let mut choices = Choices(numbers.into_iter());
        let mut run = Run::submitted();
        run.attempt();
        for _step in 0..60 {
            if let Step::Work(work) = machine::next(&run.state) {
                for one in work {
                    let call = run.state.call(one.call()).unwrap();
                    let ran = matches!(call.status, CallStatus::Running { .. });
                    let repeatable = call.proposal.side_effect.is_repeatable();
                    let is_task = matches!(call.status, CallStatus::Deferred(_));
                    prop_assert_eq!(matches!(one, Work::Poll(_)), is_task);
                    prop_assert_eq!(matches!(one, Work::Start(_)), !ran && !is_task);
                    prop_assert_eq!(matches!(one, Work::Repeat(_)), ran && repeatable);
                }
            }
            if run.state.outcome.is_some() {
                break;
            }
            lawful(&mut run, &mut choices);
        }
    }
}
