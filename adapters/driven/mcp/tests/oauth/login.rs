//! People who are asked to let a client in, and what comes back with their browsers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use seaworthy_mcp::Loopback;
use seaworthy_ports::mcp::{Kind, McpError, OAuth, OAuthGrant, OAuthPerson, OAuthRegistration};
use seaworthy_ports::{Secret, async_trait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::*;

const REDIRECT: &str = "http://127.0.0.1:1/callback";

/// What a person was shown, by name.
type Asked = BTreeMap<String, String>;

/// Somebody whose browser comes back with what the test makes of the question.
struct Person {
    answer: Box<dyn Fn(&Asked) -> String + Send + Sync>,
    asked: Mutex<Vec<Asked>>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person")
    }
}

impl Person {
    fn who(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            asked: Mutex::default(),
        })
    }

    /// One who grants everything.
    fn kind() -> Arc<Self> {
        Self::who(|asked| format!("code=canary-code&state={}", asked["state"]))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn asked(address: &str) -> Asked {
    let url = Url::parse(address).unwrap();
    url.query_pairs().into_owned().collect()
}

#[async_trait]
impl OAuthPerson for Person {
    fn redirect(&self) -> String {
        REDIRECT.to_owned()
    }

    async fn ask(&self, address: &str) -> Result<Secret, McpError> {
        let asked = asked(address);
        let came = (self.answer)(&asked);
        self.asked.lock().unwrap().push(asked);
        Ok(Secret::new(came))
    }
}

/// A client that registers itself and asks `person`.
fn asking(store: &Arc<Store>, person: &Arc<Person>) -> OAuth {
    let mut client = oauth(store);
    client.client_id = None;
    client.person = Some(Arc::<Person>::clone(person));
    client
}

/// What is wrong with a login. Nothing is kept of it.
async fn refused(world: &World, person: &Arc<Person>) -> McpError {
    let store = Arc::<Store>::default();
    let error = connect(world.server(asking(&store, person))).await;
    let error = error.unwrap_err();
    says_nothing(&error);
    assert_eq!(store.kept(), None);
    error
}

/// A browser that is sent to `address` and comes back to this machine with `says` in its query.
async fn browse(address: String, says: &str) -> String {
    let asked = asked(&address);
    let back = Url::parse(&asked["redirect_uri"]).unwrap();
    let place = format!("{}:{}", back.host_str().unwrap(), back.port().unwrap());
    let mut connection = TcpStream::connect(&place).await.unwrap();
    let request = format!(
        "GET {}?{says}&state={} HTTP/1.1\r\nHost: {place}\r\nAccept: */*\r\n\r\n",
        back.path(),
        asked["state"]
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).await.unwrap();
    page
}

/// A login at a port of this machine, and what the browser was shown in the end.
async fn at_this_machine(
    world: &World,
    store: &Arc<Store>,
    says: &'static str,
) -> (Result<(), McpError>, String, Asked) {
    let (shown, mut addresses) = tokio::sync::mpsc::unbounded_channel();
    let person = Loopback::listen(0, move |address: &str| {
        shown.send(address.to_owned()).unwrap();
    });
    let mut client = oauth(store);
    client.client_id = None;
    client.scopes = vec!["read".to_owned(), "write".to_owned()];
    client.person = Some(Arc::new(person.await.unwrap()));
    let browsing = tokio::spawn(async move {
        let address = addresses.recv().await.unwrap();
        (asked(&address), browse(address, says).await)
    });
    let connected = connect(world.server(client)).await;
    let (asked, page) = browsing.await.unwrap();
    (connected.map(|_session| ()), page, asked)
}

#[tokio::test]
async fn a_person_logs_in_at_this_machine_with_a_proof_that_no_thief_has() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let (connected, page, asked) = at_this_machine(&world, &store, "code=canary-code").await;
    connected.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        !page.contains(CANARY) && page.contains("referrer-policy: no-referrer"),
        "{page}"
    );
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["scope"], "read write");
    assert_eq!(asked["resource"], format!("{}{MCP}", world.origin));
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["client_id"], "canary-client");
    let request = world.backend.requests();
    let redeemed = request
        .iter()
        .find(|asked| asked.starts_with("POST /token"));
    let redeemed = redeemed.unwrap();
    let verifier = field(redeemed, "code_verifier").unwrap();
    assert!(verifier.len() >= 43, "{verifier}");
    assert!(
        !request
            .iter()
            .any(|other| other != redeemed && other.contains(&verifier))
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    assert_eq!(asked["code_challenge"], URL_SAFE_NO_PAD.encode(digest));
    assert!(asked["state"].len() >= 43 && asked["state"] != verifier);
    let told: Value = serde_json::from_str(&world.bodies(REGISTER)[0]).unwrap();
    assert_eq!(told["redirect_uris"], json!([asked["redirect_uri"]]));
    assert_eq!(told["token_endpoint_auth_method"], "none");
    assert_eq!(told["application_type"], "native");
    let kept = store.kept().unwrap();
    assert_eq!(kept.access, Secret::new("canary-access-1"));
    assert_eq!(kept.scopes, ["read", "write"]);
    assert_eq!(kept.registration.unwrap().client_id, "canary-client");
}

