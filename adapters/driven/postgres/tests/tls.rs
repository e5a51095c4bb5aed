//! Encrypted connections, and servers that are not who they should be.
#![cfg(has_postgres_programs)]
#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use seaworthy_ports::state_store::{Kind, StateStoreError};
use seaworthy_postgres::{Postgres, PostgresConfig};
use support::server::Server;
use support::time::RealClock;
use support::{raw, words};
use tempfile::TempDir;

/// An authority, whose certificate lies in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.join(name);
        std::fs::write(&file, certificate.pem()).expect("a file");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A server of that name, certified by it.
    async fn server(&self, name: &str) -> Server {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate");
        Server::certified(&certificate.pem(), &key.serialize_pem()).await
    }
}

/// The server, called so, with a password that nothing may repeat.
fn url(server: &Server, host: &str, settings: &str) -> String {
    let port = server.port();
    format!("postgres://seaworthy:canary@{host}:{port}/postgres?{settings}")
}

fn trusting(authority: &Authority, mode: &str) -> String {
    format!("sslmode={mode}&sslrootcert={}", authority.file.display())
}

/// Migrates and opens. What is refused never shows the password.
async fn opened(url: &str) -> Result<Postgres, StateStoreError> {
    let config = PostgresConfig::new(url);
    let opened = match Postgres::migrate(&config).await {
        Ok(()) => Postgres::connect(config, Arc::new(RealClock)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &opened {
        let words = words(error);
        assert!(!words.contains("canary"), "{words}");
    }
    opened
}

async fn refusal(url: &str) -> Kind {
    opened(url).await.expect_err("it must not open").kind()
}

/// Whether the adapter's connections are encrypted, as the server sees them.
async fn is_encrypted(server: &Server, settings: &str) -> bool {
    let named = format!("{settings}&application_name=watched");
    let postgres = opened(&url(server, "localhost", &named)).await;
    let postgres = postgres.expect("it opens");
    // So that there is a connection.
    let log = support::log("nothing");
    let head = postgres.state_store().head(&log).await;
    assert_eq!(head.expect("an answer"), None);
    let mut raw = raw(&server.url(), "public").await;
    let encrypted = sqlx::query_scalar(
        "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a ON a.pid = s.pid
        WHERE a.application_name = 'watched'",
    )
    .fetch_one(&mut raw);
    let encrypted: Option<bool> = encrypted.await.expect("an answer");
    postgres.close().await;
    encrypted.expect("a connection")
}

#[tokio::test]
async fn a_server_is_checked_as_far_as_the_mode_demands() {
    let folder = TempDir::new().expect("a folder");
    let ours = Authority::new(folder.path(), "ours");
    let other = Authority::new(folder.path(), "other");
    let server = ours.server("localhost").await;
    // Certified for localhost, and called by its address: another name.
    for (mode, host, authority, opens) in [
        ("verify-full", "localhost", &ours, true),
        ("verify-full", "localhost", &other, false),
        ("verify-full", "127.0.0.1", &ours, false),
        ("verify-ca", "127.0.0.1", &ours, true),
        ("verify-ca", "localhost", &other, false),
        ("require", "127.0.0.1", &other, true),
        ("prefer", "127.0.0.1", &other, true),
    ] {
        let url = url(&server, host, &trusting(authority, mode));
        match opened(&url).await {
            Ok(postgres) => {
                assert!(opens, "{url} must be refused");
                postgres.close().await;
            }
            Err(error) => {
                assert!(!opens, "{url}: {error:?}");
                assert_eq!(error.kind(), Kind::Rejected, "{url}: {error:?}");
            }
        }
    }
    // Nobody vouches for it but the authority that is not named.
    let unnamed = url(&server, "localhost", "sslmode=verify-full");
    assert_eq!(refusal(&unnamed).await, Kind::Rejected);
}

#[tokio::test]
async fn what_is_not_said_to_be_plain_is_encrypted_where_the_server_can() {
    let folder = TempDir::new().expect("a folder");
    let server = Authority::new(folder.path(), "ours")
        .server("localhost")
        .await;
    assert!(!is_encrypted(&server, "sslmode=disable").await);
    for settings in ["sslmode=prefer", "sslmode=require", ""] {
        assert!(is_encrypted(&server, settings).await, "{settings}");
    }
}

#[tokio::test]
async fn a_server_without_a_certificate_is_refused_where_one_is_demanded() {
    let server = Server::start(&[]).await;
    assert!(!is_encrypted(&server, "sslmode=prefer").await);
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = url(&server, "localhost", &format!("sslmode={mode}"));
        assert_eq!(refusal(&url).await, Kind::Rejected, "{mode}");
    }
}
