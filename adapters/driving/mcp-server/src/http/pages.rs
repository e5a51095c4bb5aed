//! What browsers are told so that they let web pages of other origins call: CORS. Whether a page may is decided before.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

use super::answer::{Answer, plain};

/// What pages may send besides what every page may.
const SENT: &str = "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id";
/// What pages may read besides what every page may.
const READ: &str = "retry-after, www-authenticate";

/// The answer to a browser that asks whether a page may call. It shows no token: it asks before the page does.
pub(super) fn asked<B>(request: &Request<B>) -> Option<Answer> {
    let headers = request.headers();
    let is_asking = request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    is_asking.then(|| {
        let mut answer = plain(StatusCode::NO_CONTENT, "");
        let told = answer.headers_mut();
        told.remove(header::CONTENT_TYPE);
        set(told, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
        set(told, header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
        set(told, header::ACCESS_CONTROL_MAX_AGE, "600");
        answer
    })
}

/// Lets pages of `origin` read the answer.
pub(super) fn open(answer: &mut Answer, origin: HeaderValue) {
    let told = answer.headers_mut();
    told.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    set(told, header::ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    set(told, header::VARY, "origin");
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
