//! The fold and the machine: no runtime, no ports, only events.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

mod support;

use seaworthy_core::context::Cause;
use seaworthy_core::event::{Decision, Event, Resolution, WaitReason};
use seaworthy_core::machine::{self, MAX_BARREN_ATTEMPTS, Step, Work};
use seaworthy_core::state::{CallStatus, Phase, RunState, Status};
use seaworthy_core::tool::SideEffect::{Idempotent, NonIdempotent, ReadOnly};
use seaworthy_ports::model_provider::{Block, Role, check_history};
use serde_json::json;
use support::{Run, call_id};

#[test]
fn a_new_run_is_queued_and_wants_the_model() {
    let run = Run::submitted();
    assert_eq!(run.state.status(), Status::Queued);
    assert_eq!(machine::next(&run.state), Step::CallModel);
}

#[test]
fn tools_of_servers_are_listed_while_the_model_has_the_word_and_change_only_if_the_run_has_them() {
    let changed = || Event::ToolChanged(Box::new(support::served("Does it.")));
    let mut run = Run::acting(&[ReadOnly]);
    assert!(run.apply(support::listed(&[])).is_err(), "calls are open");
    assert!(run.apply(changed()).is_err(), "nothing was listed");
    let mut run = Run::submitted();
    run.attempt();
    run.apply(support::listed(&[])).unwrap();
    assert!(run.apply(changed()).is_err(), "it is not among them");
    run.apply(support::listed(&[support::served("Did it.")]))
        .unwrap();
    run.apply(changed()).unwrap();
    assert_eq!(run.state.catalogue.unwrap().changed.len(), 1);
}

#[test]
fn an_answer_without_calls_ends_the_run_with_its_text() {
    let mut run = Run::submitted();
    run.attempt();
    run.model("done", &[]);
    assert_eq!(machine::next(&run.state), Step::Answer("done".to_owned()));
    run.apply(Event::RunSucceeded {
        output: "done".to_owned(),
    })
    .unwrap();
    assert_eq!(run.state.status(), Status::Succeeded);
    assert_eq!(machine::next(&run.state), Step::Ended);
}

#[test]
fn an_answer_that_is_rejected_goes_back_to_the_model_and_is_counted_until_the_run_is_reopened() {
    let rejected = || Event::AnswerRejected {
        faults: vec!["/n: is no number".to_owned()],
        message: "mend it".to_owned(),
    };
    let mut run = Run::submitted();
    run.attempt();
    assert!(run.apply(rejected()).is_err(), "nothing was answered yet");
    run.model("three", &[]);
    run.apply(rejected()).unwrap();
    assert_eq!(machine::next(&run.state), Step::CallModel);
    assert_eq!(run.state.messages.last().unwrap().text(), "mend it");
    // One that was given by calls is told of it in their results.
    run.model("", &[ReadOnly, ReadOnly]);
    run.apply(rejected()).unwrap();
    assert_eq!(machine::next(&run.state), Step::CallModel);
    assert_eq!(check_history(&run.state.messages), Ok(()));
    let told = run.state.messages.last().unwrap();
    assert!(told.blocks.iter().all(
        |block| matches!(block, Block::ToolResult(result) if result.is_error && result.content == "mend it")
    ));
    assert_eq!((run.state.rejected, run.state.calls.len()), (2, 0));
    // What is being worked on is no answer any more.
    run.model("", &[ReadOnly]);
    run.propose(1, ReadOnly, Decision::Allow);
    assert!(run.apply(rejected()).is_err());
    run.apply(Event::RunFailed {
        code: "invalid_answer".to_owned(),
        message: String::new(),
    })
    .unwrap();
    run.apply(Event::RunReopened {
        by: "me".to_owned(),
    })
    .unwrap();
    assert_eq!(run.state.rejected, 0);
}

