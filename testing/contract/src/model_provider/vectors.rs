//! MP-12 and MP-13: vectors for texts, and scores for documents.

use std::sync::Arc;

use seaworthy_ports::model_provider::{
    EmbedRequest, Embedded, Kind, ModelError, RerankRequest, Reranked,
};
use seaworthy_ports::{Latch, Retry};

use super::stage::{LONG, set};
use super::{Answer, Failure, Harness, Numbers, RetryAfter, Wrong};
use crate::outcome::{Halt, Outcome, broken, declared, holds, same, within};

/// More than any provider takes at once.
const MANY: u32 = 300;
/// In every text and document.
const CANARY: &str = "canary-in-the-text";
const TOKENS: u64 = 7;

/// Texts of which each holds its number.
fn texts(count: u32) -> Arc<Vec<String>> {
    let texts = (0..count).map(|number| format!("{CANARY} {number}"));
    Arc::new(texts.collect())
}

fn numbers(length: usize, wrong: Option<Wrong>) -> Answer {
    Answer::Numbers(Numbers {
        length,
        tokens: Some(TOKENS),
        wrong,
    })
}

fn has_vectors<H: Harness>(harness: &H) -> bool {
    harness.provider().capabilities(&harness.model()).embeddings
}

fn has_scores<H: Harness>(harness: &H) -> bool {
    harness.provider().capabilities(&harness.model()).rerank
}

/// What is missing, where it is declared to be there.
fn absent(is_declared: bool, what: &'static str) -> Halt {
    if is_declared {
        broken(format!("looked for {what}"), "what is declared", "none")
    } else {
        Halt::NotCheckable("the provider has none")
    }
}

async fn embed<H: Harness>(
    harness: &H,
    change: impl FnOnce(&mut EmbedRequest) + Send,
) -> Result<Result<Embedded, ModelError>, Halt> {
    let provider = harness.provider();
    let embeddings = provider
        .embeddings()
        .ok_or_else(|| absent(has_vectors(harness), "vectors"))?;
    let mut request = EmbedRequest {
        model: harness.model(),
        texts: texts(3),
        dimensions: None,
        idle_timeout: LONG,
        cancel: Latch::never(),
    };
    change(&mut request);
    within("asked for vectors", embeddings.embed(request)).await
}

async fn rerank<H: Harness>(
    harness: &H,
    change: impl FnOnce(&mut RerankRequest) + Send,
) -> Result<Result<Reranked, ModelError>, Halt> {
    let provider = harness.provider();
    let rerank = provider
        .rerank()
        .ok_or_else(|| absent(has_scores(harness), "scores"))?;
    let mut request = RerankRequest {
        model: harness.model(),
        query: format!("{CANARY} which?"),
        documents: texts(3),
        idle_timeout: LONG,
        cancel: Latch::never(),
    };
    change(&mut request);
    within("asked for scores", rerank.rerank(request)).await
}

fn well<T>(came: Result<T, ModelError>, did: &str) -> Result<T, Halt> {
    came.map_err(|error| broken(did, "an answer", error.kind()))
}

fn failed_as<T>(came: Result<T, ModelError>, did: &str, kind: Kind) -> Result<ModelError, Halt> {
    match came {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(broken(did, format!("the error {kind:?}"), error.kind())),
        Ok(_answer) => Err(broken(did, format!("the error {kind:?}"), "an answer")),
    }
}

/// MP-12.
pub async fn every_text_gets_its_vector_in_order<H: Harness>(harness: H) -> Outcome {
    let is_declared = has_vectors(&harness);
    declared("embeddings", is_declared, vectors(&harness).await)
}

async fn vectors<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().embeddings().is_none() {
        return Err(absent(has_vectors(harness), "vectors"));
    }
    set(harness, &numbers(4, None)).await?;
    let did = "asked for the vectors of no texts";
    let none = embed(harness, |request| request.texts = texts(0)).await?;
    same(did, well(none, did)?.vectors.len(), 0)?;
    let made = || harness.requests().map(|requests| requests.len());
    same(
        format!("{did}, and counted the calls"),
        made().unwrap_or(0),
        0,
    )?;
    let did = "asked for the vectors of many texts";
    let many = embed(harness, |request| request.texts = texts(MANY)).await?;
    let many = well(many, did)?;
    let firsts: Vec<Option<f32>> = many
        .vectors
        .iter()
        .map(|vector| vector.first().copied())
        .collect();
    let expected: Vec<Option<f32>> = texts(MANY)
        .iter()
        .map(|text| Some(Numbers::of(text)))
        .collect();
    same(format!("{did}, and read them in order"), firsts, expected)?;
    let is_long = many.vectors.iter().all(|vector| vector.len() == 4);
    holds(is_long, did, "four numbers for each", "another length")?;
    if let (Some(calls), Some(counted)) = (made(), many.usage.input_tokens) {
        let all = u64::try_from(calls)
            .unwrap_or(u64::MAX)
            .saturating_mul(TOKENS);
        same(
            format!("{did}, and added up what was counted"),
            counted,
            all,
        )?;
    }
    let did = "asked for vectors of a length";
    let short = embed(harness, |request| request.dimensions = Some(4)).await?;
    well(short, did).map(|_embedded| ())
}

/// MP-12.
pub async fn vectors_that_are_not_one_for_each_text_are_no_answer<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = has_vectors(&harness);
    declared("embeddings", is_declared, wrong_vectors(&harness).await)
}

