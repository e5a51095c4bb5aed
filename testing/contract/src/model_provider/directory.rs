//! MP-16: the models that a provider has.

use std::time::Duration;

use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{
    Kind, ListModels, ListedModel, LookUpModel, ModelCapabilities, ModelError, ModelPage,
};

use super::stage::{LONG, set};
use super::{Answer, Failure, Harness};
use crate::outcome::{Halt, Outcome, broken, holds, same, within};

/// A silence that a test can wait for.
const SHORT: Duration = Duration::from_millis(100);
/// No backend offers it.
const NOBODY: &str = "nobody-has-this";
const UNOFFERED: Halt = Halt::NotCheckable("the backend cannot be made to offer models");

/// Models of which some is known, and one of which nothing is.
fn offered() -> Vec<ListedModel> {
    (0..5_u64)
        .map(|number| ListedModel {
            id: format!("offered-{number}"),
            context_tokens: (number > 0).then_some(4096 * number),
            max_output_tokens: (number > 0).then_some(512 * number),
            can: if number == 1 {
                ModelCapabilities::NONE
                    .with_tool_use()
                    .with_vision_input()
                    .with_structured_output()
            } else {
                ModelCapabilities::NONE
            },
            cannot: if number == 2 {
                ModelCapabilities::NONE
                    .with_tool_use()
                    .with_vision_input()
                    .with_structured_output()
            } else {
                ModelCapabilities::NONE
            },
        })
        .collect()
}

async fn list<H: Harness>(
    harness: &H,
    change: impl FnOnce(&mut ListModels) + Send,
) -> Result<Result<ModelPage, ModelError>, Halt> {
    let provider = harness.provider();
    let directory = provider.directory().ok_or(NONE)?;
    let mut request = ListModels {
        after: None,
        limit: 100,
        idle_timeout: LONG,
        cancel: Latch::never(),
    };
    change(&mut request);
    within("asked for the models", directory.list(request)).await
}

async fn look_up<H: Harness>(
    harness: &H,
    model: &str,
    change: impl FnOnce(&mut LookUpModel) + Send,
) -> Result<Result<ListedModel, ModelError>, Halt> {
    let provider = harness.provider();
    let directory = provider.directory().ok_or(NONE)?;
    let mut request = LookUpModel {
        model: model.to_owned(),
        idle_timeout: LONG,
        cancel: Latch::never(),
    };
    change(&mut request);
    within("looked up a model", directory.look_up(request)).await
}

const NONE: Halt = Halt::NotDeclared {
    capability: "directory",
    reason: "the provider lists no models",
};

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

/// MP-16.
pub async fn every_model_is_listed_once_over_bounded_pages<H: Harness>(harness: H) -> Outcome {
    if harness.provider().directory().is_none() {
        return Err(NONE);
    }
    harness.offers(&offered()).await.ok_or(UNOFFERED)?;
    let (mut seen, mut after) = (Vec::new(), None);
    let did = "asked for five models, two at a time";
    // One page more than there can be.
    for _page in 0..6 {
        let from = after.clone();
        let page = list(&harness, |request| {
            request.limit = 2;
            request.after = from;
        });
        let page = well(page.await?, did)?;
        holds(page.models.len() <= 2, did, "two at most", &page)?;
        seen.extend(page.models.into_iter().map(|model| model.id));
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    let expected: Vec<String> = offered().into_iter().map(|model| model.id).collect();
    same(did, seen, expected)?;
    let did = "asked for all models at once";
    let all = well(list(&harness, |_request| {}).await?, did)?;
    same(did, (all.models.len(), all.after), (5, None))?;
    for limit in [0, 1001] {
        let did = format!("asked for {limit} models");
        let came = list(&harness, |request| request.limit = limit).await?;
        failed_as(came, &did, Kind::InvalidRequest)?;
    }
    Ok(())
}

/// MP-16.
pub async fn a_model_is_told_of_as_far_as_the_backend_does<H: Harness>(harness: H) -> Outcome {
    if harness.provider().directory().is_none() {
        return Err(NONE);
    }
    let told = harness.offers(&offered()).await.ok_or(UNOFFERED)?;
    for expected in told {
        let did = format!("looked up {}", expected.id);
        let came = look_up(&harness, &expected.id, |_request| {}).await?;
        same(&did, well(came, &did)?, expected)?;
    }
    Ok(())
}

/// MP-16.
pub async fn a_model_that_is_not_there_is_not_found<H: Harness>(harness: H) -> Outcome {
    if harness.provider().directory().is_none() {
        return Err(NONE);
    }
    harness.offers(&offered()).await.ok_or(UNOFFERED)?;
    let came = look_up(&harness, NOBODY, |_request| {}).await?;
    failed_as(came, "looked up a model that is not there", Kind::NotFound)?;
    Ok(())
}

/// MP-16, with MP-5, MP-9 and MP-10.
pub async fn a_call_for_models_fails_like_any_other<H: Harness>(harness: H) -> Outcome {
    if harness.provider().directory().is_none() {
        return Err(NONE);
    }
    let secret = harness.secrets().into_iter().next().unwrap_or_default();
    let refuse = |kind| {
        Answer::Refuse(Failure {
            message: format!("wrong: {secret}"),
            ..Failure::of(kind)
        })
    };
    for (answer, kind) in [
        (refuse(Kind::Authentication), Kind::Authentication),
        (refuse(Kind::RateLimited), Kind::RateLimited),
        (refuse(Kind::Server), Kind::Server),
        (Answer::HangUp, Kind::Network),
        (Answer::Silence, Kind::Timeout),
        (Answer::Silence, Kind::Cancelled),
    ] {
        set(&harness, &answer).await?;
        let did = format!("asked for models where the backend is to fail as {kind:?}");
        let (setter, latch) = Latch::new();
        if kind == Kind::Cancelled {
            setter.set();
        }
        let idle_timeout = if kind == Kind::Timeout { SHORT } else { LONG };
        let listed = list(&harness, |request| {
            request.cancel = latch.clone();
            request.idle_timeout = idle_timeout;
        });
        let found = look_up(&harness, "offered-0", |request| {
            request.cancel = latch.clone();
            request.idle_timeout = idle_timeout;
        });
        let errors = [
            failed_as(listed.await?, &did, kind)?,
            failed_as(found.await?, &did, kind)?,
        ];
        let shown = format!("{errors:?}");
        let is_hidden = harness
            .secrets()
            .iter()
            .all(|secret| !shown.contains(secret));
        holds(
            is_hidden,
            &did,
            "errors without the key",
            "one that shows it",
        )?;
    }
    Ok(())
}