#[tokio::test]
async fn a_person_who_says_no_is_asked_once_and_nothing_is_kept() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let says = "error=access_denied&error_description=canary";
    let (connected, page, _asked) = at_this_machine(&world, &store, says).await;
    let error = connected.unwrap_err();
    says_nothing(&error);
    assert_eq!(error.kind(), Kind::Authentication);
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert_eq!((store.kept(), world.asked(TOKEN)), (None, 0));

    let person = Person::who(|asked| format!("error=access_denied&state={}", asked["state"]));
    let error = refused(&world, &person).await;
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(person.asked().len(), 1);
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_there_is_time() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let person = Arc::new(Loopback::listen(0, |_address: &str| {}).await.unwrap());
    let redirect = person.redirect();
    let mut client = oauth(&store);
    client.person = Some(person);
    let mut server = world.server(client);
    server.connect_timeout = SHORT;
    let error = connect(server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!((store.kept(), world.asked(TOKEN)), (None, 0));
    // The port is free again.
    let place = redirect.strip_prefix("http://").unwrap();
    let place = place.strip_suffix("/callback").unwrap();
    assert!(TcpStream::connect(place).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let first = Loopback::listen(0, |_address: &str| {}).await.unwrap();
    let port = Url::parse(&first.redirect()).unwrap().port().unwrap();
    let second = Loopback::listen(port, |_address: &str| {}).await;
    assert_eq!(second.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_browser_that_brings_what_was_not_asked_for_gets_no_code_redeemed() {
    let world = World::new().await;
    world.says_of_itself(
        "authorization_response_iss_parameter_supported",
        json!(true),
    );
    let own = |query: &str| {
        let iss = format!("iss={}", world.origin);
        let query = query.replace("iss=own", &iss);
        Person::who(move |asked| query.replace("MARK", &asked["state"]))
    };
    for query in [
        "",
        "canary",
        "code=canary-code&iss=own",
        "code=canary-code&state=canary&iss=own",
        "code=canary-code&state=MARK&state=MARK&iss=own",
        "code=canary-code&code=canary-code&state=MARK&iss=own",
        "code=canary-code&state=MARK",
        "code=canary-code&state=MARK&iss=https://canary.example",
        "code=canary-code&state=MARK&iss=own&iss=own",
        "code=canary-code&state=MARK&iss=own/",
        "code=&state=MARK&iss=own",
        "code=canary%0Acode&state=MARK&iss=own",
        "access_token=canary&state=MARK&iss=own",
    ] {
        let person = own(query);
        let error = refused(&world, &person).await;
        assert_eq!(error.kind(), Kind::Authentication, "{query}: {error}");
        assert_eq!(person.asked().len(), 1, "{query}");
    }
    assert_eq!(world.asked(TOKEN), 0);
    let person = own("code=canary-code&state=MARK&iss=own");
    let store = Arc::<Store>::default();
    assert!(connect(world.server(asking(&store, &person))).await.is_ok());
}

#[tokio::test]
async fn a_code_that_is_refused_is_not_shown_again() {
    let world = World::new().await;
    let person = Person::who(|asked| format!("code=canary-other&state={}", asked["state"]));
    let error = refused(&world, &person).await;
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!((person.asked().len(), world.asked(TOKEN)), (1, 1));
}

#[tokio::test]
async fn nobody_is_asked_where_a_code_could_be_stolen_or_is_of_no_use() {
    let world = World::new().await;
    for (name, value) in [
        ("code_challenge_methods_supported", Value::Null),
        ("code_challenge_methods_supported", json!([])),
        ("code_challenge_methods_supported", json!(["plain", "s256"])),
        ("authorization_endpoint", Value::Null),
        ("registration_endpoint", Value::Null),
        (
            "token_endpoint_auth_methods_supported",
            json!(["private_key_jwt"]),
        ),
    ] {
        world.says_of_itself(name, value.clone());
        let person = Person::kind();
        let error = refused(&world, &person).await;
        assert_eq!(
            error.kind(),
            Kind::Authentication,
            "{name} {value}: {error}"
        );
        assert!(person.asked().is_empty(), "{name} {value}");
    }
}

#[tokio::test]
async fn a_registration_that_cannot_be_gone_by_asks_nobody() {
    let world = World::new().await;
    let registered = |name: &str, value: Value| {
        let mut answer = json!({"client_id": "canary-client"});
        answer[name] = value;
        json_of("201 Created", &answer)
    };
    for (answer, kind) in [
        (
            json_of("400 Bad Request", &json!({"error": CANARY})),
            Kind::Authentication,
        ),
        (
            json_of("401 Unauthorized", &json!({"error": CANARY})),
            Kind::Authentication,
        ),
        (
            reply("302 Found", "location: https://canary.example/\r\n", ""),
            Kind::Authentication,
        ),
        (reply("500 Broken", "", CANARY), Kind::Unavailable),
        (reply("201 Created", "", CANARY), Kind::Authentication),
        (endless(), Kind::Authentication),
        (registered("client_id", Value::Null), Kind::Authentication),
        (registered("client_id", json!("")), Kind::Authentication),
        (
            registered("client_id", json!("can\nary")),
            Kind::Authentication,
        ),
        (
            registered("client_id", json!("x".repeat(2049))),
            Kind::Authentication,
        ),
        (registered("client_secret", json!(7)), Kind::Authentication),
        (
            registered("redirect_uris", json!(["https://canary.example/"])),
            Kind::Authentication,
        ),
        (registered("redirect_uris", json!([])), Kind::Authentication),
        (
            registered("token_endpoint_auth_method", json!("x".repeat(2049))),
            Kind::Authentication,
        ),
    ] {
        let shown = format!("{answer:?}");
        world.at(REGISTER, move |_request| answer.clone());
        let person = Person::kind();
        let error = refused(&world, &person).await;
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert!(person.asked().is_empty(), "{shown}");
    }
    let answer = registered("redirect_uris", json!(["https://other.example/", REDIRECT]));
    world.at(REGISTER, move |_request| answer.clone());
    let store = Arc::<Store>::default();
    let person = Person::kind();
    assert!(connect(world.server(asking(&store, &person))).await.is_ok());
}

#[tokio::test]
async fn a_secret_that_a_client_was_registered_with_is_shown_as_it_was_told() {
    let world = World::new().await;
    for (method, secret, in_form) in [
        (json!("client_secret_post"), json!("canary-given"), true),
        (json!("none"), json!("canary-unwanted"), false),
        (Value::Null, json!("canary-unwanted"), false),
    ] {
        let mut answer = json!({"client_id": "canary-client", "client_secret": secret});
        answer["token_endpoint_auth_method"] = method.clone();
        world.says(REGISTER, &answer);
        let store = Arc::<Store>::default();
        let person = Person::kind();
        let session = connect(world.server(asking(&store, &person)))
            .await
            .unwrap();
        let form = world.bodies(TOKEN).pop().unwrap();
        assert_eq!(
            form.contains("client_secret=canary-given"),
            in_form,
            "{method}"
        );
        assert!(!form.contains("unwanted"), "{method}");
        let known = store.kept().unwrap().registration.unwrap();
        assert_eq!(known.secret.is_some(), in_form);
        assert!(!format!("{session:?}").contains(CANARY));
    }
    // One that is to be shown in a way that is not known is shown in none.
    world.says(
        REGISTER,
        &json!({
            "client_id": "canary-client", "client_secret": "canary-odd",
            "token_endpoint_auth_method": "client_secret_jwt",
        }),
    );
    let asked = world.asked(TOKEN);
    let error = refused(&world, &Person::kind()).await;
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(world.asked(TOKEN), asked);
}

#[tokio::test]
async fn tokens_are_renewed_as_whoever_they_were_given_to() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let mut kept = world.kept();
    kept.registration = Some(OAuthRegistration {
        client_id: "canary-registered".to_owned(),
        secret: None,
        method: None,
    });
    store.put(kept);
    assert!(world.session(&store).await.is_ok());
    assert!(world.bodies(TOKEN)[0].contains("client_id=canary-registered"));
    // And they still are next time.
    let registration = store.kept().unwrap().registration.unwrap();
    assert_eq!(registration.client_id, "canary-registered");
    // Who is known by no id is nobody.
    let store = world.store();
    let mut nobody = oauth(&store);
    nobody.client_id = None;
    world.at_mcp(|_request| reply("401 Unauthorized", "", ""));
    let asked = world.asked(TOKEN);
    let error = connect(world.server(nobody)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(world.asked(TOKEN), asked);
}

#[tokio::test]
async fn a_person_is_asked_for_more_three_times_in_a_session() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let person = Person::kind();
    let session = connect(world.server(asking(&store, &person)))
        .await
        .unwrap();
    world.at_mcp(|_request| {
        let wanted = "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"more\"\r\n";
        reply("403 Forbidden", wanted, "")
    });
    for _call in 0..6 {
        assert_eq!(call(&session).await.unwrap_err().kind(), Kind::Permission);
    }
    let asked = person.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[1]["scope"], "more");
}

#[tokio::test]
async fn a_person_who_has_said_no_is_left_alone() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let mood = AtomicBool::new(true);
    let person = Person::who(move |asked| {
        let answer = match mood.swap(false, Ordering::Relaxed) {
            true => "code=canary-code",
            false => "error=access_denied",
        };
        format!("{answer}&state={}", asked["state"])
    });
    let session = connect(world.server(asking(&store, &person)));
    let session = session.await.unwrap();
    world.at(TOKEN, |_request| {
        json_of("400 Bad Request", &json!({"error": "invalid_grant"}))
    });
    // More than was granted is forbidden then.
    world.at_mcp(|_request| {
        let wanted = "www-authenticate: Bearer error=\"insufficient_scope\"\r\n";
        reply("403 Forbidden", wanted, "")
    });
    assert_eq!(call(&session).await.unwrap_err().kind(), Kind::Permission);
    assert_eq!(person.asked().len(), 2);
    world.at_mcp(|_request| reply("401 Unauthorized", "", ""));
    for _call in 0..3 {
        let error = call(&session).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Authentication);
    }
    let asked = person.asked().len();
    assert!(asked <= 3, "{asked}");
}

#[tokio::test]
async fn a_client_for_itself_asks_nobody() {
    let world = World::new().await;
    let person = Person::kind();
    let mut client = asking(&Arc::default(), &person);
    client.client_id = Some("client".to_owned());
    client.grant = OAuthGrant::ClientCredentials;
    world.at(TOKEN, |_request| {
        json_of("400 Bad Request", &json!({"error": "invalid_client"}))
    });
    let error = connect(world.server(client)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert!(person.asked().is_empty());
}

#[tokio::test]
async fn a_document_describes_a_client_to_those_who_read_one() {
    const DOCUMENT: &str = "https://client.example/about.json";
    let world = World::new().await;
    for (reads, id, registered) in [(true, DOCUMENT, 0), (false, "canary-client", 1)] {
        world.says_of_itself("client_id_metadata_document_supported", json!(reads));
        let person = Person::kind();
        let mut client = asking(&Arc::default(), &person);
        client.client_id = Some(DOCUMENT.to_owned());
        assert!(connect(world.server(client)).await.is_ok());
        assert_eq!(person.asked()[0]["client_id"], id);
        assert_eq!(world.asked(REGISTER), registered);
    }
}
