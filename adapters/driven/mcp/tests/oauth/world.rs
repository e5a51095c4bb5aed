//! A server that wants tokens and its authorisation server, both at one port of this machine and driven by hand.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::http::{Act, Backend};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::mcp::{
    Authorization, Beginning, Endpoint, Mcp as _, McpCall, McpCallResult, McpError, McpServer,
    McpSession, OAuth, OAuthGrant, OAuthProof, OAuthTokenLock, OAuthTokenStore, OAuthTokens,
    Transport,
};
use seaworthy_ports::{Latch, Secret, ServerAlias, async_trait};
use serde_json::{Value, json};

pub(crate) const LONG: Duration = Duration::from_secs(100);
/// A time that is over soon, for what never ends by itself.
pub(crate) const SHORT: Duration = Duration::from_millis(400);
/// In every secret, and in everything that a server says of its own accord.
pub(crate) const CANARY: &str = "canary";

pub(crate) const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
pub(crate) const METADATA: &str = "/.well-known/oauth-authorization-server";
pub(crate) const TOKEN: &str = "/token";
pub(crate) const REGISTER: &str = "/register";
pub(crate) const MCP: &str = "/mcp";

type Answer = Arc<dyn Fn(&str) -> Vec<Act> + Send + Sync>;

/// What the authorisation server has given.
#[derive(Debug, Default)]
struct Given {
    /// How many.
    times: usize,
    /// The one that works now.
    access: Option<String>,
    refresh: Option<String>,
}

/// Both servers.
pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) origin: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
}

impl World {
    /// Nothing is wrong with it: the refresh token of [`kept`] and the code `canary-code` get tokens.
    pub(crate) async fn new() -> Self {
        let backend = Backend::start().await;
        let origin = backend.url().trim_end_matches("/v1").to_owned();
        let answers: Arc<Mutex<BTreeMap<String, Answer>>> = Arc::default();
        let given = Arc::new(Mutex::new(Given {
            refresh: Some(format!("{CANARY}-refresh")),
            ..Given::default()
        }));
        let (own, at) = (Arc::clone(&answers), origin.clone());
        backend.respond_to(move |request| {
            let path = path(request);
            let answer = own.lock().unwrap().get(path).cloned();
            match answer {
                Some(answer) => answer(request),
                None => usual(request, path, &at, &mut given.lock().unwrap()),
            }
        });
        Self {
            backend,
            origin,
            answers,
        }
    }

    /// From now on `path` is answered like this.
    pub(crate) fn at(&self, path: &str, answer: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), Arc::new(answer));
    }

    /// From now on messages are answered like this. There is no stream for what is said unasked.
    pub(crate) fn at_mcp(&self, answer: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) {
        self.at(MCP, move |request| match request.starts_with("POST ") {
            true => answer(request),
            false => reply("405 Method Not Allowed", "", ""),
        });
    }

    /// How many messages came.
    pub(crate) fn posted(&self) -> usize {
        let requests = self.backend.requests();
        let posted = |asked: &&String| asked.starts_with("POST ") && path(asked) == MCP;
        requests.iter().filter(posted).count()
    }

    /// From now on `path` is answered with this document.
    pub(crate) fn says(&self, path: &str, document: &Value) {
        let acts = json_of("200 OK", document);
        self.at(path, move |_request| acts.clone());
    }

    /// From now on the authorisation server says this of itself besides; `null`: no longer.
    pub(crate) fn says_of_itself(&self, name: &str, value: Value) {
        let mut metadata = metadata(&self.origin);
        metadata[name] = value;
        self.says(METADATA, &metadata);
    }

    /// From now on nothing is wrong with `path` any more.
    pub(crate) fn mend(&self, path: &str) {
        self.answers.lock().unwrap().remove(path);
    }

    /// How often `path` was asked.
    pub(crate) fn asked(&self, wanted: &str) -> usize {
        let requests = self.backend.requests();
        requests
            .iter()
            .filter(|asked| path(asked) == wanted)
            .count()
    }

    /// The bodies of what `path` was asked.
    pub(crate) fn bodies(&self, wanted: &str) -> Vec<String> {
        let requests = self.backend.requests();
        let of = requests.iter().filter(|asked| path(asked) == wanted);
        of.map(|asked| asked.split_once("\r\n\r\n").unwrap().1.to_owned())
            .collect()
    }

    pub(crate) fn server(&self, oauth: OAuth) -> McpServer {
        server_at(&self.origin, Authorization::OAuth(oauth))
    }

    /// A session, where the tokens of `store` get one.
    pub(crate) async fn session(
        &self,
        store: &Arc<Store>,
    ) -> Result<Arc<dyn McpSession>, McpError> {
        connect(self.server(oauth(store))).await
    }

    /// What is wrong with connecting. It names nobody.
    pub(crate) async fn fault(&self, store: &Arc<Store>) -> McpError {
        let error = self.session(store).await.unwrap_err();
        says_nothing(&error);
        error
    }

    /// Tokens that this authorisation server gave.
    pub(crate) fn kept(&self) -> OAuthTokens {
        OAuthTokens {
            access: Secret::new(format!("{CANARY}-access")),
            refresh: Some(Secret::new(format!("{CANARY}-refresh"))),
            expires: None,
            issuer: self.origin.clone(),
            scopes: Vec::new(),
            registration: None,
        }
    }

    /// A store with them.
    pub(crate) fn store(&self) -> Arc<Store> {
        let store = Arc::<Store>::default();
        store.put(self.kept());
        store
    }
}

/// What an authorisation server says of itself if nothing is wrong with it.
pub(crate) fn metadata(origin: &str) -> Value {
    json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}{TOKEN}"),
        "registration_endpoint": format!("{origin}{REGISTER}"),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
        "remark": CANARY,
    })
}

