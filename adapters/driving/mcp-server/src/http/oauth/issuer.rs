//! Whoever issues tokens, and the keys that it signs them with.
//!
//! Keys are asked for again when they are no longer fresh, and when a token names one that is not among them. Only one asks
//! at a time, and not more often than every [`REST`], however many tokens demand it. While the issuer is out of reach, the
//! keys that are known are gone by for [`MAX_AGE`] at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;

use super::fetch::{Fetcher, Trouble};
use super::introspection::Place;
use super::keys::Keys;

/// The least time between two times that the issuer is asked.
pub(super) const REST: Duration = Duration::from_secs(30);
/// How long keys are fresh if the issuer does not say.
pub(super) const USUALLY_FRESH: Duration = Duration::from_secs(10 * 60);
/// The bounds of what it may say.
const LEAST_FRESH: Duration = Duration::from_secs(60);
const MOST_FRESH: Duration = Duration::from_secs(60 * 60);
/// How long keys are gone by at most while the issuer cannot be asked.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    id: String,
    /// Where its metadata may be, the likeliest first.
    candidates: Vec<Url>,
    /// It is asked about single tokens, so that it must say where, and need not have keys.
    is_asked: bool,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What an issuer publishes, as far as it is needed here.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) keys: Keys,
    /// Where it is asked about single tokens, if it is to be.
    pub(super) introspection: Option<Place>,
}

/// What is known of what the issuer publishes.
#[derive(Clone, Debug, Default)]
struct Known {
    published: Arc<Published>,
    /// When that came, and until when they are fresh.
    came: Option<(Timestamp, Timestamp)>,
    /// When the issuer was last asked, and what was wrong then.
    asked: Option<Timestamp>,
    trouble: Option<Trouble>,
}

impl Known {
    fn may_be_gone_by(&self, now: Timestamp) -> bool {
        self.came.is_some_and(|(at, _)| now < at.plus(MAX_AGE))
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.came.is_some_and(|(_, until)| now < until)
    }

    fn may_be_asked(&self, now: Timestamp) -> bool {
        self.asked.is_none_or(|last| now >= last.plus(REST))
    }
}