#[test]
fn results_of_parallel_calls_reach_the_model_in_the_order_of_the_calls() {
    let mut run = Run::acting(&[ReadOnly, Idempotent, NonIdempotent]);
    for number in [1, 2, 3] {
        run.apply(Event::ToolStarted {
            call: call_id(number),
        })
        .unwrap();
    }
    for number in [3, 1, 2] {
        assert!(matches!(run.state.phase, Phase::Acting { .. }));
        run.succeed(number, json!(format!("result {number}")));
    }
    assert_eq!(run.state.phase, Phase::Thinking);
    let last = run.state.messages.last().unwrap();
    assert_eq!(last.role, Role::User);
    let contents: Vec<_> = last
        .blocks
        .iter()
        .map(|block| match block {
            Block::ToolResult(result) => result.content.as_str(),
            _ => "no result",
        })
        .collect();
    assert_eq!(contents, ["result 1", "result 2", "result 3"]);
    assert_eq!(machine::next(&run.state), Step::CallModel);
}

/// A log is appended to as a whole, so nobody writes one that ends there; what was asked for is proposed all the same.
#[test]
fn calls_that_were_not_proposed_are_before_anything_else_happens() {
    let mut run = Run::submitted();
    run.attempt();
    run.model("", &[ReadOnly, ReadOnly]);
    assert_eq!(machine::next(&run.state), Step::Propose);
    for decision in [Decision::Deny, Decision::Allow] {
        let mut run = run.clone();
        run.propose(1, ReadOnly, decision);
        assert!(run.state.lacks_proposals());
        assert_eq!(machine::next(&run.state), Step::Propose, "{decision:?}");
        run.propose(2, ReadOnly, Decision::Deny);
        assert!(!run.state.lacks_proposals());
        assert_ne!(machine::next(&run.state), Step::Propose, "{decision:?}");
    }
}

#[test]
fn nothing_is_proposed_but_what_the_answer_asks_for_in_its_order() {
    let mut run = Run::submitted();
    run.attempt();
    run.model("", &[ReadOnly, ReadOnly]);
    run.propose(1, ReadOnly, Decision::Allow);
    let Event::ToolProposed(first) = run.events[run.events.len() - 2].0.clone() else {
        panic!("a call was proposed");
    };
    let again = |wish: &str| {
        let mut proposal = first.clone();
        proposal.call = call_id(2);
        proposal.provider_call = wish.to_owned();
        Event::ToolProposed(proposal)
    };
    run.apply(again(&first.provider_call)).unwrap_err();
    run.apply(again("nobody asked for")).unwrap_err();
    run.propose(2, ReadOnly, Decision::Allow);
    let mut third = first.clone();
    third.call = call_id(3);
    run.apply(Event::ToolProposed(third)).unwrap_err();
}

#[test]
fn after_a_crash_only_unfinished_calls_are_worked_on_each_by_its_side_effect() {
    let mut run = Run::acting(&[ReadOnly, Idempotent, NonIdempotent, NonIdempotent]);
    for number in [1, 2, 3] {
        run.apply(Event::ToolStarted {
            call: call_id(number),
        })
        .unwrap();
    }
    run.succeed(1, json!(1));
    run.attempt();
    let expected = vec![
        Work::Repeat(call_id(2)),
        Work::Verify(call_id(3)),
        Work::Start(call_id(4)),
    ];
    assert_eq!(machine::next(&run.state), Step::Work(expected));
}

#[test]
fn a_call_in_doubt_waits_until_somebody_knows() {
    let mut run = Run::acting(&[NonIdempotent]);
    run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
    run.attempt();
    run.apply(Event::ToolInDoubt {
        call: call_id(1),
        reason: "?".to_owned(),
    })
    .unwrap();
    assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::InDoubt));
    let mut happened = run.clone();
    let resolution = Resolution::Happened {
        output: json!("sent"),
    };
    happened
        .apply(Event::ToolResolved {
            call: call_id(1),
            resolution,
            by: "me".to_owned(),
        })
        .unwrap();
    assert_eq!(machine::next(&happened.state), Step::CallModel);
    let resolution = Resolution::DidNotHappen;
    run.apply(Event::ToolResolved {
        call: call_id(1),
        resolution,
        by: "me".to_owned(),
    })
    .unwrap();
    assert_eq!(
        machine::next(&run.state),
        Step::Work(vec![Work::Start(call_id(1))])
    );
}

