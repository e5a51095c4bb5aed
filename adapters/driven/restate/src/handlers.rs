//! Serves the handlers of the objects to a Restate server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, Url};
use restate_sdk::prelude::*;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{Kind, RuntimeError};
use seaworthy_ports::{Latch, Secret};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};

use crate::error::{of_client, of_status, refusal};
use crate::ingress::{address, client};
use crate::objects::{self, BellObject, LineObject, RunObject};
use crate::wire::RUN;

/// How many connections may wait to be accepted.
const WAITING_CONNECTIONS: u32 = 1_024;
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
            let listener = listener(address)?;
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
        // A run's payloads and ids of signals may be many, and where they are asked for, one of them is wanted.
        let of_run = objects::options()
            .handler("signal", objects::looks_up())
            .handler("letters", objects::looks_up());
        let of_line = objects::options().handler("take_later", objects::waits());
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

/// Listens. The SDK accepts the connections and leaves them as they are, and they are as the listener is: a step sends many
/// small messages and awaits answers in between, each of which would else be held back for the acknowledgment of the one
/// before, some 40 milliseconds.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    // Handlers that are started again take their address from connections that end by themselves.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS)
}

/// Tells a server, by its admin API at `admin`, that the handlers are to be called at `handlers`. Telling it again is fine,
/// and is how it learns of another address or release.
///
/// Handlers that the server knows at another address are moved: calls under way are made again at the new one. A server
/// would otherwise wait for the old one to come back, and with it whatever these calls hold.
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
    let admin = Admin {
        base: address(admin)?,
        client: client(&address(admin)?, token)?,
    };
    let handlers = address(handlers)?;
    let known = admin.known().await?;
    let mut is_moved = false;
    for deployment in known {
        let body = serde_json::json!({ "uri": handlers.as_str(), "overwrite": true });
        let url = admin.url(&["deployments", &deployment]);
        let response = admin.send(admin.client.patch(url).json(&body)).await?;
        // Two cannot be at one address: then the other one is there already.
        if is_moved && response.status().as_u16() == 409 {
            continue;
        }
        accepted(&response)?;
        is_moved = true;
    }
    if is_moved {
        return Ok(());
    }
    let body = serde_json::json!({ "uri": handlers.as_str(), "force": true });
    let url = admin.url(&["deployments"]);
    let response = admin.send(admin.client.post(url).json(&body)).await?;
    accepted(&response)
}

const REGISTER: &str = "register";

struct Admin {
    base: Url,
    client: reqwest::Client,
}

/// What the server says of the places it calls.
#[derive(Debug, Deserialize)]
struct Deployments {
    deployments: Vec<Deployment>,
}

#[derive(Debug, Deserialize)]
struct Deployment {
    id: String,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    revision: u64,
}

impl Deployment {
    fn revision(&self) -> Option<u64> {
        let run = self.services.iter().find(|service| service.name == RUN);
        run.map(|service| service.revision)
    }
}

impl Admin {
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RuntimeError> {
        let response = request.timeout(REGISTRATION).send().await;
        response.map_err(|error| of_client(REGISTER, error))
    }

    /// Where the server knows these handlers, the newest first.
    async fn known(&self) -> Result<Vec<String>, RuntimeError> {
        let response = self
            .send(self.client.get(self.url(&["deployments"])))
            .await?;
        accepted(&response)?;
        let body = response.bytes().await;
        let body = body.map_err(|error| of_client(REGISTER, error))?;
        let known: Deployments = serde_json::from_slice(&body).map_err(|_error| {
            let why = "the answer is none of Restate's; is this the address of its admin API?";
            refusal(Kind::Rejected, REGISTER, why)
        })?;
        let mut ours: Vec<(u64, String)> = known
            .deployments
            .into_iter()
            .filter_map(|deployment| Some((deployment.revision()?, deployment.id)))
            .collect();
        ours.sort();
        Ok(ours.into_iter().rev().map(|(_revision, id)| id).collect())
    }
}

fn accepted(response: &Response) -> Result<(), RuntimeError> {
    let status = response.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(of_status(REGISTER, status)),
        400..=499 => Err(refusal(
            Kind::Rejected,
            REGISTER,
            "the server refuses the handlers; is this the address of its admin API?",
        )),
        _ => Err(refusal(
            Kind::Unavailable,
            REGISTER,
            "the server cannot call the handlers at the address it was given",
        )),
    }
}
