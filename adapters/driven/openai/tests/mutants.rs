//! The test of the hostile servers: the adapter behind a wrapper with one bug, and a scenario that must fail for it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use std::sync::Arc;
use std::time::Duration;

use dialect::{Chat, Responses};
use futures_util::StreamExt as _;
use seaworthy_contract::http::{self, Dialect, Refusal};
use seaworthy_contract::model_provider::{Failure, Flood, Step};
use seaworthy_contract::suite::block_on;
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Finish, FinishReason, Kind, ModelCapabilities, ModelError,
    ModelEvent, ModelProvider, ModelRequest, RateLimits, Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError};

const NONE: u8 = 0;
const INTERRUPTED_IS_DONE: u8 = 1;
const BREAKS_ARE_ENDS: u8 = 2;
const DAMAGE_IS_SKIPPED: u8 = 3;
const FAILURES_ARE_SKIPPED: u8 = 4;
const NEVER_STARTED: u8 = 5;
const NO_DELAYS: u8 = 6;
const SILENCE_IS_A_BREAK: u8 = 7;
const LOOSE_CAPS: u8 = 8;
const REDIRECTS_ARE_FAILURES: u8 = 9;
const ERRORS_ARE_SILENT: u8 = 10;
const NO_PATIENCE: u8 = 11;
const NO_STATUS: u8 = 12;

#[derive(Debug)]
struct Faulty<const BUG: u8>(Arc<dyn ModelProvider>);

type Item = Result<ModelEvent, ModelError>;

fn ended(reason: FinishReason) -> Item {
    Ok(ModelEvent::Finish(Finish {
        reason,
        raw_reason: None,
    }))
}

fn instead(kind: Kind, error: ModelError) -> Item {
    Err(ModelError {
        error: PortError::new(kind, "mutant", "stream", "it went wrong"),
        ..error
    })
}

fn changed<const BUG: u8>(item: Item) -> Item {
    match item {
        Ok(ModelEvent::Finish(finish))
            if BUG == INTERRUPTED_IS_DONE && finish.reason == FinishReason::Interrupted =>
        {
            ended(FinishReason::Stop)
        }
        Err(error) => match (BUG, error.kind()) {
            (BREAKS_ARE_ENDS, Kind::Network) => ended(FinishReason::Interrupted),
            (DAMAGE_IS_SKIPPED, Kind::Decode) => ended(FinishReason::Stop),
            (FAILURES_ARE_SKIPPED, _) if error.status == Some(200) || error.response_started => {
                ended(FinishReason::Stop)
            }
            (NEVER_STARTED, _) => Err(ModelError {
                response_started: false,
                ..error
            }),
            (NO_DELAYS, kind) => instead(kind, error),
            (SILENCE_IS_A_BREAK, Kind::Timeout) => instead(Kind::Network, error),
            (REDIRECTS_ARE_FAILURES, Kind::NotFound) => instead(Kind::Server, error),
            (ERRORS_ARE_SILENT, Kind::Server) => instead(Kind::Timeout, error),
            (NO_STATUS, Kind::Decode) => instead(Kind::Network, error),
            _ => Err(error),
        },
        other => other,
    }
}

impl<const BUG: u8> ModelProvider for Faulty<BUG> {
    fn info(&self) -> AdapterInfo {
        self.0.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.0.capabilities(model)
    }

    fn stream(&self, mut request: ModelRequest) -> BoxStream<'static, Item> {
        if BUG == NO_PATIENCE {
            request.idle_timeout = Duration::ZERO;
        }
        self.0.stream(request).map(changed::<BUG>).boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.0.tokens()
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.0.directory()
    }
}

/// The same words, and a provider with a bug.
#[derive(Default)]
struct Mutant<D, const BUG: u8>(D);

