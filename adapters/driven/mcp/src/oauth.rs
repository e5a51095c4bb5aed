//! Tokens of authorisation servers for one server: shown with every request, renewed when they are not taken.
//!
//! Decision 0025 says why this is no library's.

mod assertion;
mod challenge;
mod chance;
mod discovery;
mod person;
mod token;
mod web;

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{
    Authorization, Kind, McpServer, OAuth, OAuthGrant, OAuthPerson, OAuthTokens, Transport,
};
use tokio::sync::Mutex;

use crate::error::Fault;
use crate::http;

pub(crate) use challenge::Challenge;
use discovery::{Authority, discover};
pub(crate) use token::is_token;
use token::{Client, Failed, now};
use web::Web;

/// How often a session asks for more than it has been granted.
const MOST_STEPS: u32 = 3;

const UNKEPT: Fault = Fault::Unreachable("the place where tokens are kept cannot be used");
/// What a new login mends.
const UNREAD: Fault = Fault::Denied("what is kept of a login cannot be gone by; log in again");
const UNGRANTED: Fault = Fault::Denied(
    "whoever was asked, or the authorisation server, did not grant what the server wants",
);

/// Keeps the tokens for a session. One caller renews them for all.
pub(crate) struct Keeper {
    inner: Arc<Inner>,
    state: Mutex<State>,
}

struct Inner {
    oauth: OAuth,
    server: Url,
    web: Web,
}

#[derive(Default)]
struct State {
    is_loaded: bool,
    tokens: Option<OAuthTokens>,
    /// Asked with these, or with none, the authorisation server refused.
    refused: Option<Option<OAuthTokens>>,
    steps: u32,
}

/// Why new tokens are wanted.
#[derive(Clone, Debug)]
struct Need {
    /// What was shown to the server and not taken.
    shown: Option<Secret>,
    challenge: Challenge,
}

/// What renewing came to.
enum Renewed {
    Tokens(OAuthTokens),
    /// Nothing that is here gets any; these were tried.
    Refused(Option<OAuthTokens>),
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// The one for `server`, if it wants tokens. No I/O.
    pub(crate) fn of(server: &McpServer) -> Result<Option<Arc<Self>>, Fault> {
        let Transport::StreamableHttp(endpoint) = &server.transport else {
            return Ok(None);
        };
        let Authorization::OAuth(oauth) = &endpoint.authorization else {
            return Ok(None);
        };
        let url = http::address(&endpoint.url)?;
        let web = Web::for_server(&url, server.connect_timeout);
        // A token that is sent in the clear is everybody's.
        web.address(url.as_str()).map_err(|_fault| {
            Fault::Rejected("tokens are sent to https:// addresses alone, or to this machine")
        })?;
        if oauth.grant == OAuthGrant::ClientCredentials && oauth.client_id.is_none() {
            return Err(Fault::Rejected(
                "a client that gets tokens for itself needs an id",
            ));
        }
        let inner = Inner {
            oauth: oauth.clone(),
            server: url,
            web,
        };
        Ok(Some(Arc::new(Self {
            inner: Arc::new(inner),
            state: Mutex::default(),
        })))
    }

    /// What to show the server. `None`: nothing is kept, and the server will say whom to ask.
    pub(crate) async fn token(&self) -> Result<Option<Secret>, Fault> {
        let mut state = self.state.lock().await;
        if !state.is_loaded {
            state.tokens = self.inner.load().await?;
            state.is_loaded = true;
        }
        let Some(tokens) = &state.tokens else {
            return Ok(None);
        };
        let access = tokens.access.clone();
        if !is_over(tokens) {
            return Ok(Some(access));
        }
        let need = Need {
            shown: Some(access.clone()),
            challenge: Challenge::default(),
        };
        match self.renewed(&mut state, need).await {
            Ok(tokens) => Ok(Some(tokens.access)),
            // Clocks differ; the server decides, and says whom to ask.
            Err(Fault::Unauthorized) => Ok(Some(access)),
            Err(fault) => Err(fault),
        }
    }

    /// Another token than the one that was `shown` and not taken.
    pub(crate) async fn renew(
        &self,
        shown: Option<Secret>,
        challenge: Challenge,
    ) -> Result<Secret, Fault> {
        let mut state = self.state.lock().await;
        if let Some(other) = state.other_than(shown.as_ref()) {
            return Ok(other);
        }
        let need = Need { shown, challenge };
        let tokens = self.renewed(&mut state, need).await?;
        Ok(tokens.access)
    }