fn usual(request: &str, path: &str, origin: &str, given: &mut Given) -> Vec<Act> {
    match path {
        RESOURCE => json_of(
            "200 OK",
            &json!({"resource": format!("{origin}{MCP}"), "authorization_servers": [origin]}),
        ),
        METADATA => json_of("200 OK", &metadata(origin)),
        REGISTER => json_of("201 Created", &json!({"client_id": "canary-client"})),
        TOKEN => {
            let refresh = field(request, "refresh_token");
            let is_known = match field(request, "grant_type").as_deref() {
                Some("refresh_token") => refresh.is_some() && refresh == given.refresh,
                Some("authorization_code") => {
                    field(request, "code").as_deref() == Some("canary-code")
                }
                grant => grant == Some("client_credentials"),
            };
            if !is_known {
                // Whoever uses a token twice has stolen it.
                given.refresh = None;
                return json_of(
                    "400 Bad Request",
                    &json!({"error": "invalid_grant", "is": CANARY}),
                );
            }
            given.times += 1;
            let (access, refresh) = (
                format!("{CANARY}-access-{}", given.times),
                format!("{CANARY}-refresh-{}", given.times),
            );
            given.access = Some(access.clone());
            given.refresh = Some(refresh.clone());
            json_of(
                "200 OK",
                &json!({"access_token": access, "refresh_token": refresh, "token_type": "Bearer"}),
            )
        }
        MCP => {
            let shown = header(request, "authorization");
            let is_known = given
                .access
                .as_ref()
                .is_some_and(|access| shown.as_deref() == Some(&format!("Bearer {access}")));
            if is_known {
                return served(request);
            }
            json_of("401 Unauthorized", &json!({"error": CANARY}))
        }
        _ => reply("404 Not Found", "", CANARY),
    }
}

/// What the server answers to whoever it knows.
pub(crate) fn served(request: &str) -> Vec<Act> {
    let body = request.split_once("\r\n\r\n").unwrap().1;
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "guarded", "version": "0"},
        }),
        Some("tools/list") => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
        Some("tools/call") => json!({"content": []}),
        Some(_) => return reply("202 Accepted", "", ""),
        None => return reply("405 Method Not Allowed", "", ""),
    };
    json_of(
        "200 OK",
        &json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}),
    )
}

pub(crate) fn reply(status: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    vec![Act::Say(format!("{head}{headers}\r\n{body}").into_bytes())]
}

pub(crate) fn json_of(status: &str, document: &Value) -> Vec<Act> {
    reply(
        status,
        "content-type: application/json\r\n",
        &document.to_string(),
    )
}

/// A document that never ends.
pub(crate) fn endless() -> Vec<Act> {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"canary\":\"";
    vec![Act::Say(head.to_vec()), Act::Repeat(vec![b'x'; 64 * 1024])]
}

/// The path that a request is for, without its query.
fn path(request: &str) -> &str {
    let target = request.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

pub(crate) fn header(request: &str, name: &str) -> Option<String> {
    let (head, _body) = request.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

/// A field of a form whose values need no other form.
pub(crate) fn field(request: &str, name: &str) -> Option<String> {
    let (_head, body) = request.split_once("\r\n\r\n")?;
    body.split('&').find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        (known == name).then(|| value.to_owned())
    })
}

/// The server at `origin`, as a client has to be told of it.
pub(crate) fn server_at(origin: &str, authorization: Authorization) -> McpServer {
    McpServer {
        alias: ServerAlias::new("guarded").unwrap(),
        transport: Transport::StreamableHttp(Endpoint {
            url: format!("{origin}{MCP}"),
            authorization,
            headers: BTreeMap::new(),
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
        beginning: Beginning::default(),
    }
}

/// A client with an id of its own and no proof, which asks nobody.
pub(crate) fn oauth(store: &Arc<Store>) -> OAuth {
    OAuth {
        client_id: Some("client".to_owned()),
        proof: OAuthProof::None,
        issuer: None,
        scopes: Vec::new(),
        grant: OAuthGrant::AuthorizationCode,
        tokens: Arc::<Store>::clone(store),
        person: None,
    }
}

pub(crate) async fn connect(server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
    McpClient::new(McpConfig::default()).connect(server).await
}

pub(crate) async fn call(session: &Arc<dyn McpSession>) -> Result<McpCallResult, McpError> {
    let call = McpCall {
        tool: "t".to_owned(),
        arguments: json!({}),
        meta: BTreeMap::new(),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    };
    session.call(call).await
}

/// Nothing that is secret or that a server said is in the error.
pub(crate) fn says_nothing(error: &McpError) {
    let mut words = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    assert!(!words.contains(CANARY), "{words}");
    assert!(!words.contains("127.0.0.1"), "{words}");
}

/// Tokens that a test looks into.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: Mutex<Option<OAuthTokens>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    pub(crate) fn kept(&self) -> Option<OAuthTokens> {
        self.kept.lock().unwrap().clone()
    }

    pub(crate) fn put(&self, tokens: OAuthTokens) {
        *self.kept.lock().unwrap() = Some(tokens);
    }
}

#[async_trait]
impl OAuthTokenStore for Store {
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError> {
        Ok(self.kept())
    }

    async fn save(&self, tokens: OAuthTokens) -> Result<(), McpError> {
        self.put(tokens);
        Ok(())
    }

    async fn lock(&self) -> Result<OAuthTokenLock, McpError> {
        let held = Arc::clone(&self.lock).lock_owned().await;
        Ok(OAuthTokenLock::new(held))
    }
}