impl<D: Dialect, const BUG: u8> Dialect for Mutant<D, BUG> {
    const KEY: &'static str = D::KEY;

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let by = if BUG == LOOSE_CAPS { 2 } else { 1 };
        let inner = D::provider(url, frame_bytes * by, stream_bytes * by);
        Arc::new(Faulty::<BUG>(inner))
    }

    fn content_type() -> &'static str {
        D::content_type()
    }

    fn whole() -> &'static [u8] {
        D::whole()
    }

    fn terminal() -> &'static [u8] {
        D::terminal()
    }

    fn beginning() -> &'static [u8] {
        D::beginning()
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        D::failures()
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        D::wrong_types()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        D::frame_with(bytes)
    }

    fn limited() -> String {
        D::limited()
    }

    fn refusal(failure: &Failure) -> Option<Refusal> {
        D::refusal(failure)
    }

    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String> {
        D::headers(request_id, limits)
    }

    fn reason(reason: FinishReason) -> Option<&'static str> {
        D::reason(reason)
    }

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        self.0.step(step, body)
    }

    fn endless(&mut self, flood: Flood, body: &mut String) -> String {
        self.0.endless(flood, body)
    }

    fn end(&mut self, body: &mut String) -> Option<()> {
        self.0.end(body)
    }
}

/// A scenario that must fail on the mutant, and hold without its bug.
macro_rules! caught {
    ($($name:ident: $bug:ident in $scenario:ident;)*) => {
        $(
            #[test]
            fn $name() {
                block_on(http::$scenario::<Mutant<Chat, NONE>>());
                let mutant = || block_on(http::$scenario::<Mutant<Chat, $bug>>());
                let came = std::panic::catch_unwind(mutant);
                assert!(came.is_err(), "the scenario holds on the mutant");
            }
        )*
    };
}

caught! {
    an_answer_cut_short_that_is_done: INTERRUPTED_IS_DONE in an_answer_may_end_at_every_byte;
    a_break_that_is_an_end: BREAKS_ARE_ENDS in a_connection_may_break_at_every_byte;
    a_reset_that_is_an_end: BREAKS_ARE_ENDS in a_reset_is_a_broken_connection;
    headers_without_end_that_are_an_answer: BREAKS_ARE_ENDS in headers_without_end_are_no_answer;
    wrong_types_that_are_skipped: DAMAGE_IS_SKIPPED in frames_of_wrong_types_are_malformed;
    bytes_that_are_skipped: DAMAGE_IS_SKIPPED in bytes_that_are_no_letters_are_malformed;
    pages_that_break_connections: NO_STATUS in what_is_no_answer_is_none;
    failures_that_are_skipped: FAILURES_ARE_SKIPPED in an_error_after_success_is_an_error;
    a_response_that_never_started: NEVER_STARTED in an_error_after_success_is_an_error;
    a_delay_that_nobody_reads: NO_DELAYS in every_form_of_a_delay_is_understood;
    a_silence_that_is_a_break: SILENCE_IS_A_BREAK in a_drip_that_stops_is_silence;
    a_drip_that_is_a_silence: NO_PATIENCE in an_answer_that_drips_is_not_silent;
    a_cap_on_frames_that_is_loose: LOOSE_CAPS in a_frame_beyond_the_cap_is_cut_off;
    a_cap_on_answers_that_is_loose: LOOSE_CAPS in an_answer_beyond_the_cap_is_cut_off;
    a_redirect_that_is_a_failure: REDIRECTS_ARE_FAILURES in a_redirect_is_not_followed;
    an_error_body_that_is_waited_for: ERRORS_ARE_SILENT in an_error_body_without_end_is_not_waited_for;
}

/// The other interface has a reader of its own.
#[test]
fn failures_that_are_skipped_in_the_other_interface() {
    block_on(http::an_error_after_success_is_an_error::<
        Mutant<Responses, NONE>,
    >());
    let mutant = || {
        block_on(http::an_error_after_success_is_an_error::<
            Mutant<Responses, FAILURES_ARE_SKIPPED>,
        >());
    };
    assert!(std::panic::catch_unwind(mutant).is_err());
}