    /// A token that is good for more than the one that was `shown`.
    pub(crate) async fn step_up(
        &self,
        shown: Option<Secret>,
        challenge: Challenge,
    ) -> Result<Secret, Fault> {
        let mut state = self.state.lock().await;
        if let Some(other) = state.other_than(shown.as_ref()) {
            return Ok(other);
        }
        if state.steps == MOST_STEPS {
            return Err(Fault::Forbidden);
        }
        state.steps += 1;
        let need = Need { shown, challenge };
        let tokens = match self.renewed(&mut state, need).await {
            Err(Fault::Unauthorized | UNGRANTED) => return Err(Fault::Forbidden),
            other => other?,
        };
        Ok(tokens.access)
    }

    async fn renewed(&self, state: &mut State, need: Need) -> Result<OAuthTokens, Fault> {
        let is_step = need.challenge.wants_more;
        // Somebody may have granted others meanwhile.
        if !is_step
            && state.refused.as_ref() == Some(&state.tokens)
            && self.inner.load().await? == state.tokens
        {
            return Err(Fault::Unauthorized);
        }
        let inner = Arc::clone(&self.inner);
        // On its own: the old tokens may be worth nothing once the new ones are asked for, so they are kept even if nobody
        // waits for them any longer.
        let renewing = tokio::spawn({
            let need = need.clone();
            async move { inner.renew(need).await }
        });
        let renewed = renewing.await.map_err(|_cancelled| UNKEPT)??;
        let refused = match renewed {
            Renewed::Tokens(tokens) => return Ok(state.keep(tokens)),
            Renewed::Refused(tokens) => tokens,
        };
        let Some(person) = self.inner.oauth.person.clone() else {
            state.tokens.clone_from(&refused);
            if !is_step {
                state.refused = Some(refused);
            }
            return Err(Fault::Unauthorized);
        };
        let known = refused.map(|tokens| tokens.scopes);
        let asked = self.inner.ask(need, known.unwrap_or_default(), person);
        match Box::pin(asked).await {
            Ok(tokens) => Ok(state.keep(tokens)),
            Err(Failed::Fault(fault)) => Err(fault),
            Err(Failed::Refused) => {
                state.refused = Some(state.tokens.clone());
                Err(UNGRANTED)
            }
        }
    }
}

impl State {
    /// What another caller got while this one showed an older token.
    fn other_than(&self, shown: Option<&Secret>) -> Option<Secret> {
        let access = &self.tokens.as_ref()?.access;
        (Some(access) != shown).then(|| access.clone())
    }

    fn keep(&mut self, tokens: OAuthTokens) -> OAuthTokens {
        self.is_loaded = true;
        self.refused = None;
        self.tokens = Some(tokens.clone());
        tokens
    }
}

impl Inner {
    /// What is kept, if it can be sent.
    async fn load(&self) -> Result<Option<OAuthTokens>, Fault> {
        let loaded = self.oauth.tokens.load().await;
        let kept = loaded.map_err(|error| match error.kind() {
            Kind::Malformed => UNREAD,
            _ => UNKEPT,
        })?;
        Ok(kept.filter(|tokens| {
            is_token(&tokens.access) && tokens.refresh.as_ref().is_none_or(is_token)
        }))
    }

    async fn save(&self, tokens: &OAuthTokens) -> Result<(), Fault> {
        let saved = self.oauth.tokens.save(tokens.clone()).await;
        saved.map_err(|_error| UNKEPT)
    }

    async fn authority(&self, challenge: &Challenge) -> Result<Authority, Fault> {
        let issuer = self.oauth.issuer.as_deref();
        discover(&self.web, &self.server, challenge, issuer).await
    }

