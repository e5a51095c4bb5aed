//! Serves the handlers of the objects to a Restate server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use restate_sdk::prelude::*;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{Kind, RuntimeError};
use seaworthy_ports::{Latch, Secret};
use tokio::net::TcpListener;

use crate::error::{of_client, refusal};
use crate::ingress::{address, client};
use crate::objects::{self, BellObject, LineObject, RunObject};

/// How long the server may take to look at the handlers.
const REGISTRATION: Duration = Duration::from_secs(30);

/// The handlers of this crate, on an address of their own.
///
/// They hold nothing: everything is at the server, which calls them. Any number of processes may serve them behind one
/// address; one that ends in the middle of a call is a call that the server makes again. Their clock is the runtime's clock.
#[derive(Debug)]
pub struct Handlers {
    listener: TcpListener,
    address: SocketAddr,
}

impl Handlers {
    /// Takes the address; port 0 is a free one.
    ///
    /// # Errors
    ///
    /// `Unavailable` if it is not to be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, RuntimeError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok::<_, std::io::Error>(Self { listener, address })
        };
        bound.await.map_err(|error| {
            let why = "the address for the handlers cannot be had";
            refusal(Kind::Unavailable, "handlers", why).with_source(error)
        })
    }

    /// Where they are.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is set; calls under way then have ten seconds to end. `identity` is the public key
    /// (`publickeyv1_…`) of the one server whose calls are answered; `None`: whoever reaches the address is.
    ///
    /// # Errors
    ///
    /// `Rejected` for a key that is none.
    ///
    /// # Cancellation
    ///
    /// Dropping the future breaks the calls under way; the server makes them again.
    pub async fn serve(
        self,
        clock: Arc<dyn Clock>,
        identity: Option<&str>,
        stop: Latch,
    ) -> Result<(), RuntimeError> {
        let run = RunObject {
            clock: Arc::clone(&clock),
        };
        let line = LineObject { clock };
        // A run's payloads are many and seldom wanted.
        let of_run = objects::options().enable_lazy_state(true);
        let of_line = objects::options().handler("take", objects::waits());
        let of_bell = objects::options().handler("listen", objects::waits());
        let mut endpoint = Endpoint::builder()
            .bind(run.into_service_definition().options(of_run))
            .bind(line.into_service_definition().options(of_line))
            .bind(BellObject.into_service_definition().options(of_bell));
        if let Some(key) = identity {
            endpoint = endpoint.identity_key(key).map_err(|_error| {
                let why = "the server's identity is no public key of Restate";
                refusal(Kind::Rejected, "handlers", why)
            })?;
        }
        HttpServer::new(endpoint.build())
            .serve_with_cancel(self.listener, stop.wait())
            .await;
        Ok(())
    }
}

/// Tells a server, by its admin API at `admin`, that the handlers are to be called at `handlers`. Telling it again is fine,
/// and is how it learns of a new release at the same address.
///
/// # Errors
///
/// `Rejected` for addresses that cannot be used or a refusal, `Unavailable` if the server cannot be reached or cannot
/// reach the handlers.
pub async fn register(
    admin: &str,
    token: Option<&Secret>,
    handlers: &str,
) -> Result<(), RuntimeError> {
    const OPERATION: &str = "register";
    let mut url = address(admin)?;
    let handlers = address(handlers)?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("deployments");
    }
    let body = serde_json::json!({ "uri": handlers.as_str(), "force": true });
    let response = client(&url, token)?
        .post(url)
        .timeout(REGISTRATION)
        .json(&body)
        .send()
        .await
        .map_err(|error| of_client(OPERATION, error))?;
    let status = response.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(crate::error::of_status(OPERATION, status)),
        400..=499 => Err(refusal(
            Kind::Rejected,
            OPERATION,
            "the server refuses the handlers; is this the address of its admin API?",
        )),
        _ => Err(refusal(
            Kind::Unavailable,
            OPERATION,
            "the server cannot call the handlers at the address it was given",
        )),
    }
}
