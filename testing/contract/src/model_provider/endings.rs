//! MP-1 and MP-2: how an answer ends, and what it used.

use seaworthy_ports::model_provider::{Finish, FinishReason, Kind, ModelError, ModelEvent, Usage};

use super::stage::{call, ended, hello, request, set, texts};
use super::{Answer, Failure, Harness, Step};
use crate::outcome::{Halt, Outcome, holds, same};

/// MP-1.
pub async fn an_answer_has_one_finish_and_it_is_last<H: Harness>(harness: H) -> Outcome {
    let called = [
        Step::text("I look."),
        Step::call(0, "read"),
        Step::arguments(0, "{\"path\":\"a\"}"),
        Step::Finish(FinishReason::ToolCalls),
    ];
    let said = [Step::text("hello"), Step::Finish(FinishReason::Stop)];
    for answer in [Answer::of(said), Answer::of(called)] {
        let (_, seen) = hello(&harness, &answer).await?;
        let seen = seen.well("read a whole answer")?;
        let finishes = seen
            .events
            .iter()
            .filter(|event| matches!(event, ModelEvent::Finish(_)))
            .count();
        let is_last = matches!(seen.events.last(), Some(ModelEvent::Finish(_)));
        holds(
            finishes == 1 && is_last,
            "read a whole answer",
            "one finish, last of all events",
            &seen.events,
        )?;
    }
    Ok(())
}

/// MP-1.
pub async fn an_answer_without_its_terminal_frame_is_interrupted<H: Harness>(
    harness: H,
) -> Outcome {
    let usage = Step::Usage(Usage {
        input_tokens: Some(3),
        output_tokens: Some(2),
        ..Usage::default()
    });
    let called = [Step::call(0, "read"), Step::arguments(0, "{}")];
    for steps in [
        vec![],
        texts(["half an ans"]),
        vec![Step::text("half an ans"), usage],
        called.to_vec(),
    ] {
        let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
        let did = "read an answer whose backend never said that it was done";
        ended(did, &seen, FinishReason::Interrupted)?;
    }
    Ok(())
}

/// MP-1.
pub async fn nothing_follows_an_error<H: Harness>(harness: H) -> Outcome {
    let after = |step: Step| {
        Answer::of([
            Step::text("half"),
            step,
            Step::text("late"),
            Step::Finish(FinishReason::Stop),
        ])
    };
    let answers = [
        Answer::Refuse(Failure::of(Kind::Server)),
        after(Step::Fail(Failure::of(Kind::Server))),
        after(Step::Malformed("damaged".to_owned())),
    ];
    let mut failed = 0_usize;
    for answer in answers {
        let Some(_said) = harness.answer(&answer).await else {
            continue;
        };
        let seen = call(&harness, request(&harness)).await?;
        // Whether it must fail is for other clauses.
        if seen.error.is_some() {
            failed = failed.saturating_add(1);
            let finish = seen.finish().cloned();
            same("read on after an error", seen.late, 0)?;
            same("looked for a finish before an error", finish, None)?;
        }
    }
    if failed == 0 {
        return Err(Halt::NotCheckable("the backend never fails"));
    }
    Ok(())
}

/// MP-2.
pub async fn an_answer_that_is_done_stops<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["done"]), FinishReason::Stop).await
}

/// MP-2.
pub async fn an_answer_with_calls_wants_them_made<H: Harness>(harness: H) -> Outcome {
    let steps = vec![Step::call(0, "read"), Step::arguments(0, "{\"a\":1}")];
    finishes(&harness, steps, FinishReason::ToolCalls).await
}

/// MP-2.
pub async fn an_answer_of_the_greatest_length_says_so<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["so lo"]), FinishReason::Length).await?;
    // Arguments that were cut off are no fault of the model.
    let steps = vec![Step::call(0, "read"), Step::arguments(0, "{\"a\":")];
    finishes(&harness, steps, FinishReason::Length).await
}

/// MP-2.
pub async fn an_answer_that_fills_the_context_says_so<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["so lo"]), FinishReason::ContextLimit).await
}

/// MP-2.
pub async fn a_filtered_answer_says_so<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["let me"]), FinishReason::ContentFilter).await
}

/// MP-2.
pub async fn an_answer_that_declines_is_a_refusal<H: Harness>(harness: H) -> Outcome {
    let steps = vec![Step::Decline("I would rather not.".to_owned())];
    finishes(&harness, steps, FinishReason::Refusal).await
}

/// MP-2.
pub async fn an_answer_that_pauses_says_so<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["wait"]), FinishReason::Pause).await
}

/// MP-2.
pub async fn a_reason_that_nobody_knows_is_other<H: Harness>(harness: H) -> Outcome {
    finishes(&harness, texts(["well"]), FinishReason::Other).await
}

async fn finishes<H: Harness>(harness: &H, mut steps: Vec<Step>, reason: FinishReason) -> Outcome {
    steps.push(Step::Finish(reason));
    let (said, seen) = hello(harness, &Answer::of(steps)).await?;
    let expected = Finish {
        reason,
        raw_reason: said.finish,
    };
    let seen = seen
        .finish()
        .cloned()
        .ok_or(seen.error.as_ref().map(ModelError::kind));
    same(
        format!("read an answer that ends in the backend's words for {reason:?}"),
        seen,
        Ok(expected),
    )
}

/// MP-2.
pub async fn all_parts_of_the_usage_are_counted_once<H: Harness>(harness: H) -> Outcome {
    let whole = Usage {
        input_tokens: Some(1_000),
        cache_read_tokens: Some(300),
        cache_write_tokens: Some(200),
        output_tokens: Some(70),
        reasoning_tokens: Some(40),
    };
    let nothing = Usage {
        input_tokens: Some(9),
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        output_tokens: Some(0),
        reasoning_tokens: Some(0),
    };
    for usage in [whole, nothing] {
        used(&harness, Some(usage)).await?;
    }
    Ok(())
}

/// MP-2.
pub async fn what_the_usage_leaves_out_is_not_zero<H: Harness>(harness: H) -> Outcome {
    let no_details = Usage {
        input_tokens: Some(25),
        output_tokens: Some(7),
        ..Usage::default()
    };
    let input = Usage {
        input_tokens: Some(25),
        cache_read_tokens: Some(5),
        ..Usage::default()
    };
    let output = Usage {
        output_tokens: Some(7),
        reasoning_tokens: Some(3),
        ..Usage::default()
    };
    for usage in [Some(no_details), Some(input), Some(output), None] {
        used(&harness, usage).await?;
    }
    Ok(())
}

async fn used<H: Harness>(harness: &H, usage: Option<Usage>) -> Outcome {
    let steps: Vec<Step> = [Step::text("done")]
        .into_iter()
        .chain(usage.map(Step::Usage))
        .chain([Step::Finish(FinishReason::Stop)])
        .collect();
    set(harness, &Answer::of(steps)).await?;
    let did = "read an answer with its usage";
    let reply = call(harness, request(harness)).await?.reply(did).await?;
    same(did, reply.usage, usage.unwrap_or_default())
}