#[test]
fn an_approval_is_for_one_proposal_and_is_answered_once() {
    let mut run = Run::asking();
    assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Approval));
    let right = run.state.call(&call_id(1)).unwrap().proposal.proposal;
    let wrong = seaworthy_ports::Digest::of(b"another proposal");
    assert!(run.apply(support::answer(1, wrong, true)).is_err());
    assert!(
        run.apply(Event::ToolStarted { call: call_id(1) }).is_err(),
        "it started without approval"
    );
    run.apply(support::answer(1, right, true)).unwrap();
    assert!(
        run.apply(support::answer(1, right, false)).is_err(),
        "it was answered twice"
    );
    assert_eq!(
        machine::next(&run.state),
        Step::Work(vec![Work::Start(call_id(1))])
    );
    run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
    assert!(
        run.state
            .call(&call_id(1))
            .unwrap()
            .approval
            .as_ref()
            .unwrap()
            .used
    );
}

#[test]
fn a_denial_is_the_answer_the_model_gets() {
    let mut run = Run::asking();
    let proposal = run.state.call(&call_id(1)).unwrap().proposal.proposal;
    run.apply(support::answer(1, proposal, false)).unwrap();
    assert_eq!(machine::next(&run.state), Step::CallModel);
    assert_eq!(
        run.state.call(&call_id(1)).unwrap().status.as_str(),
        "failed_no_effect"
    );
}

#[test]
fn attempts_that_leave_nothing_behind_are_stopped() {
    let mut run = Run::acting(&[ReadOnly]);
    run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
    for _attempt in 0..MAX_BARREN_ATTEMPTS {
        run.attempt();
        assert!(matches!(machine::next(&run.state), Step::Work(_)));
    }
    run.attempt();
    assert!(matches!(
        machine::next(&run.state),
        Step::Fail {
            code: "crash_loop",
            ..
        }
    ));
    run.apply(Event::RunFailed {
        code: "crash_loop".to_owned(),
        message: String::new(),
    })
    .unwrap();
    run.apply(Event::RunReopened {
        by: "me".to_owned(),
    })
    .unwrap();
    run.attempt();
    assert!(
        matches!(machine::next(&run.state), Step::Work(_)),
        "reopening gives it new attempts"
    );
}

#[test]
fn model_turns_are_limited_and_reopening_gives_as_many_again() {
    let mut run = Run::submitted();
    run.attempt();
    for number in 1..=support::MAX_TURNS {
        run.model("more", &[ReadOnly]);
        run.propose(number, ReadOnly, Decision::Allow);
        run.apply(Event::ToolStarted {
            call: call_id(number),
        })
        .unwrap();
        run.succeed(number, json!(null));
    }
    assert!(matches!(
        machine::next(&run.state),
        Step::Fail {
            code: "max_turns",
            ..
        }
    ));
    run.apply(Event::RunFailed {
        code: "max_turns".to_owned(),
        message: String::new(),
    })
    .unwrap();
    run.apply(Event::RunReopened {
        by: "me".to_owned(),
    })
    .unwrap();
    assert_eq!(machine::next(&run.state), Step::CallModel);
}

#[test]
fn nothing_follows_the_end_but_reopening_a_failed_run() {
    for end in [
        Event::RunSucceeded {
            output: String::new(),
        },
        Event::RunCancelled {
            by: "me".to_owned(),
            reason: None,
        },
    ] {
        let mut run = Run::acting(&[NonIdempotent]);
        run.apply(end).unwrap();
        assert!(run.apply(Event::ToolStarted { call: call_id(1) }).is_err());
        assert!(
            run.apply(Event::RunReopened {
                by: "me".to_owned()
            })
            .is_err()
        );
    }
}

