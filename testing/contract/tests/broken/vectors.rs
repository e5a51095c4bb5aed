//! Vectors and scores of the broken model provider.

use std::time::Duration;

use seaworthy_contract::model_provider::{Answer, Numbers};
use seaworthy_ports::model_provider::{
    EmbedRequest, Embedded, Embeddings, Kind, ModelError, Rerank, RerankRequest, Reranked, Usage,
};
use seaworthy_ports::{Latch, async_trait};

use super::models::{
    ANY_LENGTH, ANY_SCORES, ANY_VECTORS, DEAF_TO_SCORES, FIRST_VECTORS, Model, QUOTES_TEXTS,
    SCORES_AS_THEY_COME, VECTORS_AS_THEY_COME, error_of, refused_by,
};

/// The most texts of a call.
const BATCH: usize = 100;

impl Model {
    /// One call of the backend, which is seen there.
    async fn asked(
        &self,
        texts: &[String],
        idle_timeout: Duration,
        cancel: &Latch,
    ) -> Result<Numbers, ModelError> {
        if cancel.is_set() {
            return Err(error_of(Kind::Cancelled, "cancelled"));
        }
        let answer = self.called(texts.join(" "));
        match answer {
            Answer::Numbers(numbers) => Ok(numbers),
            Answer::Refuse(failure) if self.bug() == QUOTES_TEXTS => {
                Err(error_of(failure.kind, &failure.message))
            }
            Answer::Refuse(failure) => Err(refused_by(&failure)),
            Answer::Silence => {
                tokio::time::sleep(idle_timeout).await;
                Err(error_of(Kind::Timeout, "silent"))
            }
            _ => Err(error_of(Kind::Network, "broken")),
        }
    }
}

#[async_trait]
impl Embeddings for Model {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, ModelError> {
        let decode = || error_of(Kind::Decode, "no vectors");
        let (mut vectors, mut used) = (Vec::new(), 0);
        for texts in request.texts.chunks(BATCH) {
            let numbers = self
                .asked(texts, request.idle_timeout, &request.cancel)
                .await?;
            used += numbers.tokens.unwrap_or(0);
            let mut some = numbers.vectors(texts).ok_or_else(decode)?;
            if self.bug() == VECTORS_AS_THEY_COME {
                some.reverse();
            }
            if some.len() != texts.len() && self.bug() != ANY_VECTORS {
                return Err(decode());
            }
            vectors.extend(some);
            if self.bug() == FIRST_VECTORS {
                break;
            }
        }
        let length = vectors.first().map_or(0, Vec::len);
        let asked = request.dimensions.map_or(length, |asked| asked as usize);
        let is_right = vectors.iter().all(|vector| vector.len() == asked);
        if !is_right && self.bug() != ANY_LENGTH {
            return Err(decode());
        }
        Ok(Embedded {
            vectors,
            usage: Usage {
                input_tokens: Some(used),
                ..Usage::default()
            },
        })
    }
}

#[async_trait]
impl Rerank for Model {
    async fn rerank(&self, request: RerankRequest) -> Result<Reranked, ModelError> {
        let decode = || error_of(Kind::Decode, "no scores");
        if request.documents.is_empty() {
            return Ok(Reranked {
                scores: Vec::new(),
                usage: Usage::default(),
            });
        }
        let deaf = Latch::never();
        let cancel = if self.bug() == DEAF_TO_SCORES {
            &deaf
        } else {
            &request.cancel
        };
        let asking = self.asked(&request.documents, request.idle_timeout, cancel);
        let mut scores = asking
            .await?
            .scores(&request.documents)
            .ok_or_else(decode)?;
        if self.bug() == SCORES_AS_THEY_COME {
            scores.sort_by(|one, other| other.total_cmp(one));
        }
        if scores.len() != request.documents.len() && self.bug() != ANY_SCORES {
            return Err(decode());
        }
        Ok(Reranked {
            scores,
            usage: Usage::default(),
        })
    }
}
