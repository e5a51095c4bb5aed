//! A session: what a real adapter does between a caller and a server.

use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{Either, select, select_all};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::mcp::{
    Authorization, Kind, McpCapabilities, McpError, McpServer, McpServerInfo, OAuth, OAuthTokens,
    Transport,
};
use seaworthy_ports::{Latch, LatchSetter};

use super::lists::Cache;
use super::logs::Logs;
use super::request::{End, Request, ended, judged};
use super::server::Line;
use super::{FakeMcp, FakeMcpServer, McpFault, McpSeen, McpStart, error};
use crate::locked;

/// The connection at present.
pub(super) struct Current {
    pub(super) line: Arc<Line>,
    pub(super) info: McpServerInfo,
    /// How many connections there were before.
    number: u64,
}

/// Tokens, if they were looked for, and those for which no others are given.
#[derive(Default)]
struct Tokens {
    known: Option<Option<OAuthTokens>>,
    refused: Option<Option<OAuthTokens>>,
}

pub(super) struct Session {
    pub(super) server: FakeMcpServer,
    pub(super) config: McpServer,
    clock: Arc<dyn Clock>,
    pub(super) capabilities: McpCapabilities,
    pub(super) current: Mutex<Current>,
    pub(super) cache: Mutex<Cache>,
    tokens: Mutex<Tokens>,
    pub(super) logs: Arc<Logs>,
    pub(super) close: LatchSetter,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.config.alias)
    }
}

/// Tells the server that a call which is dropped has been cancelled.
struct InFlight<'a> {
    server: &'a FakeMcpServer,
    tool: Option<String>,
}

impl InFlight<'_> {
    fn settle(&mut self) {
        self.tool = None;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(tool) = self.tool.take() {
            self.server.note(McpSeen::Cancelled(tool));
        }
    }
}

impl Session {
    pub(super) async fn connect(
        server: FakeMcpServer,
        config: McpServer,
        mcp: &FakeMcp,
    ) -> Result<Self, McpError> {
        let line = dial(&server, &config, &*mcp.clock, "connect", pending()).await?;
        let current = Current {
            line,
            info: server.offer().info,
            number: 0,
        };
        let logs = Logs::new(config.log.clone(), Arc::clone(&mcp.clock));
        Ok(Self {
            logs: Arc::new(logs),
            server,
            config,
            clock: Arc::clone(&mcp.clock),
            capabilities: mcp.capabilities,
            current: Mutex::new(current),
            cache: Mutex::default(),
            tokens: Mutex::default(),
            close: Latch::new().0,
        })
    }

    pub(super) fn request(&self, operation: &'static str) -> Request {
        Request {
            operation,
            tool: None,
            timeout: self.config.request_timeout,
            cancel: Latch::never(),
        }
    }

    fn is_closed(&self) -> bool {
        self.close.latch().is_set()
    }

    fn live(&self) -> Option<(Arc<Line>, u64)> {
        let current = locked(&self.current);
        let line = Arc::clone(&current.line);
        (!line.dead.is_set()).then_some((line, current.number))
    }

    /// The connection, made again if it is gone.
    pub(super) async fn line(&self, operation: &'static str) -> Result<(Arc<Line>, u64), McpError> {
        if self.is_closed() {
            return Err(error(Kind::Rejected, operation, "the session is closed"));
        }
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let closed = self.close.latch();
        let fresh = dial(&self.server, &self.config, &*self.clock, operation, async {
            closed.wait().await;
        })
        .await?;
        let mut current = locked(&self.current);
        if current.line.dead.is_set() {
            *current = Current {
                line: fresh,
                info: self.server.offer().info,
                number: current.number + 1,
            };
        }
        // `close` looks at the connection after it has said so; one made in between is nobody's.
        if self.is_closed() {
            current.line.end();
            return Err(error(Kind::Rejected, operation, "the session is closed"));
        }
        Ok((Arc::clone(&current.line), current.number))
    }

    /// Gets past the server's door: refreshes tokens once and begins a new session once, if it is asked to.
    pub(super) async fn enter(&self, request: &Request) -> Result<(Arc<Line>, u64), McpError> {
        let (mut refreshed, mut renewed) = (false, false);
        let oauth = self.oauth();
        loop {
            let line = self.line(request.operation).await?;
            let shown = match oauth {
                Some(oauth) => self.shown(oauth).await?,
                None => None,
            };
            let is_known = oauth.is_none() || self.server.grants().lets_in(shown.as_ref());
            let fault = if is_known {
                self.server.fault_at_the_door()
            } else {
                Some(McpFault::Unauthorized)
            };
            match fault {
                None => return Ok(line),
                Some(McpFault::Unauthorized) if !refreshed && self.refresh(shown).await? => {
                    refreshed = true;
                }
                Some(McpFault::LostSession) if !renewed => {
                    line.0.end();
                    renewed = true;
                }
                Some(fault) => return Err(judged(request, fault)),
            }
        }
    }