#[test]
fn a_call_that_ran_when_the_run_was_cancelled_is_in_doubt() {
    let mut run = Run::acting(&[NonIdempotent, Idempotent]);
    run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
    run.apply(Event::ToolStarted { call: call_id(2) }).unwrap();
    run.apply(Event::RunCancelled {
        by: "me".to_owned(),
        reason: None,
    })
    .unwrap();
    let status = |number| run.state.call(&call_id(number)).unwrap().status.clone();
    assert!(matches!(status(1), CallStatus::InDoubt { .. }));
    assert!(matches!(status(2), CallStatus::Running { .. }));
}

#[test]
fn a_refused_event_leaves_the_state_as_it_was() {
    let mut run = Run::acting(&[NonIdempotent]);
    let before = run.state.clone();
    assert!(
        run.apply(Event::ToolSucceeded {
            call: call_id(1),
            output: json!(1),
            duration_ms: 0,
            media: Vec::new(),
        })
        .is_err()
    );
    assert!(run.apply(Event::ToolStarted { call: call_id(9) }).is_err());
    assert!(
        run.apply(Event::RunReopened {
            by: "me".to_owned()
        })
        .is_err()
    );
    assert_eq!(run.state, before);
}

#[test]
fn a_snapshot_and_the_rest_fold_to_the_same_state_at_every_cut() {
    let run = Run::long();
    let whole = RunState::clone(&run.state);
    for cut in 1..run.events.len() {
        let early = run.replay(..cut);
        let stored = serde_json::to_vec(&early).unwrap();
        let mut restored: RunState = serde_json::from_slice(&stored).unwrap();
        for (event, stamp) in &run.events[cut..] {
            restored.apply(event.clone(), *stamp).unwrap();
        }
        assert_eq!(restored, whole, "cut at {cut}");
    }
}

#[test]
fn the_conversation_is_one_a_provider_accepts_whenever_the_model_has_the_word() {
    let run = Run::long();
    for cut in 1..=run.events.len() {
        let state = run.replay(..cut);
        if machine::next(&state) == Step::CallModel {
            check_history(&state.messages).unwrap();
        }
    }
}

/// A run that called two tools, one after the other, and has the word again.
fn worked() -> Run {
    let mut run = Run::submitted();
    run.attempt();
    for number in 1..=2 {
        run.model("more", &[ReadOnly]);
        run.propose(number, ReadOnly, Decision::Allow);
        run.apply(Event::ToolStarted {
            call: call_id(number),
        })
        .unwrap();
        run.succeed(number, json!(null));
    }
    run
}

#[test]
fn a_summary_stands_for_the_older_messages_and_the_task_stays_word_for_word() {
    let mut run = worked();
    let whole = run.state.conversation(&[]);
    assert!(whole == *run.state.messages);
    run.apply(support::compacted(3, 0)).unwrap();
    let shown = run.state.conversation(&[]);
    assert_eq!(shown.len(), 3);
    assert!(shown[1..] == whole[3..]);
    let head = shown[0].text();
    assert!(
        head.contains("so far, so good") && head.ends_with("go"),
        "{head}"
    );
    assert!(
        whole == *run.state.messages,
        "the run's own messages are whole"
    );
    assert_eq!(run.state.usage.input_tokens, Some(2 + 7));
}

#[test]
fn a_summary_of_the_session_alone_leaves_the_run_as_it_is() {
    let mut run = worked();
    run.apply(support::compacted(0, 1)).unwrap();
    let session = [
        seaworthy_ports::model_provider::Message::user("old"),
        seaworthy_ports::model_provider::Message::user("newer"),
    ];
    let shown = run.state.conversation(&session);
    assert_eq!(shown.len(), 2 + run.state.messages.len());
    assert!(
        !shown[0].text().ends_with("go"),
        "the task is not told twice"
    );
}

