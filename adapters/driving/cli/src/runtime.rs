//! What makes runs advance, where it is not the store that keeps them.

use std::fmt;
use std::sync::Arc;

use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::DurableRuntime;

use crate::environment::Environment;
use crate::error::CliError;
use crate::store::{Store, quoted};

const SCHEME: &str = "restate:";

/// A Restate server, by the URL of its ingress. The token is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runtime {
    ingress: String,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.ingress)
    }
}

impl Runtime {
    /// The runtime that was named for `store`; `None`: the store's own.
    pub(crate) fn named(
        environment: &Environment,
        store: &Store,
    ) -> Result<Option<Self>, CliError> {
        let Some(url) = environment.runtime.as_deref() else {
            return Ok(None);
        };
        let runtime = Self::parse(url)?;
        if matches!(store, Store::Memory) {
            return Err(CliError::Usage(format!(
                "--runtime {runtime} outlives this process, and --store memory: does not; name a file or a server"
            )));
        }
        Ok(Some(runtime))
    }

    /// What must be added to a command to reach it.
    pub(crate) fn flag(&self) -> String {
        format!(" --runtime {}", quoted(&self.to_string()))
    }

    fn parse(url: &str) -> Result<Self, CliError> {
        let ingress = url.strip_prefix(SCHEME).unwrap_or_default();
        let is_plain = ingress.starts_with("http://") || ingress.starts_with("https://");
        if !is_plain || ingress.contains('@') {
            // What is wrong may still have a password.
            let shown = if url.contains('@') { "…" } else { url };
            return Err(CliError::Usage(format!(
                "--runtime {shown:?} is no runtime; write restate:http://HOST:PORT, the ingress of a Restate server, and put its token into RESTATE_AUTH_TOKEN"
            )));
        }
        Ok(Self {
            ingress: ingress.to_owned(),
        })
    }

    /// A handle on it. Whether it answers shows with the first call.
    #[cfg(feature = "restate")]
    pub(crate) fn open(
        &self,
        environment: &Environment,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn DurableRuntime>, CliError> {
        use seaworthy::restate::{Restate, RestateConfig};

        let mut config = RestateConfig::new(&self.ingress);
        if let Some(token) = &environment.restate_token {
            config = config.with_token(token.clone());
        }
        let restate = Restate::new(config, Arc::clone(clock)).map_err(|error| CliError::Stack {
            part: "the runtime",
            why: error.to_string(),
        })?;
        Ok(Arc::new(restate))
    }

    /// This program was built without it.
    #[cfg(not(feature = "restate"))]
    pub(crate) fn open(
        &self,
        _environment: &Environment,
        _clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn DurableRuntime>, CliError> {
        Err(CliError::Usage(format!(
            "this program was built without Restate, so it cannot use --runtime {self}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_the_ingress_of_a_server() {
        let runtime = Runtime::parse("restate:http://127.0.0.1:8080").unwrap();
        assert_eq!(runtime.to_string(), "restate:http://127.0.0.1:8080");
        let flag = " --runtime restate:http://127.0.0.1:8080";
        assert_eq!(runtime.flag(), flag);
        for wrong in [
            "",
            "restate:",
            "restate:host",
            "http://host",
            "temporal:http://host",
        ] {
            assert!(
                matches!(Runtime::parse(wrong), Err(CliError::Usage(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_is_said_of_a_wrong_runtime_has_no_password() {
        let wrong = Runtime::parse("restate:http://me:secret@host").unwrap_err();
        assert!(!wrong.to_string().contains("secret"));
    }
}
