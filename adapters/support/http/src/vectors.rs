//! Vectors and scores: calls whose answer is one document.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{
    EmbedRequest, Embedded, Kind, ModelError, RerankRequest, Reranked, Usage,
};

use crate::client::{Connection, base, below};
use crate::exchange::{Exchange, Line, Outgoing};

/// How a provider is asked for vectors.
pub trait Embedding: Send + Sync {
    /// The most that one call may hold.
    fn batch(&self) -> Batch;

    /// Writes a call for the vectors of `texts`.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn outgoing(
        &self,
        connection: &Connection,
        model: &str,
        texts: &[String],
        dimensions: Option<u32>,
    ) -> Result<Outgoing, ModelError>;

    /// Reads an answer. `None`: it is none.
    fn read(&self, body: &[u8]) -> Option<Vectors>;
}

/// How a provider is asked for scores.
pub trait Scoring: Send + Sync {
    /// The most documents of a call.
    fn most_documents(&self) -> usize;

    /// Writes a call for the scores of the documents.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn outgoing(
        &self,
        connection: &Connection,
        request: &RerankRequest,
    ) -> Result<Outgoing, ModelError>;

    /// Reads an answer. `None`: it is none.
    fn read(&self, body: &[u8]) -> Option<Scores>;
}

/// The most that one call may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Texts.
    pub texts: usize,
    /// Bytes of all texts together; a text that is longer is sent alone.
    pub bytes: usize,
}

/// The vectors of one call, each with its text's place in it.
#[derive(Debug, Default)]
pub struct Vectors {
    /// In any order.
    pub vectors: Vec<(usize, Vec<f32>)>,
    /// What the provider counted.
    pub input_tokens: Option<u64>,
}

/// The scores of one call, each with its document's place in it.
#[derive(Debug, Default)]
pub struct Scores {
    /// In any order.
    pub scores: Vec<(usize, f32)>,
    /// What the provider counted.
    pub input_tokens: Option<u64>,
}

/// The address of `segments` below `other`, which is not the connection's own.
///
/// # Errors
///
/// [`Kind::InvalidRequest`]: `other` is no address.
pub fn elsewhere(
    connection: &Connection,
    other: &str,
    segments: &[&str],
) -> Result<Url, ModelError> {
    Ok(below(base(connection.adapter(), other)?, segments))
}

pub(crate) fn exchange(
    line: &Arc<Line>,
    operation: &'static str,
    idle_timeout: Duration,
    cancel: &Latch,
) -> Exchange {
    Exchange {
        line: Arc::clone(line),
        operation,
        idle_timeout,
        cancel: cancel.clone(),
        request_id: None,
    }
}

pub(crate) async fn embed(
    line: &Arc<Line>,
    embedding: &dyn Embedding,
    request: EmbedRequest,
) -> Result<Embedded, ModelError> {
    let mut vectors: Vec<Vec<f32>> = Vec::with_capacity(request.texts.len());
    let mut used = Some(0_u64);
    let mut rest = request.texts.as_slice();
    while !rest.is_empty() {
        let (texts, later) = rest.split_at(embedding.batch().first(rest));
        rest = later;
        let mut exchange = exchange(line, "embed", request.idle_timeout, &request.cancel);
        let connection = &line.connection;
        let outgoing = embedding.outgoing(connection, &request.model, texts, request.dimensions)?;
        let body = exchange.whole(outgoing).await?;
        let answer = embedding.read(&body).unwrap_or_default();
        let Some(some) = in_order(answer.vectors, texts.len()) else {
            let why = "the answer does not hold one vector for each text";
            return Err(exchange.undecodable(why));
        };
        let length = vectors.first().or(some.first()).map_or(0, Vec::len);
        let asked = request
            .dimensions
            .and_then(|asked| usize::try_from(asked).ok());
        let is_right = |vector: &Vec<f32>| {
            !vector.is_empty()
                && vector.len() == asked.unwrap_or(length)
                && vector.iter().all(|number| number.is_finite())
        };
        if !some.iter().all(is_right) {
            let why = "the vectors are not of one length, or not of the one asked for";
            return Err(exchange.undecodable(why));
        }
        vectors.extend(some);
        used = used
            .zip(answer.input_tokens)
            .map(|(one, other)| one.saturating_add(other));
    }
    Ok(Embedded {
        usage: Usage {
            input_tokens: used.filter(|_used| !vectors.is_empty()),
            ..Usage::default()
        },
        vectors,
    })
}