    /// Gets tokens without a person, while nobody else in any process does.
    async fn renew(&self, need: Need) -> Result<Renewed, Fault> {
        let _alone = self.oauth.tokens.lock().await.map_err(|_error| UNKEPT)?;
        let kept = self.load().await?;
        if let Some(tokens) = &kept
            && Some(&tokens.access) != need.shown.as_ref()
            && !is_over(tokens)
        {
            return Ok(Renewed::Tokens(tokens.clone()));
        }
        let asked = match self.oauth.grant {
            OAuthGrant::ClientCredentials => self.for_itself(&need, kept.as_ref()).await,
            OAuthGrant::AuthorizationCode => self.refreshed(&need, kept.as_ref()).await,
        };
        let mut tokens = match asked {
            Ok(tokens) => tokens,
            Err(Failed::Refused) => return Ok(Renewed::Refused(kept)),
            Err(Failed::Fault(fault)) => return Err(fault),
        };
        if let Some(old) = kept
            && self.oauth.grant == OAuthGrant::AuthorizationCode
        {
            tokens.refresh = tokens.refresh.or(old.refresh);
            tokens.registration = old.registration;
        }
        self.save(&tokens).await?;
        Ok(Renewed::Tokens(tokens))
    }

    async fn refreshed(
        &self,
        need: &Need,
        kept: Option<&OAuthTokens>,
    ) -> Result<OAuthTokens, Failed> {
        let Some((kept, refresh)) = kept.and_then(|kept| Some((kept, kept.refresh.as_ref()?)))
        else {
            return Err(Failed::Refused);
        };
        // Refreshing gets no more than was granted.
        if need.challenge.wants_more {
            return Err(Failed::Refused);
        }
        let authority = self.authority(&need.challenge).await?;
        if authority.issuer != kept.issuer {
            return Err(Failed::Refused);
        }
        let client = person::keeper(&self.oauth, kept).ok_or(Failed::Refused)?;
        let grant = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
        ];
        token::ask(&self.web, &authority, &client, &grant, &kept.scopes).await
    }

    async fn for_itself(
        &self,
        need: &Need,
        kept: Option<&OAuthTokens>,
    ) -> Result<OAuthTokens, Failed> {
        let Some(id) = &self.oauth.client_id else {
            return Err(Failed::Refused);
        };
        let authority = self.authority(&need.challenge).await?;
        let client = Client {
            id: id.clone(),
            proof: self.oauth.proof.clone(),
            method: None,
        };
        let known = kept.map(|kept| kept.scopes.as_slice()).unwrap_or_default();
        let wanted = self.wanted(&need.challenge, &authority, known);
        let list = wanted.join(" ");
        let mut grant = vec![("grant_type", "client_credentials")];
        if !list.is_empty() {
            grant.push(("scope", &list));
        }
        token::ask(&self.web, &authority, &client, &grant, &wanted).await
    }

    /// Has a person grant tokens.
    async fn ask(
        self: &Arc<Self>,
        need: Need,
        known: Vec<String>,
        person: Arc<dyn OAuthPerson>,
    ) -> Result<OAuthTokens, Failed> {
        if self.oauth.grant != OAuthGrant::AuthorizationCode {
            return Err(Failed::Refused);
        }
        let authority = self.authority(&need.challenge).await?;
        let wanted = self.wanted(&need.challenge, &authority, &known);
        let granted = person::ask(&self.web, &authority, &self.oauth, &*person, wanted);
        let granted = granted.await?;
        let inner = Arc::clone(self);
        // On its own: a code is good for one time.
        let redeeming = tokio::spawn(async move {
            let tokens = person::redeem(&inner.web, &authority, &granted).await?;
            let _alone = inner.oauth.tokens.lock().await.map_err(|_error| UNKEPT)?;
            inner.save(&tokens).await?;
            Ok(tokens)
        });
        redeeming.await.map_err(|_cancelled| UNKEPT)?
    }

    /// What to ask for: as it is configured, else as the server says; and what it says is missing besides.
    fn wanted(
        &self,
        challenge: &Challenge,
        authority: &Authority,
        known: &[String],
    ) -> Vec<String> {
        let mut wanted = if !self.oauth.scopes.is_empty() {
            self.oauth.scopes.clone()
        } else if !challenge.scopes.is_empty() {
            challenge.scopes.clone()
        } else {
            authority.scopes.clone()
        };
        if challenge.wants_more {
            let more = known.iter().chain(&challenge.scopes);
            for scope in more {
                if !wanted.contains(scope) {
                    wanted.push(scope.clone());
                }
            }
        }
        wanted
    }
}

fn is_over(tokens: &OAuthTokens) -> bool {
    tokens.expires.is_some_and(|expires| expires <= now())
}
