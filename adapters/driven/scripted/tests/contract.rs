//! The contract suite on the adapter, as far as a script can say what a scenario writes down.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::sync::{Arc, Mutex};

use seaworthy_contract::model_provider::{Answer, Harness, Said, Script, Step};
use seaworthy_ports::async_trait;
use seaworthy_ports::model_provider::{FinishReason, ModelProvider};
use seaworthy_scripted::ScriptedModel;
use seaworthy_system::SystemClock;
use serde_json::{Value, json};

struct Turns(Mutex<ScriptedModel>);

/// A model that says this turn again and again.
fn model(mut turn: Value) -> ScriptedModel {
    turn["repeat"] = json!(1_000);
    // JSON is YAML.
    let script = json!({ "turns": [turn] }).to_string();
    let model = ScriptedModel::from_yaml(&script, "contract.yaml").unwrap();
    model.with_clock(Arc::new(SystemClock::new()))
}

#[async_trait]
impl Harness for Turns {
    async fn start() -> Self {
        Self(Mutex::new(model(json!({}))))
    }

    fn provider(&self) -> Arc<dyn ModelProvider> {
        Arc::new(self.0.lock().unwrap().clone())
    }

    async fn answer(&self, answer: &Answer) -> Option<Said> {
        let turn = match answer {
            Answer::Silence => json!({"text": "late", "latency": "600s"}),
            Answer::Stream(script) => turn(script)?,
            _ => return None,
        };
        *self.0.lock().unwrap() = model(turn);
        // A script has no words of its own for anything.
        Some(Said::default())
    }
}

/// Text, then whole calls, then the end that goes without saying.
fn turn(script: &Script) -> Option<Value> {
    let is_plain =
        script.request_id.is_none() && script.limits.is_none() && script.pieces.is_none();
    let (Some((Step::Finish(reason), steps)), true) = (script.steps.split_last(), is_plain) else {
        return None;
    };
    let (mut text, mut calls) = (String::new(), Vec::<(u32, Value)>::new());
    for step in steps {
        match (step, calls.last_mut()) {
            (Step::Text(more), None) => text += more,
            (Step::Call { call, name }, _) => calls.push((*call, json!({ "tool": name }))),
            (Step::Arguments { call, fragment }, Some((last, open)))
                if call == last && open["arguments"].is_null() =>
            {
                open["arguments"] = serde_json::from_str(fragment).ok()?;
            }
            _ => return None,
        }
    }
    let goes_without_saying = match reason {
        FinishReason::Stop => calls.is_empty(),
        FinishReason::ToolCalls => !calls.is_empty(),
        _ => false,
    };
    let calls: Vec<Value> = calls.into_iter().map(|(_number, call)| call).collect();
    goes_without_saying.then(|| json!({"text": text, "calls": calls}))
}

seaworthy_contract::model_provider_contract! {
    harness: Turns,
    not_checkable: {
        an_answer_without_its_terminal_frame_is_interrupted: "a script has whole turns",
        nothing_follows_an_error: "no turn of a script fails",
        an_answer_of_the_greatest_length_says_so: "a turn has no reason to end but its own end",
        an_answer_that_fills_the_context_says_so: "a turn has no reason to end but its own end",
        a_filtered_answer_says_so: "a turn has no reason to end but its own end",
        an_answer_that_declines_is_a_refusal: "a turn has no reason to end but its own end",
        an_answer_that_pauses_says_so: "a turn has no reason to end but its own end",
        a_reason_that_nobody_knows_is_other: "a turn has no reason to end but its own end",
        all_parts_of_the_usage_are_counted_once: "a script does not say what it used",
        what_the_usage_leaves_out_is_not_zero: "a script does not say what it used",
        interleaved_calls_keep_their_own_arguments: "a script has whole calls",
        arguments_come_in_fragments_of_any_size: "a script has whole calls",
        bytes_may_be_split_anywhere: "a script has whole turns",
        arguments_that_are_no_json_are_malformed: "a script that has such arguments is refused",
        an_item_of_a_call_returns_in_its_place: "a script has no opaque items",
        an_item_of_reasoning_returns_in_its_place: "a script has no opaque items",
        an_item_of_another_provider_is_never_sent: "nothing is sent",
        what_a_tool_shows_reaches_the_backend_behind_its_text: "nothing is sent",
        what_the_user_may_show_a_tool_may_show: "nothing is sent",
        a_wrong_key_is_classified: "a script has no errors",
        a_forbidden_call_is_classified: "a script has no errors",
        a_missing_model_is_classified: "a script has no errors",
        a_wrong_request_is_classified: "a script has no errors",
        a_conversation_that_is_too_long_is_classified: "a script has no errors",
        too_many_calls_are_classified: "a script has no errors",
        a_used_up_quota_is_classified: "a script has no errors",
        an_overloaded_backend_is_classified: "a script has no errors",
        a_failing_backend_is_classified: "a script has no errors",
        a_backend_that_took_too_long_is_classified: "a script has no errors",
        a_filtered_request_is_classified: "a script has no errors",
        a_request_beyond_the_model_is_classified: "a script has no errors",
        a_connection_that_breaks_is_classified: "there is no connection",
        an_error_names_its_request: "a script has no errors",
        an_error_within_a_stream_names_its_request_and_code: "a script has no errors",
        an_error_tells_whether_the_response_had_started: "a script has no errors",
        a_delay_in_seconds_is_kept: "a script has no errors",
        a_delay_until_a_date_is_kept: "a script has no errors",
        what_is_left_of_the_limits_is_told: "a script has no limits",
        an_error_within_a_stream_is_an_error: "a script has no errors",
        an_answer_that_falls_silent_times_out: "a script has whole turns",
        a_slow_reader_is_no_silent_backend: "a script has whole turns",
        an_answer_without_end_is_cut_off: "a script has an end",
        a_frame_without_end_is_cut_off: "a script has an end",
        noise_without_end_is_cut_off: "a script has an end",
        unknown_events_are_skipped: "a script has no events",
        a_malformed_event_is_an_error: "a script has no events",
        an_answer_that_fits_its_schema_is_done: "a script keeps to no output schema, and says so",
        cancelling_ends_an_answer_in_its_middle: "a script has whole turns",
        cancelling_closes_the_connection: "there is no connection",
        dropping_the_stream_closes_the_connection: "there is no connection",
        nothing_is_repeated: "nothing is sent",
        no_key_is_in_an_error_or_in_debug: "there is no key",
        every_text_gets_its_vector_in_order: "a script has no vectors",
        vectors_that_are_not_one_for_each_text_are_no_answer: "a script has no vectors",
        a_call_for_vectors_fails_like_any_other: "a script has no vectors",
        every_document_gets_its_score_in_order: "a script has no scores",
        scores_that_are_not_one_for_each_document_are_no_answer: "a script has no scores",
        a_call_for_scores_fails_like_any_other: "a script has no scores",
        a_call_that_must_be_made_is_asked_for_where_it_is_declared: "nothing is sent",
        everything_of_a_request_is_counted: "a script counts no tokens",
        what_the_backend_counts_is_told_and_is_no_guess: "a script counts no tokens",
        a_parameter_is_asked_for_or_refused: "a script's words are chosen already; nothing is sent",
        a_parameter_that_does_not_exist_is_never_sent: "nothing is sent",
        every_model_is_listed_once_over_bounded_pages: "a script has no list of models",
        a_model_is_told_of_as_far_as_the_backend_does: "a script has no list of models",
        a_model_that_is_not_there_is_not_found: "a script has no list of models",
        a_call_for_models_fails_like_any_other: "a script has no list of models",
    }
}
