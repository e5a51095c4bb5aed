//! What a server says of a failure, as a kind of model error.

use seaworthy_http::Complaint;
use seaworthy_http::failure::by_status;
use seaworthy_ports::model_provider::Kind;

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "ollama";

/// A failure has a status and words for people, no code.
pub(crate) fn complaint(status: Option<u16>) -> Complaint {
    Complaint {
        status,
        ..Complaint::of(status.map_or(Kind::Server, by_status))
    }
}