pub(crate) async fn rerank(
    line: &Arc<Line>,
    scoring: &dyn Scoring,
    request: RerankRequest,
) -> Result<Reranked, ModelError> {
    if request.documents.is_empty() {
        return Ok(Reranked {
            scores: Vec::new(),
            usage: Usage::default(),
        });
    }
    let mut exchange = exchange(line, "rerank", request.idle_timeout, &request.cancel);
    let (count, most) = (request.documents.len(), scoring.most_documents());
    if count > most {
        // Scores of two calls would not compare.
        let why = format!("{count} documents are more than the {most} of one call");
        return Err(exchange.refused(Kind::InvalidRequest, why));
    }
    let outgoing = scoring.outgoing(&line.connection, &request)?;
    let body = exchange.whole(outgoing).await?;
    let answer = scoring.read(&body).unwrap_or_default();
    match in_order(answer.scores, count) {
        Some(scores) if scores.iter().all(|score| score.is_finite()) => Ok(Reranked {
            scores,
            usage: Usage {
                input_tokens: answer.input_tokens,
                ..Usage::default()
            },
        }),
        _ => {
            let why = "the answer does not hold one score for each document";
            Err(exchange.undecodable(why))
        }
    }
}

impl Batch {
    /// How many of `texts` the next call holds; at least one.
    fn first(self, texts: &[String]) -> usize {
        let mut bytes = 0_usize;
        let fits = |text: &&String| {
            bytes = bytes.saturating_add(text.len());
            bytes <= self.bytes
        };
        let count = texts.iter().take(self.texts).take_while(fits).count();
        count.max(1)
    }
}

/// One of each place, in order. `None`: a place is missing, twice or not there.
fn in_order<T>(mut placed: Vec<(usize, T)>, count: usize) -> Option<Vec<T>> {
    placed.sort_by_key(|(place, _)| *place);
    let is_each = placed.len() == count
        && placed
            .iter()
            .enumerate()
            .all(|(expected, (place, _))| expected == *place);
    is_each.then(|| placed.into_iter().map(|(_, one)| one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_to_both_limits_and_is_never_empty() {
        let texts: Vec<String> = [3, 3, 3, 50, 1].map(|length| "x".repeat(length)).to_vec();
        let first = |texts_, bytes, from: usize| {
            let batch = Batch {
                texts: texts_,
                bytes,
            };
            batch.first(&texts[from..])
        };
        assert_eq!(first(2, 100, 0), 2);
        assert_eq!(first(9, 9, 0), 3);
        assert_eq!(first(9, 8, 0), 2);
        assert_eq!(first(9, 8, 3), 1);
        assert_eq!(first(9, 100, 0), 5);
    }

    #[test]
    fn each_place_is_taken_once() {
        assert_eq!(in_order(vec![(1, 'b'), (0, 'a')], 2), Some(vec!['a', 'b']));
        assert_eq!(in_order(Vec::<(usize, char)>::new(), 0), Some(vec![]));
        for wrong in [
            vec![(0, 'a')],
            vec![(0, 'a'), (0, 'b')],
            vec![(0, 'a'), (2, 'b')],
        ] {
            assert_eq!(in_order(wrong, 2), None);
        }
        assert_eq!(in_order(vec![(0, 'a'), (1, 'b')], 1), None);
    }
}
