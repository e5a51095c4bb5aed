//! A server of a test's own, to be stopped and started.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// PostgreSQL does not run as root; then it runs as this user, commonly `nobody`.
const NOBODY: u32 = 65_534;

pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("SEAWORTHY_POSTGRES_PROGRAMS")).join(name)
}

fn command(name: &str) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(program(name));
        command
    } else {
        Command::new(program(name))
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

impl Server {
    /// A fresh server that is up, with these settings.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let mut server = Self::made();
        server.up(settings).await;
        server
    }

    /// A fresh server that is up and shows this certificate.
    pub(crate) async fn certified(certificate: &str, key: &str) -> Self {
        let mut server = Self::made();
        let mut settings = vec!["ssl=on".to_owned()];
        for (name, content) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            let file = server.folder.path().join(name);
            std::fs::write(&file, content).expect("a file for the server");
            let for_the_server_alone = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, for_the_server_alone).expect("a private file");
            if std::fs::metadata(&file).is_ok_and(|file| file.uid() == 0) {
                chown(&file, Some(NOBODY), Some(NOBODY)).expect("a file of the server's");
            }
            settings.push(format!("{name}={}", file.display()));
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        server.up(&settings).await;
        server
    }

    /// A fresh server that is not up.
    fn made() -> Self {
        let folder = TempDir::new().expect("a folder");
        if std::fs::metadata(folder.path()).is_ok_and(|folder| folder.uid() == 0) {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("a folder for the server");
        }
        let made = command("initdb")
            .args([
                "-U",
                "seaworthy",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(folder.path().join("data"))
            .status();
        assert!(made.expect("initdb").success(), "a new server");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        Self {
            folder,
            port,
            process: None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://seaworthy@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it and waits until it takes connections.
    pub(crate) async fn up(&mut self, settings: &[&str]) {
        let mut starting = command("postgres");
        starting
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .arg("-k")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1"].iter().chain(settings) {
            starting.args(["-c", setting]);
        }
        self.process = Some(starting.spawn().expect("a server"));
        let ready = async {
            let options: sqlx::postgres::PgConnectOptions = self.url().parse().expect("a URL");
            while sqlx::ConnectOptions::connect(&options).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready)
            .await
            .expect("a server that starts");
    }

    /// Stops it at once, in the middle of whatever it does, as a crash would.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let told = Command::new("kill")
            .args(["-QUIT", &process.id().to_string()])
            .status();
        assert!(
            told.is_ok_and(|told| told.success()),
            "a signal to the server"
        );
        process.wait().expect("the server's end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.crash();
        }
    }
}