#[test]
fn a_summary_parts_no_call_from_its_result_and_stands_for_what_there_is() {
    let run = worked();
    for own in [2, 4, 6, u64::MAX] {
        assert!(
            run.clone().apply(support::compacted(own, 0)).is_err(),
            "{own} messages"
        );
    }
    assert!(run.clone().apply(support::compacted(0, 0)).is_err());
    let mut run = run;
    run.apply(support::compacted(3, 0)).unwrap();
    assert!(run.apply(support::compacted(1, 0)).is_err(), "it goes back");
    assert!(
        run.apply(support::compacted(3, 0)).is_err(),
        "it is the same"
    );
}

#[test]
fn a_conversation_is_only_shortened_while_the_model_has_the_word() {
    let mut run = Run::acting(&[ReadOnly]);
    assert!(run.apply(support::compacted(1, 0)).is_err());
    assert!(run.apply(support::not_compacted(Cause::Limit)).is_err());
}

#[test]
fn after_a_try_the_conversation_grows_by_a_quarter_before_the_next() {
    let mut run = worked();
    let due = |run: &Run, tokens| run.state.context.is_due(50, tokens);
    assert!(!due(&run, 50));
    assert!(due(&run, 51));
    run.apply(support::not_compacted(Cause::Limit)).unwrap();
    assert!(!due(&run, 125));
    assert!(due(&run, 126));
}

#[test]
fn a_refused_conversation_is_shortened_once_for_each_length() {
    let mut run = worked();
    let may = |run: &Run| run.state.context.may_be_refused(run.state.messages.len());
    assert!(may(&run));
    run.apply(support::not_compacted(Cause::Limit)).unwrap();
    assert!(may(&run), "that was for another reason");
    run.apply(support::not_compacted(Cause::Refused)).unwrap();
    assert!(!may(&run));
    let mut longer = run.clone();
    longer.model("done", &[]);
    assert!(may(&longer));
    run.apply(Event::RunFailed {
        code: "model_context_length".to_owned(),
        message: String::new(),
    })
    .unwrap();
    run.apply(Event::RunReopened {
        by: "me".to_owned(),
    })
    .unwrap();
    assert!(may(&run), "whoever reopens it wants it tried again");
}

#[test]
fn a_task_is_asked_after_once_in_each_attempt_and_only_about_itself() {
    let mut run = Run::submitted();
    run.attempt();
    run.model("", &[NonIdempotent]);
    run.propose(1, NonIdempotent, Decision::Allow);
    let call = call_id(1);
    run.apply(Event::ToolStarted { call: call.clone() })
        .unwrap();
    run.apply(support::deferred(call.clone(), "task")).unwrap();
    assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Task));
    assert!(run.state.next_poll().is_some());
    assert_eq!(run.state.barren, 0, "a task is something");

    run.attempt();
    let poll = Step::Work(vec![Work::Poll(call.clone())]);
    assert_eq!(machine::next(&run.state), poll);
    assert!(
        run.apply(support::deferred(call.clone(), "another"))
            .is_err()
    );
    // Twice would not be as good as once.
    assert!(
        run.apply(Event::ToolStarted { call: call.clone() })
            .is_err()
    );
    run.apply(support::deferred(call.clone(), "task")).unwrap();
    match &run.state.call(&call).unwrap().status {
        CallStatus::Deferred(task) => assert_eq!((task.polls, task.polled_in), (1, 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Task));
}

#[test]
fn a_person_is_waited_for_before_a_task_is() {
    let mut run = Run::submitted();
    run.attempt();
    run.model("", &[ReadOnly, NonIdempotent]);
    run.propose(1, ReadOnly, Decision::RequireApproval);
    run.propose(2, NonIdempotent, Decision::Allow);
    let call = call_id(2);
    run.apply(Event::ToolStarted { call: call.clone() })
        .unwrap();
    run.apply(support::deferred(call, "task")).unwrap();
    assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Approval));
}