    fn oauth(&self) -> Option<&OAuth> {
        let Transport::StreamableHttp(endpoint) = &self.config.transport else {
            return None;
        };
        match &endpoint.authorization {
            Authorization::OAuth(oauth) => Some(oauth),
            _ => None,
        }
    }

    /// The tokens that requests are made with.
    async fn shown(&self, oauth: &OAuth) -> Result<Option<OAuthTokens>, McpError> {
        if let Some(known) = &locked(&self.tokens).known {
            return Ok(known.clone());
        }
        let kept = oauth.tokens.load().await?;
        Ok(locked(&self.tokens).known.get_or_insert(kept).clone())
    }

    /// Gets other tokens than those that were `shown`. `false`: there are none to be had.
    async fn refresh(&self, shown: Option<OAuthTokens>) -> Result<bool, McpError> {
        let Some(oauth) = self.oauth() else {
            return Ok(false);
        };
        if locked(&self.tokens).refused.as_ref() == Some(&shown) {
            return Ok(false);
        }
        let _alone = oauth.tokens.lock().await?;
        let kept = oauth.tokens.load().await?;
        if kept != shown {
            locked(&self.tokens).known = Some(kept);
            return Ok(true);
        }
        self.server.note(McpSeen::Refreshed);
        let Some(fresh) = self.server.grants().give(kept.as_ref()) else {
            locked(&self.tokens).refused = Some(shown);
            return Ok(false);
        };
        oauth.tokens.save(fresh.clone()).await?;
        locked(&self.tokens).known = Some(Some(fresh));
        Ok(true)
    }

    /// Does `work` at the server, once, and gives up on it when it must.
    pub(super) async fn ask<T, F: Future<Output = Result<T, McpFault>> + Send>(
        &self,
        request: &Request,
        line: &Line,
        seen: McpSeen,
        work: impl FnOnce() -> F,
    ) -> Result<T, McpError> {
        if request.cancel.is_set() {
            return Err(request.failed(Kind::Cancelled, "it was cancelled before it was sent"));
        }
        self.server.note(seen);
        let mut in_flight = InFlight {
            server: &self.server,
            tool: request.tool.clone(),
        };
        let fault = self.server.fault();
        let answer = async {
            match fault {
                Some(fault) => Err(fault),
                None => work().await,
            }
        };
        let closed = self.close.latch();
        let ends = [
            async {
                line.dead.wait().await;
                End::Dead
            }
            .boxed(),
            async {
                closed.wait().await;
                End::Closed
            }
            .boxed(),
            async {
                request.cancel.wait().await;
                End::Cancelled
            }
            .boxed(),
        ];
        let given_up = select_all(ends).map(|(end, _, _)| end);
        let answer = async {
            match answer.await {
                Err(McpFault::Silence) => pending().await,
                other => other,
            }
        };
        let end = match select(pin!(answer), given_up).await {
            Either::Left((answer, _)) => {
                in_flight.settle();
                if answer.as_ref().err() == Some(&McpFault::Dies) {
                    line.end();
                }
                return answer.map_err(|fault| judged(request, fault));
            }
            Either::Right((end, _)) => end,
        };
        if matches!(end, End::Dead | End::Closed) {
            in_flight.settle();
        }
        Err(ended(request, end))
    }

    /// Ends `work` when its time is up.
    pub(super) async fn in_time<T>(
        &self,
        request: &Request,
        work: impl Future<Output = Result<T, McpError>> + Send,
    ) -> Result<T, McpError> {
        let until = self.clock.now().plus(request.timeout);
        match select(pin!(work), self.clock.sleep_until(until)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(ended(request, End::Late)),
        }
    }
}

/// Makes a connection, unless the server fails to start, is silent for too long or nobody wants it any more.
async fn dial(
    server: &FakeMcpServer,
    config: &McpServer,
    clock: &dyn Clock,
    operation: &'static str,
    closed: impl Future<Output = ()> + Send,
) -> Result<Arc<Line>, McpError> {
    let Some((line, start)) = server.start() else {
        return Err(error(
            Kind::Unavailable,
            operation,
            "the server does not start",
        ));
    };
    if start != McpStart::Silent {
        if let Some(log) = &config.log
            && server.offer().info.logging
        {
            server.note(McpSeen::LogLevel(log.level));
        }
        return Ok(line);
    }
    let until = clock.now().plus(config.connect_timeout);
    let late = clock.sleep_until(until);
    match select(pin!(closed), late).await {
        Either::Left(_) => Err(error(Kind::Rejected, operation, "the session is closed")),
        Either::Right(_) => Err(error(Kind::Timeout, operation, "the server says nothing")),
    }
}
