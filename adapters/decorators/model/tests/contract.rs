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

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::model_provider::{Answer, Harness, Said};
use seaworthy_fakes::SilentObserver;
use seaworthy_model_decorators::{About, Cassette, Observe, Record, Replay, Timeout};
use seaworthy_ports::model_provider::{ListedModel, ModelProvider};
use seaworthy_ports::{RunId, SpanId, TraceContext, TraceId, async_trait};
use seaworthy_system::SystemClock;
use whole::models::Broken as Whole;

/// A harness whose provider is decorated.
macro_rules! around {
    ($name:ident, $decorate:expr) => {
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
