//! Answers, which hold their request's place until all of them is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

/// An answer.
pub(super) type Answer = Response<Held>;

/// A body, and the place of the request that it answers.
pub(super) struct Held {
    body: BoxBody<Bytes, Infallible>,
    _place: Option<OwnedSemaphorePermit>,
}

/// `answer`, which keeps `place` until it was sent or given up.
pub(super) fn held(
    answer: Response<BoxBody<Bytes, Infallible>>,
    place: OwnedSemaphorePermit,
) -> Answer {
    answer.map(|body| Held {
        body,
        _place: Some(place),
    })
}

/// A few words for whoever reads them.
pub(super) fn plain(status: StatusCode, words: impl Into<String>) -> Answer {
    of(status, words.into(), "text/plain; charset=utf-8")
}

/// A document.
pub(super) fn json(status: StatusCode, document: String) -> Answer {
    of(status, document, "application/json")
}

/// A message of the protocol that answers no request in particular.
pub(super) fn error(code: i32, message: &str) -> Answer {
    let error =
        json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    of(
        StatusCode::BAD_REQUEST,
        error.to_string(),
        "application/json",
    )
}

fn of(status: StatusCode, body: String, media_type: &'static str) -> Answer {
    let mut answer = Response::new(Held {
        body: Full::new(Bytes::from(body)).boxed(),
        _place: None,
    });
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