async fn wrong_vectors<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().embeddings().is_none() {
        return Err(absent(has_vectors(harness), "vectors"));
    }
    for wrong in [
        Wrong::OneTooFew,
        Wrong::OneTooMany,
        Wrong::Uneven,
        Wrong::Nonsense,
    ] {
        set(harness, &numbers(4, Some(wrong))).await?;
        let did = format!("asked for vectors and was answered wrongly: {wrong:?}");
        let came = embed(harness, |_request| {}).await?;
        failed_as(came, &did, Kind::Decode)?;
    }
    set(harness, &numbers(4, None)).await?;
    let did = "asked for vectors of a length that came with another";
    let came = embed(harness, |request| request.dimensions = Some(3)).await?;
    failed_as(came, did, Kind::Decode).map(|_error| ())
}

/// MP-12, with MP-5, MP-9 and MP-10.
pub async fn a_call_for_vectors_fails_like_any_other<H: Harness>(harness: H) -> Outcome {
    let is_declared = has_vectors(&harness);
    declared("embeddings", is_declared, failing_vectors(&harness).await)
}

async fn failing_vectors<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().embeddings().is_none() {
        return Err(absent(has_vectors(harness), "vectors"));
    }
    for (answer, kind) in failures(harness) {
        set(harness, &answer).await?;
        let did = format!("asked for vectors where the backend is to fail as {kind:?}");
        let came = embed(harness, |request| {
            if kind == Kind::Timeout {
                request.idle_timeout = SHORT;
            }
            if kind == Kind::Cancelled {
                request.cancel = cancelled();
            }
        });
        looked_at(harness, failed_as(came.await?, &did, kind)?, &did)?;
    }
    Ok(())
}

/// MP-13.
pub async fn every_document_gets_its_score_in_order<H: Harness>(harness: H) -> Outcome {
    let is_declared = has_scores(&harness);
    declared("rerank", is_declared, scores(&harness).await)
}

async fn scores<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().rerank().is_none() {
        return Err(absent(has_scores(harness), "scores"));
    }
    set(harness, &numbers(1, None)).await?;
    let did = "asked for the scores of no documents";
    let none = rerank(harness, |request| request.documents = texts(0)).await?;
    same(did, well(none, did)?.scores.len(), 0)?;
    let made = harness.requests().map_or(0, |requests| requests.len());
    same(format!("{did}, and counted the calls"), made, 0)?;
    let did = "asked for the scores of documents";
    let came = rerank(harness, |request| request.documents = texts(20)).await?;
    let expected: Vec<f32> = texts(20).iter().map(|text| Numbers::of(text)).collect();
    same(did, well(came, did)?.scores, expected)
}

/// MP-13.
pub async fn scores_that_are_not_one_for_each_document_are_no_answer<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = has_scores(&harness);
    declared("rerank", is_declared, wrong_scores(&harness).await)
}

async fn wrong_scores<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().rerank().is_none() {
        return Err(absent(has_scores(harness), "scores"));
    }
    for wrong in [Wrong::OneTooFew, Wrong::OneTooMany, Wrong::Nonsense] {
        set(harness, &numbers(1, Some(wrong))).await?;
        let did = format!("asked for scores and was answered wrongly: {wrong:?}");
        let came = rerank(harness, |_request| {}).await?;
        failed_as(came, &did, Kind::Decode)?;
    }
    Ok(())
}

/// MP-13, with MP-5, MP-9 and MP-10.
pub async fn a_call_for_scores_fails_like_any_other<H: Harness>(harness: H) -> Outcome {
    let is_declared = has_scores(&harness);
    declared("rerank", is_declared, failing_scores(&harness).await)
}

async fn failing_scores<H: Harness>(harness: &H) -> Outcome {
    if harness.provider().rerank().is_none() {
        return Err(absent(has_scores(harness), "scores"));
    }
    for (answer, kind) in failures(harness) {
        set(harness, &answer).await?;
        let did = format!("asked for scores where the backend is to fail as {kind:?}");
        let came = rerank(harness, |request| {
            if kind == Kind::Timeout {
                request.idle_timeout = SHORT;
            }
            if kind == Kind::Cancelled {
                request.cancel = cancelled();
            }
        });
        looked_at(harness, failed_as(came.await?, &did, kind)?, &did)?;
    }
    Ok(())
}

const SHORT: std::time::Duration = std::time::Duration::from_millis(100);

/// How a backend fails, and what that is. The messages quote what must not be seen.
fn failures<H: Harness>(harness: &H) -> Vec<(Answer, Kind)> {
    let secret = harness.secrets().into_iter().next().unwrap_or_default();
    let refuse = |kind| {
        Answer::Refuse(Failure {
            message: format!("wrong: {secret} {CANARY}"),
            retry_after: (kind == Kind::RateLimited).then_some(RetryAfter::Seconds(7)),
            ..Failure::of(kind)
        })
    };
    vec![
        (refuse(Kind::Authentication), Kind::Authentication),
        (refuse(Kind::RateLimited), Kind::RateLimited),
        (refuse(Kind::Server), Kind::Server),
        (Answer::HangUp, Kind::Network),
        (Answer::Silence, Kind::Timeout),
        (Answer::Silence, Kind::Cancelled),
    ]
}

/// A latch that is set before the call.
fn cancelled() -> Latch {
    let (setter, latch) = Latch::new();
    setter.set();
    latch
}

fn looked_at<H: Harness>(harness: &H, error: ModelError, did: &str) -> Outcome {
    if error.kind() == Kind::RateLimited {
        let delay = Retry::After(std::time::Duration::from_secs(7));
        same(format!("{did}, and read the delay"), error.retry(), delay)?;
    }
    let shown = format!("{error} {error:?}");
    let hidden = harness.secrets().into_iter().chain([CANARY.to_owned()]);
    for secret in hidden {
        let is_hidden = !shown.contains(&secret);
        holds(
            is_hidden,
            did,
            "an error without key and text",
            "one that shows them",
        )?;
    }
    Ok(())
}
