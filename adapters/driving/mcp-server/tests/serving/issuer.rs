//! An issuer of access tokens that does whatever a test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A key that was made for these tests and is good for nothing else.
const RSA: &[u8] = include_bytes!("../keys/rsa.pk8");

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What an issuer signs with.
pub(crate) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(RSA).unwrap()))
    }

    pub(crate) fn p256() -> Self {
        let (way, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(way, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(way, made.as_ref(), &random).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap())
    }

    /// As it is published.
    pub(crate) fn public(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "kid": id, "n": encoded(public.n), "e": encoded(public.e) })
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": encoded(x), "y": encoded(y) })
            }
            Self::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": encoded(pair.public_key()) })
            }
        }
    }

    /// A token with this head and these claims, signed as the head says where the key can do that.
    pub(crate) fn sign(&self, head: &Value, claims: &Value) -> String {
        let signed = unsigned(head, claims);
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                match head["alg"].as_str() {
                    Some("PS256") => pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
                }
                .unwrap();
                signature
            }
            Self::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }
}

/// A token without its signature.
pub(crate) fn unsigned(head: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encoded(head.to_string()),
        encoded(claims.to_string())
    )
}

/// What an issuer answers a path with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A document, with further lines of its head.
    Document(&'static str, String),
    Status(&'static str),
    /// Bytes without end.
    Endless,
    /// Nothing, for as long as the client waits.
    Silence,
}

/// An issuer at a port of this machine.
pub(crate) struct Issuer {
    pub(crate) url: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<AtomicU32>,
    forms: Arc<Mutex<Vec<String>>>,
}

const METADATA: &str = "/.well-known/oauth-authorization-server";
const KEYS: &str = "/keys";

impl Issuer {
    /// One whose metadata is right.
    pub(crate) async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
            forms: Arc::default(),
        };
        issuer.says(&issuer.metadata());
        issuer.publishes(keys);
        let (answers, asked) = (Arc::clone(&issuer.answers), Arc::clone(&issuer.asked));
        let forms = Arc::clone(&issuer.forms);
        tokio::spawn(async move {
            loop {
                let (stream, _from) = listener.accept().await.unwrap();
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                tokio::spawn(answer(stream, answers, asked, Arc::clone(&forms)));
            }
        });
        issuer
    }

    /// What it says of itself if nothing is wrong with it.
    pub(crate) fn metadata(&self) -> Value {
        json!({ "issuer": self.url, "jwks_uri": format!("{}{KEYS}", self.url) })
    }

    pub(crate) fn says(&self, metadata: &Value) {
        self.answers_metadata(Answer::Document("", metadata.to_string()));
    }

    pub(crate) fn answers_metadata(&self, answer: Answer) {
        self.answers_at(METADATA, answer);
    }

    pub(crate) fn publishes(&self, keys: &[Value]) {
        self.answers_keys(Answer::Document("", json!({ "keys": keys }).to_string()));
    }

    pub(crate) fn answers_keys(&self, answer: Answer) {
        self.answers_at(KEYS, answer);
    }

    pub(crate) fn answers_at(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// How often it was asked for anything.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The forms that it was sent, with their heads.
    pub(crate) fn forms(&self) -> Vec<String> {
        self.forms.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: TcpStream,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<AtomicU32>,
    forms: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let mut form = vec![0; length.parse().unwrap()];
        if stream.read_exact(&mut form).await.is_err() {
            return;
        }
        let form = format!("{head}{}", String::from_utf8(form).unwrap());
        forms.lock().unwrap().push(form);
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let path = head.split(' ').nth(1).unwrap();
    let answer = answers.lock().unwrap().get(path).cloned();
    let status = |status: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    };
    let whole = match answer {
        Some(Answer::Document(lines, body)) => format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n{lines}\r\n{body}",
            body.len()
        ),
        Some(Answer::Status(line)) => status(line),
        Some(Answer::Endless) => {
            let start = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"issuer\":\"";
            let _gone = stream.write_all(start.as_bytes()).await;
            while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
            return;
        }
        Some(Answer::Silence) => {
            // Until the client goes.
            let _gone = stream.read_u8().await;
            return;
        }
        None => status("404 Not Found"),
    };
    let _gone = stream.write_all(whole.as_bytes()).await;
    let _gone = stream.shutdown().await;
}
