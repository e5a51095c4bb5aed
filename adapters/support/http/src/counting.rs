//! The tokens of requests: calls whose answer is one number.

use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Kind, ModelError, ModelRequest, Tokens, check_history, check_parameters,
};

use crate::client::Connection;
use crate::exchange::{Line, Outgoing};
use crate::vectors::exchange;

/// How a provider is asked for the tokens of a request.
pub trait Counting: Send + Sync {
    /// Writes a call for the tokens of a request whose history is valid.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError>;

    /// Reads an answer. `None`: it is none.
    fn read(&self, body: &[u8]) -> Option<u64>;
}

pub(crate) async fn count(
    line: &Arc<Line>,
    counting: &dyn Counting,
    request: &ModelRequest,
) -> Result<Tokens, ModelError> {
    let mut exchange = exchange(line, "count", request.idle_timeout, &request.cancel);
    if let Err(fault) = check_history(&request.messages) {
        return Err(exchange.refused(Kind::InvalidRequest, fault.to_string()));
    }
    if let Err(fault) = check_parameters(request) {
        return Err(exchange.refused(Kind::InvalidRequest, fault.to_string()));
    }
    let outgoing = counting.outgoing(&line.connection, request)?;
    let body = exchange.whole(outgoing).await?;
    match counting.read(&body) {
        Some(count) => Ok(Tokens {
            count,
            estimated: false,
        }),
        None => Err(exchange.undecodable("the answer holds no count of tokens")),
    }
}
