//! Says again what was recorded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank, check_history, check_parameters,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, async_trait};

use crate::cassette::{Cassette, Found};
use crate::question::Difference;
use crate::record::Record;

/// The most questions without an answer that are remembered.
const MOST: usize = 64;

/// A question that no cassette answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It was recorded so often and is asked once more.
    Exhausted {
        /// How often it was recorded.
        recorded: usize,
    },
    /// It was not recorded.
    Unknown {
        /// Where it differs from the recorded question that is nearest to it; empty: nothing was recorded.
        differences: Vec<Difference>,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { recorded } => {
                write!(
                    f,
                    "the question was recorded {recorded} times and is asked once more"
                )
            }
            Self::Unknown { differences } if differences.is_empty() => {
                f.write_str("the cassette is empty")
            }
            Self::Unknown { differences } => {
                f.write_str("the question was not recorded; compared with the nearest one")?;
                for (number, difference) in differences.iter().enumerate() {
                    let before = if number == 0 { ": " } else { ", " };
                    write!(f, "{before}{difference}")?;
                }
                Ok(())
            }
        }
    }
}

/// A model that says what was recorded. A question is answered by what was recorded for it, in the order of recording;
/// another one fails with [`Kind::Unsupported`] and where it differs, or goes to a model.
#[derive(Clone)]
pub struct Replay {
    cassette: Cassette,
    otherwise: Option<Record>,
    info: AdapterInfo,
    capabilities: ModelCapabilities,
    mismatches: Arc<Mutex<Vec<Mismatch>>>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("cassette", &self.cassette)
            .field("otherwise", &self.otherwise)
            .finish_non_exhaustive()
    }
}

impl Replay {
    /// Answers from `cassette` alone, in the name of the adapter that was recorded: what that one kept for itself in the
    /// conversation is its own.
    #[must_use]
    pub fn strict(cassette: Cassette, info: AdapterInfo, capabilities: ModelCapabilities) -> Self {
        Self {
            cassette,
            otherwise: None,
            info,
            capabilities,
            mismatches: Arc::default(),
        }
    }

    /// Answers from `cassette`, and asks `model` what is not in it, which is recorded.
    #[must_use]
    pub fn or_ask(cassette: Cassette, model: Arc<dyn ModelProvider>) -> Self {
        Self {
            info: model.info(),
            capabilities: ModelCapabilities::NONE,
            otherwise: Some(Record::new(model, cassette.clone())),
            cassette,
            mismatches: Arc::default(),
        }
    }

    /// The questions that the cassette did not answer, oldest first, the first few.
    #[must_use]
    pub fn mismatches(&self) -> Vec<Mismatch> {
        let mismatches = self.mismatches.lock();
        mismatches.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, kind: Kind, why: String) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let error = PortError::new(kind, self.info.id, "stream", why);
        stream::iter([Err(error.into())]).boxed()
    }
}

#[async_trait]
impl ModelProvider for Replay {
    fn info(&self) -> AdapterInfo {
        self.info
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        match &self.otherwise {
            Some(otherwise) => otherwise.capabilities(model),
            None => self.capabilities,
        }
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        if let Err(fault) = check_history(&request.messages) {
            return self.fail(Kind::InvalidRequest, fault.to_string());
        }
        if let Err(fault) = check_parameters(&request) {
            return self.fail(Kind::InvalidRequest, fault.to_string());
        }
        if request.cancel.is_set() {
            return self.fail(Kind::Cancelled, "the call was cancelled".to_owned());
        }
        let mismatch = match self.cassette.find(&self.cassette.question(&request)) {
            Found::Answer(said) => {
                let adapter = self.info.id;
                let said = said.into_iter().map(move |said| said.again(adapter));
                return stream::iter(said).boxed();
            }
            Found::Exhausted(recorded) => Mismatch::Exhausted { recorded },
            Found::Unknown(differences) => Mismatch::Unknown { differences },
        };
        let why = mismatch.to_string();
        {
            let mut mismatches = self
                .mismatches
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if mismatches.len() < MOST {
                mismatches.push(mismatch);
            }
        }
        match &self.otherwise {
            Some(otherwise) => otherwise.stream(request),
            None => self.fail(Kind::Unsupported, why),
        }
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        self.otherwise.as_ref().and_then(ModelProvider::embeddings)
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        self.otherwise.as_ref().and_then(ModelProvider::rerank)
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.otherwise.as_ref().and_then(ModelProvider::tokens)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.otherwise.as_ref().and_then(ModelProvider::directory)
    }
}
