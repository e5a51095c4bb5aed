//! What the issuer says of single tokens: RFC 7662.
//!
//! An answer that a token is good is gone by for [`KEPT`] at most, and never beyond the token's end. That one is not good is
//! not remembered: it may be a moment later. Where the issuer cannot be asked, nobody comes in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::Url;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{Secret, Timestamp};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fetch::{Fetcher, MAX_TIME, Trouble};
use super::issuer::Issuer;
use super::token::{Claims, Refusal};

/// How long an answer is gone by at most: for as long a token may be good that was revoked.
const KEPT: Duration = Duration::from_secs(30);
/// The most answers that are remembered.
const MAX_KNOWN: usize = 1024;
/// The most questions at once; further ones wait, each for no longer than an answer may take.
const MAX_ASKING: usize = 16;
/// What no issuer has given anybody.
const MADE_UP: &str = "seaworthy-asks-whether-it-may-ask";
/// The most bytes of an id or a secret.
const MAX_WORD: usize = 4 * 1024;

/// How an issuer is asked about single tokens.
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// As whom the issuer knows this server.
    pub client_id: String,
    /// What proves it. It goes to the issuer's own origin and nowhere else.
    pub client_secret: Secret,
    /// Whether JWTs are asked about as well, so that it is noticed when one is revoked.
    pub asks_about_all: bool,
}

impl IntrospectionSettings {
    /// Whether a form can carry what they hold.
    pub(super) fn are_sound(&self) -> bool {
        let is_word = |word: &str| !word.is_empty() && word.len() <= MAX_WORD;
        is_word(&self.client_id)
            && is_word(self.client_secret.expose())
            && !self.client_id.contains(char::is_control)
    }
}

/// Where an issuer is asked, and how it wants to know who asks.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) url: Url,
    /// By the header, else in the form.
    pub(super) is_basic: bool,
}

/// What the issuer says of one token: what it is good for, or why it is not.
pub(super) type Told = Result<Arc<Claims>, Refusal>;

/// Asks about tokens.
#[derive(Debug)]
pub(super) struct Introspection {
    settings: IntrospectionSettings,
    issuer: Arc<Issuer>,
    issuer_id: String,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// By the digests of tokens, with the time until which each is gone by.
    known: Mutex<BTreeMap<[u8; 32], (Told, Timestamp)>>,
    places: Semaphore,
}

impl Introspection {
    pub(super) fn new(
        settings: IntrospectionSettings,
        issuer: Arc<Issuer>,
        issuer_id: &str,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            settings,
            issuer,
            issuer_id: issuer_id.to_owned(),
            fetcher,
            clock,
            known: Mutex::default(),
            places: Semaphore::new(MAX_ASKING),
        }
    }

    pub(super) fn asks_about_all(&self) -> bool {
        self.settings.asks_about_all
    }

    /// Asks about a token that does not exist, which the issuer answers to whoever may ask.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    pub(super) async fn check(&self) -> Result<(), Trouble> {
        self.ask(MADE_UP).await.map(|_told| ())
    }

    /// What the issuer says of `token`, or said a moment ago. Dropping the future asks no longer.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: nobody can say whether the token is one.
    pub(super) async fn told(&self, token: &str) -> Result<Told, Trouble> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(told) = self.remembered(&key) {
            return Ok(told);
        }
        let _place = self.place().await?;
        // Whoever asked before may have asked about the same.
        if let Some(told) = self.remembered(&key) {
            return Ok(told);
        }
        let told = self.ask(token).await?;
        if told != Err(Refusal::Inactive) {
            self.remember(key, &told);
        }
        Ok(told)
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        const BUSY: Trouble = Trouble::Unreachable("too many tokens wait to be asked about");
        let late = self.clock.sleep_until(self.clock.now().plus(MAX_TIME));
        tokio::select! {
            biased;
            () = late => Err(BUSY),
            place = self.places.acquire() => place.map_err(|_closed| BUSY),
        }
    }

    async fn ask(&self, token: &str) -> Result<Told, Trouble> {
        const SILENT: Trouble =
            Trouble::Unfit("it does not say where it can be asked about tokens");
        let published = self.issuer.keys(|_any| true).await?;
        let place = published.introspection.as_ref().ok_or(SILENT)?;
        let mut form = vec![("token", token), ("token_type_hint", "access_token")];
        let (id, secret) = (&self.settings.client_id, &self.settings.client_secret);
        let authorization = if place.is_basic {
            Some(basic(id, secret)?)
        } else {
            form.extend([
                ("client_id", id.as_str()),
                ("client_secret", secret.expose()),
            ]);
            None
        };
        let asked = self
            .fetcher
            .post(place.url.clone(), encoded(&form)?, authorization);
        let fetched = asked.await.map_err(|trouble| match trouble {
            Trouble::Absent => Trouble::Unfit(
                "it does not answer what this server asks about tokens: its id or its secret may be wrong",
            ),
            other => other,
        })?;
        let unfit = Trouble::Unfit("what it says about tokens is not what RFC 7662 has");
        let told: Map<String, Value> =
            serde_json::from_slice(&fetched.body).map_err(|_error| unfit)?;
        match told.get("active").and_then(Value::as_bool) {
            Some(true) => Ok(Claims::told(told, &self.issuer_id).map(Arc::new)),
            Some(false) => Ok(Err(Refusal::Inactive)),
            None => Err(unfit),
        }
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Told> {
        let now = self.clock.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, until) = known.get(key)?;
        (now < *until).then(|| told.clone())
    }

    fn remember(&self, key: [u8; 32], told: &Told) {
        let now = self.clock.now();
        let latest = now.plus(KEPT);
        let until = match told {
            Ok(claims) => claims.end().min(latest),
            Err(_refused) => latest,
        };
        // It is whole after every statement.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.retain(|_key, (_told, until)| now < *until);
        }
        if known.len() >= MAX_KNOWN {
            let first = known.iter().min_by_key(|(_key, (_told, until))| *until);
            if let Some(first) = first.map(|(key, _known)| *key) {
                known.remove(&first);
            }
        }
        known.insert(key, (told.clone(), until));
    }
}

