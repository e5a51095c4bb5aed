//! The suite of the port on each decorator, around the model that the suite's own tests call without a bug.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

/// What the model's file expects around it.
#[path = "."]
mod whole {
    const fn chosen() -> u8 {
        0
    }

    #[path = "../../../../testing/contract/tests/broken/directory.rs"]
    mod directory;
    #[expect(dead_code, reason = "nobody chooses a bug here")]
    #[path = "../../../../testing/contract/tests/broken/models.rs"]
    pub(crate) mod models;
    #[path = "../../../../testing/contract/tests/broken/vectors.rs"]
    mod vectors;
}

/// A model that writes JSON, and a caller with tools.
mod writing;

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::model_provider::{Answer, Harness, Said, Step};
use seaworthy_fakes::SilentObserver;
use seaworthy_model_decorators::{
    About, Cassette, Observe, Record, Replay, Timeout, ToolsBySchema,
};
use seaworthy_ports::model_provider::{ListedModel, ModelProvider};
use seaworthy_ports::{RunId, SpanId, TraceContext, TraceId, async_trait};
use seaworthy_system::SystemClock;
use whole::models::Broken as Whole;

/// A harness whose provider is decorated, and which says what it has words for: everything, unless told otherwise.
macro_rules! around {
    ($name:ident, $decorate:expr) => {
        around!($name, $decorate, |_answer| true);
    };
    ($name:ident, $decorate:expr, $has_words:expr) => {
        struct $name(Whole);

        #[async_trait]
        impl Harness for $name {
            async fn start() -> Self {
                Self(Whole::start().await)
            }

            fn provider(&self) -> Arc<dyn ModelProvider> {
                let decorate: fn(Arc<dyn ModelProvider>) -> Arc<dyn ModelProvider> = $decorate;
                decorate(self.0.provider())
            }

            async fn answer(&self, answer: &Answer) -> Option<Said> {
                let has_words: fn(&Answer) -> bool = $has_words;
                if !has_words(answer) {
                    return None;
                }
                self.0.answer(answer).await
            }

            async fn count(&self, tokens: u64) -> Option<()> {
                self.0.count(tokens).await
            }

            async fn offers(&self, models: &[ListedModel]) -> Option<Vec<ListedModel>> {
                self.0.offers(models).await
            }

            fn requests(&self) -> Option<Vec<String>> {
                self.0.requests()
            }

            fn hang_ups(&self) -> Option<usize> {
                self.0.hang_ups()
            }

            fn secrets(&self) -> Vec<String> {
                self.0.secrets()
            }
        }
    };
}

around!(Recorded, |inner| Arc::new(Record::new(
    inner,
    Cassette::new()
)));
around!(Replayed, |inner| Arc::new(Replay::or_ask(
    Cassette::new(),
    inner
)));
around!(Timed, |inner| {
    let long = Duration::from_secs(600);
    Arc::new(Timeout::new(
        inner,
        Arc::new(SystemClock::new()),
        long,
        long,
    ))
});
around!(Observed, |inner| {
    let about = About {
        run: RunId::new("r").unwrap(),
        agent: "a".into(),
        session: None,
        within: TraceContext::new(TraceId::of(b"t"), SpanId::of(b"s")),
    };
    let clock = Arc::new(SystemClock::new());
    Arc::new(Observe::new(inner, Arc::new(SilentObserver), clock, about))
});

// Requests without tools in conversations without calls, as most of the suite's are: all goes through.
around!(Passed, |inner| Arc::new(ToolsBySchema::new(inner)));
// The same with tools, so that every answer is JSON.
around!(
    Written,
    |inner| {
        let written = Arc::new(writing::Writes(inner));
        Arc::new(writing::WithTools(Arc::new(ToolsBySchema::new(written))))
    },
    one_thing
);

/// One JSON is an answer or one call.
fn one_thing(answer: &Answer) -> bool {
    let Answer::Stream(script) = answer else {
        return true;
    };
    let says = |step: &&Step| matches!(step, Step::Text(_) | Step::Endless(_));
    let steps = || script.steps.iter();
    let calls = steps().filter(|step| matches!(step, Step::Call { .. }));
    match calls.count() {
        0 => true,
        1 => steps().find(says).is_none(),
        _ => false,
    }
}

mod record {
    seaworthy_contract::model_provider_contract! { harness: crate::Recorded }
}

mod replay {
    seaworthy_contract::model_provider_contract! { harness: crate::Replayed }
}

mod timeout {
    seaworthy_contract::model_provider_contract! { harness: crate::Timed }
}

mod observe {
    seaworthy_contract::model_provider_contract! { harness: crate::Observed }
}

mod tools_by_schema {
    seaworthy_contract::model_provider_contract! { harness: crate::Passed }
}

mod tools_by_schema_in_use {
    seaworthy_contract::model_provider_contract! {
        harness: crate::Written,
        not_checkable: {
            an_answer_has_one_finish_and_it_is_last: "an answer has text or a call, and the scenario has both",
            interleaved_calls_keep_their_own_arguments: "an answer has one call at most",
            bytes_may_be_split_anywhere: "an answer has one call at most",
            a_call_without_arguments_has_an_empty_object: "an answer has one call at most",
            arguments_that_are_no_json_are_malformed: "an answer has one call at most",
            every_fragment_belongs_to_an_open_block: "an answer has one call at most",
            an_item_of_a_call_returns_in_its_place: "an answer has one call at most",
        }
    }
}