/// What RFC 8414 and OpenID Connect have of an issuer, as far as it is needed here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    introspection_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Issuer {
    pub(super) fn new(
        id: &str,
        url: &Url,
        is_asked: bool,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            candidates: candidates(url),
            is_asked,
            fetcher,
            clock,
            known: Mutex::default(),
            turn: Arc::default(),
        })
    }

    /// Asks for the keys, unless they are known.
    ///
    /// # Errors
    ///
    /// Why they are not to be had.
    pub(super) async fn check(self: &Arc<Self>) -> Result<(), Trouble> {
        self.keys(|_any| true).await.map(|_keys| ())
    }

    /// The keys, among which `has` looks for one, and what is published with them. It may be missing from them all the
    /// same.
    ///
    /// # Errors
    ///
    /// They are not known, or not well enough to say that the key is none of theirs. Dropping the future leaves whatever
    /// was asked of the issuer going on, so that a client that goes away costs no other its answer.
    pub(super) async fn keys(
        self: &Arc<Self>,
        has: impl Fn(&Keys) -> bool,
    ) -> Result<Arc<Published>, Trouble> {
        let now = self.clock.now();
        let known = self.known().clone();
        let will_do = |known: &Known| known.may_be_gone_by(now) && has(&known.published.keys);
        if will_do(&known) {
            if known.is_fresh(now) || !known.may_be_asked(now) {
                return Ok(known.published);
            }
            match Arc::clone(&self.turn).try_lock_owned() {
                Ok(turn) => self.ask_again(turn).await,
                Err(_somebody_asks) => return Ok(known.published),
            }
        } else {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            // Whoever had the turn before may have got it.
            let known = self.known().clone();
            if !will_do(&known) && known.may_be_asked(self.clock.now()) {
                self.ask_again(turn).await;
            }
        }
        let known = self.known().clone();
        let now = self.clock.now();
        match known.trouble {
            Some(trouble) if !known.may_be_gone_by(now) || !has(&known.published.keys) => {
                Err(trouble)
            }
            _ => Ok(known.published),
        }
    }

    /// Asks in a task of its own, which nobody's going away ends.
    async fn ask_again(self: &Arc<Self>, turn: OwnedMutexGuard<()>) {
        self.known().asked = Some(self.clock.now());
        let issuer = Arc::clone(self);
        let asking = tokio::spawn(async move {
            let asked = issuer.ask().await;
            issuer.note(asked);
            drop(turn);
        });
        // It cannot panic, and is not aborted.
        let _asked = asking.await;
    }

    fn note(&self, asked: Result<(Published, Duration), Trouble>) {
        let now = self.clock.now();
        let mut known = self.known();
        match asked {
            Ok((published, fresh)) => {
                known.published = Arc::new(published);
                known.came = Some((now, now.plus(fresh)));
                known.trouble = None;
            }
            Err(trouble) => {
                tracing::warn!("the keys of {} cannot be had: {trouble:?}", self.id);
                known.trouble = Some(trouble);
            }
        }
    }

    /// What it publishes, and how long that is fresh.
    async fn ask(&self) -> Result<(Published, Duration), Trouble> {
        let (metadata, kept) = self.metadata().await?;
        if metadata.issuer != self.id {
            return Err(Trouble::Unfit("its metadata is that of another issuer"));
        }
        let introspection = if self.is_asked {
            Some(self.place(&metadata)?)
        } else {
            None
        };
        let (keys, kept) = match &metadata.jwks_uri {
            Some(place) => self.published_keys(place).await?,
            // Then its tokens are no JWTs.
            None if self.is_asked => (Keys::default(), kept),
            None => return Err(Trouble::Unfit("it does not say where its keys are")),
        };
        let published = Published {
            keys,
            introspection,
        };
        let fresh = kept.unwrap_or(USUALLY_FRESH);
        Ok((published, fresh.clamp(LEAST_FRESH, MOST_FRESH)))
    }

    /// The keys at `place`, and for how long they may be kept.
    async fn published_keys(&self, place: &str) -> Result<(Keys, Option<Duration>), Trouble> {
        let at = Url::parse(place).ok();
        let is_as_safe = |at: &Url| {
            at.scheme() == "https" || (is_local(at) && self.candidates.iter().all(is_local))
        };
        let at = at
            .filter(is_as_safe)
            .ok_or(Trouble::Unfit("its keys are not at an https address"))?;
        let fetched = self
            .fetcher
            .get(at)
            .await
            .map_err(|trouble| match trouble {
                Trouble::Absent => Trouble::Unfit("there are no keys where it says"),
                other => other,
            })?;
        let keys = Keys::read(&fetched.body).map_err(Trouble::Unfit)?;
        Ok((keys, fetched.keep))
    }

    /// Where it is asked about tokens. A secret goes there, so it must be the issuer itself.
    fn place(&self, metadata: &Metadata) -> Result<Place, Trouble> {
        let place = metadata.introspection_endpoint.as_deref();
        let place = place.ok_or(Trouble::Unfit(
            "it does not say where it can be asked about tokens",
        ))?;
        let is_its_own = |url: &Url| {
            let own = self
                .candidates
                .iter()
                .all(|own| own.origin() == url.origin());
            own && url.username().is_empty() && url.password().is_none()
        };
        let url = Url::parse(place).ok().filter(is_its_own);
        let url = url.ok_or(Trouble::Unfit(
            "it is to be asked about tokens at another place than its own",
        ))?;
        let methods = &metadata.introspection_endpoint_auth_methods_supported;
        let takes = |method: &str| {
            let methods = methods.as_ref();
            methods.map(|all| all.iter().any(|known| known == method))
        };
        let is_basic = takes("client_secret_basic").unwrap_or(true);
        if !is_basic && takes("client_secret_post") != Some(true) {
            return Err(Trouble::Unfit(
                "it takes no client's secret where it is asked about tokens",
            ));
        }
        Ok(Place { url, is_basic })
    }

    async fn metadata(&self) -> Result<(Metadata, Option<Duration>), Trouble> {
        for candidate in &self.candidates {
            match self.fetcher.get(candidate.clone()).await {
                Ok(fetched) => return Ok((fetched.json()?, fetched.keep)),
                Err(Trouble::Absent) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::Unfit(
            "it has no metadata where RFC 8414 and OpenID Connect have it",
        ))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // It is whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the metadata of an issuer may be: as RFC 8414 has it, and as OpenID Connect does.
fn candidates(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    paths
        .iter()
        .map(|path| {
            let mut url = issuer.clone();
            url.set_path(path);
            url
        })
        .collect()
}

/// Whether an address without encryption stays on this machine.
pub(super) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "http" && ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(issuer: &str) -> Vec<String> {
        let all = candidates(&Url::parse(issuer).unwrap());
        all.iter().map(|url| url.path().to_owned()).collect()
    }

    #[test]
    fn metadata_is_looked_for_where_the_standards_have_it() {
        for root in ["https://id.example", "https://id.example/"] {
            assert_eq!(
                paths(root),
                [
                    "/.well-known/oauth-authorization-server",
                    "/.well-known/openid-configuration"
                ]
            );
        }
        assert_eq!(
            paths("https://id.example/realms/a/"),
            [
                "/.well-known/oauth-authorization-server/realms/a",
                "/.well-known/openid-configuration/realms/a",
                "/realms/a/.well-known/openid-configuration"
            ]
        );
    }

    #[test]
    fn only_this_machine_is_reached_without_encryption() {
        for (url, local) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://localhost/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
            ("https://127.0.0.1/", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }

    #[tokio::test]
    async fn keys_of_an_encrypted_issuer_are_encrypted_wherever_they_lie() {
        let clock: Arc<dyn Clock> = Arc::new(seaworthy_fakes::FakeClock::new());
        let fetcher = Fetcher::new(false, Arc::clone(&clock)).unwrap();
        let url = Url::parse("https://id.example").unwrap();
        let issuer = Issuer::new("i", &url, false, fetcher, clock);
        for place in ["http://127.0.0.1:9/keys", "http://id.example/keys", "keys"] {
            let asked = issuer.published_keys(place).await;
            assert!(matches!(asked, Err(Trouble::Unfit(_))), "{place} {asked:?}");
        }
    }
}