/// Pairs as forms have them.
fn encoded(form: &[(&str, &str)]) -> Result<String, Trouble> {
    let scratch = Url::parse("http://form/");
    let mut scratch = scratch.map_err(|_error| Trouble::Unfit("forms cannot be written"))?;
    scratch.query_pairs_mut().extend_pairs(form);
    Ok(scratch.query().unwrap_or_default().to_owned())
}

/// The proof in a header, as RFC 6749 has it.
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, Trouble> {
    let word = |text: &str| {
        let pair = encoded(&[("", text)])?;
        Ok::<_, Trouble>(pair.trim_start_matches('=').to_owned())
    };
    let pair = format!("{}:{}", word(id)?, word(secret.expose())?);
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
    let mut value = value.map_err(|_error| Trouble::Unfit("the client's secret cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use seaworthy_fakes::FakeClock;
    use serde_json::json;

    use super::*;

    fn introspection(clock: &FakeClock) -> Introspection {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let fetcher = Fetcher::new(false, Arc::clone(&clock)).unwrap();
        let url = Url::parse("http://127.0.0.1:9").unwrap();
        let issuer = Issuer::new("i", &url, true, fetcher.clone(), Arc::clone(&clock));
        let settings = IntrospectionSettings {
            client_id: "c".to_owned(),
            client_secret: Secret::new("canary"),
            asks_about_all: false,
        };
        Introspection::new(settings, issuer, "i", fetcher, clock)
    }

    fn told(seconds: i64) -> Told {
        let told = json!({ "sub": "s", "aud": "a", "exp": seconds, "token_type": "Bearer" });
        let told = told.as_object().unwrap().clone();
        Claims::told(told, "i").map(Arc::new)
    }

    fn key(number: usize) -> [u8; 32] {
        Sha256::digest(number.to_string().as_bytes()).into()
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_ends_first_goes_first() {
        let clock = FakeClock::new();
        let now = clock.now().as_millis() / 1000;
        let introspection = introspection(&clock);
        introspection.remember(key(0), &told(now + 20));
        for number in 1..MAX_KNOWN {
            introspection.remember(key(number), &told(now + 25));
        }
        assert!(introspection.remembered(&key(0)).is_some());
        introspection.remember(key(MAX_KNOWN), &told(now + 25));
        assert!(introspection.remembered(&key(0)).is_none());
        assert!(introspection.remembered(&key(1)).is_some());
        assert_eq!(introspection.known.lock().unwrap().len(), MAX_KNOWN);
        // What is over makes room for as many as there were.
        clock.advance(Duration::from_secs(25));
        introspection.remember(key(MAX_KNOWN + 1), &told(now + 50));
        assert_eq!(introspection.known.lock().unwrap().len(), 1);
        assert!(!format!("{introspection:?}").contains("canary"));
    }

    #[test]
    fn settings_that_no_form_can_carry_are_unsound() {
        let of = |id: &str, secret: &str| IntrospectionSettings {
            client_id: id.to_owned(),
            client_secret: Secret::new(secret),
            asks_about_all: true,
        };
        let long = "x".repeat(MAX_WORD + 1);
        assert!(of("c", "s").are_sound());
        for (id, secret) in [
            ("", "s"),
            ("c", ""),
            (&long, "s"),
            ("c", &long),
            ("c\n", "s"),
        ] {
            assert!(!of(id, secret).are_sound());
        }
    }

    #[test]
    fn an_id_and_a_secret_are_encoded_before_they_are_joined() {
        let value = basic("a:b", &Secret::new("c d&")).unwrap();
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"a%3Ab:c+d%26");
    }

    #[tokio::test]
    async fn whoever_waits_for_too_long_is_sent_away() {
        let clock = FakeClock::new();
        let introspection = introspection(&clock);
        let places: Vec<_> = (0..MAX_ASKING)
            .map(|_place| introspection.places.try_acquire().unwrap())
            .collect();
        let advancing = async {
            while clock.next_wake().is_none() {
                tokio::task::yield_now().await;
            }
            clock.advance(MAX_TIME);
        };
        let (waited, ()) = tokio::join!(introspection.place(), advancing);
        assert!(matches!(waited, Err(Trouble::Unreachable(_))));
        drop(places);
        assert!(introspection.place().await.is_ok());
    }
}
