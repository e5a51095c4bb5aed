//! Decorators of models: each is a [`ModelProvider`](seaworthy_ports::model_provider::ModelProvider) around another one, or in
//! place of one.
//!
//! * [`Record`] keeps what a model says in a [`Cassette`], a JSON file without secrets.
//! * [`Replay`] says it again, to the same questions, without the model.
//! * [`Timeout`] ends an answer that takes too long, or falls silent.
//! * [`Observe`] tells an observer of calls that no harness makes.
//! * [`ToolsBySchema`] has a model call tools that knows none, but keeps to a schema.

mod by_schema;
mod cassette;
mod exchange;
mod observe;
mod question;
mod record;
mod replay;
mod scrub;
mod timeout;

pub use by_schema::ToolsBySchema;
pub use cassette::{Cassette, CassetteError};
pub use observe::{About, Observe};
pub use question::Difference;
pub use record::Record;
pub use replay::{Mismatch, Replay};
pub use timeout::Timeout;
