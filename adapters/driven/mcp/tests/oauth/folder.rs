//! Tokens in files: who can read them, what is left of them when a process dies, and whose turn it is.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use seaworthy_mcp::{FileTokens, TokenFolder};
use seaworthy_ports::mcp::{
    Authorization, Kind, McpError, OAuthRegistration, OAuthTokenStore as _, OAuthTokens,
};
use seaworthy_ports::{Secret, Timestamp};
use tempfile::TempDir;

use crate::world::*;

const NAME: &str = "tickets at https://tickets.example";
/// Where a process that a test starts finds the tokens, what it does with them, and where servers are.
const PLACE: &str = "SEAWORTHY_TEST_TOKENS";
const WORK: &str = "SEAWORTHY_TEST_WORK";
const ORIGIN: &str = "SEAWORTHY_TEST_ORIGIN";

fn numbered(number: u64) -> OAuthTokens {
    OAuthTokens {
        access: Secret::new(format!("{CANARY}-{number}")),
        refresh: Some(Secret::new(format!("{CANARY}-{number}-refresh"))),
        expires: Some(Timestamp::from_millis(i64::try_from(number).unwrap())),
        issuer: "https://issuer.example".to_owned(),
        // So that writing takes its time.
        scopes: (0..100).map(|each| format!("{each:0>600}")).collect(),
        registration: Some(OAuthRegistration {
            client_id: "client".to_owned(),
            secret: Some(Secret::new(format!("{CANARY}-{number}-secret"))),
            method: Some("client_secret_post".to_owned()),
        }),
    }
}

/// A folder that does not exist yet, and tokens in it.
fn place() -> (TempDir, PathBuf, FileTokens) {
    let above = TempDir::new().unwrap();
    let folder = above.path().join("one").join("tokens");
    let tokens = TokenFolder::new(&folder).tokens(NAME);
    (above, folder, tokens)
}

/// The only file of the folder with this ending.
fn file(folder: &Path, ending: &str) -> PathBuf {
    let mut found = files(folder, ending);
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().unwrap()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap();
    let all = all.map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|known| known == ending))
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// An error that names nothing of what is kept, and says what to do.
fn wants_a_login(error: &McpError) {
    assert_eq!(error.kind(), Kind::Malformed, "{error}");
    assert!(error.to_string().contains("log in again"), "{error}");
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
}

#[tokio::test]
async fn what_is_kept_is_its_users_alone() {
    let (_above, folder, tokens) = place();
    assert_eq!(tokens.load().await.unwrap(), None);
    assert!(!tokens.forget().await.unwrap());
    assert!(!folder.exists());
    tokens.save(numbered(1)).await.unwrap();
    let lock = tokens.lock().await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o700);
    assert_eq!(mode(&file(&folder, "json")), 0o600);
    assert_eq!(mode(&file(&folder, "lock")), 0o600);
    drop(lock);
    assert_eq!(tokens.load().await.unwrap(), Some(numbered(1)));
    // A file that somebody opened keeps what was in it: the new one is another.
    let old = File::open(file(&folder, "json")).unwrap();
    tokens.save(numbered(2)).await.unwrap();
    let old = old.metadata().unwrap();
    assert_ne!(
        old.ino(),
        fs::metadata(file(&folder, "json")).unwrap().ino()
    );
    assert_eq!(mode(&file(&folder, "json")), 0o600);
    // Others under another name find nothing, wherever the file is moved.
    let others = TokenFolder::new(&folder).tokens("other");
    assert_eq!(others.load().await.unwrap(), None);
    others.save(numbered(3)).await.unwrap();
    assert_eq!(tokens.load().await.unwrap(), Some(numbered(2)));
    let shown = format!("{tokens:?} {tokens:#?} {:?}", TokenFolder::new(&folder));
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(tokens.forget().await.unwrap());
    assert_eq!(tokens.load().await.unwrap(), None);
    assert_eq!(others.load().await.unwrap(), Some(numbered(3)));
}

#[tokio::test]
async fn a_file_that_is_not_its_users_alone_is_not_read_and_a_login_mends_it() {
    let (_above, folder, tokens) = place();
    tokens.save(numbered(1)).await.unwrap();
    let kept = file(&folder, "json");
    for open in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&kept, Permissions::from_mode(open)).unwrap();
        wants_a_login(&tokens.load().await.unwrap_err());
        tokens.save(numbered(2)).await.unwrap();
        assert_eq!(mode(&kept), 0o600);
        assert_eq!(tokens.load().await.unwrap(), Some(numbered(2)));
    }
}

#[tokio::test]
async fn a_link_leads_nowhere() {
    let (above, folder, tokens) = place();
    tokens.save(numbered(1)).await.unwrap();
    let kept = file(&folder, "json");
    let elsewhere = above.path().join("elsewhere");
    fs::rename(&kept, &elsewhere).unwrap();
    symlink(&elsewhere, &kept).unwrap();
    wants_a_login(&tokens.load().await.unwrap_err());
    // Writing takes the link's place, and leaves what it led to alone.
    let before = fs::read(&elsewhere).unwrap();
    tokens.save(numbered(2)).await.unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
    assert!(!kept.is_symlink());
    // Nor is anything locked that is not here.
    drop(tokens.lock().await.unwrap());
    let lock = file(&folder, "lock");
    fs::remove_file(&lock).unwrap();
    symlink(above.path().join("made"), &lock).unwrap();
    assert_eq!(tokens.lock().await.unwrap_err().kind(), Kind::Unavailable);
    assert!(!above.path().join("made").exists());
}

#[tokio::test]
async fn what_is_no_file_of_tokens_is_an_error_that_says_what_to_do() {
    let (_above, folder, tokens) = place();
    tokens.save(numbered(1)).await.unwrap();
    let kept = file(&folder, "json");
    let whole = fs::read(&kept).unwrap();
    for garbage in [
        b"".to_vec(),
        b"canary".to_vec(),
        b"{\"access\": \"canary\"}".to_vec(),
        vec![0xff; 64],
        whole[..whole.len() / 2].to_vec(),
        [whole.as_slice(), &vec![b' '; 128 * 1024]].concat(),
        [whole.as_slice(), b"canary"].concat(),
    ] {
        fs::write(&kept, garbage).unwrap();
        wants_a_login(&tokens.load().await.unwrap_err());
    }
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    fs::set_permissions(&kept, Permissions::from_mode(0o700)).unwrap();
    wants_a_login(&tokens.load().await.unwrap_err());
    let error = tokens.save(numbered(2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!format!("{error} {error:?}").contains(CANARY));
    fs::remove_dir(&kept).unwrap();
    // A pipe would be waited for.
    let made = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(&kept)
        .status();
    assert!(made.unwrap().success());
    wants_a_login(&tokens.load().await.unwrap_err());
    tokens.save(numbered(3)).await.unwrap();
    assert_eq!(tokens.load().await.unwrap(), Some(numbered(3)));
    assert!(files(&folder, "new").is_empty());
}

#[tokio::test]
async fn a_session_says_that_a_login_is_needed_where_what_is_kept_is_garbage() {
    let world = World::new().await;
    let (_above, folder, tokens) = place();
    tokens.save(world.kept()).await.unwrap();
    fs::write(file(&folder, "json"), CANARY).unwrap();
    let mut client = oauth(&Arc::default());
    client.tokens = Arc::new(tokens);
    let error = connect(world.server(client)).await.unwrap_err();
    says_nothing(&error);
    assert_eq!(error.kind(), Kind::Authentication);
    assert!(error.to_string().contains("log in again"), "{error}");
    assert!(world.backend.requests().is_empty());
}

#[tokio::test]
async fn what_dead_processes_have_left_is_removed() {
    let (_above, folder, tokens) = place();
    tokens.save(numbered(1)).await.unwrap();
    let kept = file(&folder, "json");
    let left = |number: u32| {
        let path = kept.with_extension(format!("{number}-0.new"));
        fs::write(&path, CANARY).unwrap();
        path
    };
    let (old, young, other) = (left(1), left(2), folder.join("other.3-0.new"));
    fs::write(&other, CANARY).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(61);
    for path in [&old, &other] {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    tokens.save(numbered(2)).await.unwrap();
    // What is young may be another process's, which is about to use it.
    assert!(!old.exists() && young.exists() && other.exists());
    // After a logout nothing is left, not even what somebody was about to keep.
    let held = tokens.lock().await.unwrap();
    let forgetting = tokens.clone();
    let mut forgetting = tokio::spawn(async move { forgetting.forget().await });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut forgetting).await;
    assert!(early.is_err());
    drop(held);
    assert!(forgetting.await.unwrap().unwrap());
    assert!(!young.exists() && other.exists());
}

/// A process of its own that does `work` with the tokens in `folder`.
struct Worker(Child);

impl Worker {
    fn start(folder: &Path, work: &str, origin: &str) -> Self {
        let name = "folder::worker_process";
        let worker = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", name, "--nocapture"])
            .env(PLACE, folder)
            .env(WORK, work)
            .env(ORIGIN, origin)
            .stdout(Stdio::piped())
            .spawn();
        Self(worker.unwrap())
    }

    /// The numbers that it says.
    fn numbers(&mut self) -> impl Iterator<Item = u64> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        lines.filter_map(|line| line.unwrap().strip_prefix("did ")?.parse().ok())
    }

    fn ends_well(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "a process that the other tests start"]
async fn worker_process() {
    let Some(folder) = std::env::var_os(PLACE) else {
        return;
    };
    let tokens = TokenFolder::new(folder).tokens(NAME);
    let did = |number: u64| {
        let mut out = std::io::stdout().lock();
        // The harness's own words may stand before it.
        writeln!(out, "\ndid {number}").unwrap();
        out.flush().unwrap();
    };
    match std::env::var(WORK).unwrap().as_str() {
        "save" => {
            for number in 1.. {
                tokens.save(numbered(number)).await.unwrap();
                did(number);
            }
        }
        "hold" => {
            let held = tokens.lock().await.unwrap();
            did(0);
            std::future::pending::<()>().await;
            drop(held);
        }
        "count" => {
            for _turn in 0..25 {
                let _held = tokens.lock().await.unwrap();
                let kept = tokens.load().await.unwrap();
                let number = kept.map_or(0, |kept| kept.expires.unwrap().as_millis());
                tokio::task::yield_now().await;
                let next = numbered(u64::try_from(number + 1).unwrap());
                tokens.save(next).await.unwrap();
            }
        }
        "connect" => {
            let origin = std::env::var(ORIGIN).unwrap();
            let session = connect(guarded(&origin, tokens)).await.unwrap();
            call(&session).await.unwrap();
        }
        other => panic!("{other}"),
    }
}

/// The server at `origin`, with these tokens.
fn guarded(origin: &str, tokens: FileTokens) -> seaworthy_ports::mcp::McpServer {
    let mut client = oauth(&Arc::default());
    client.tokens = Arc::new(tokens);
    server_at(origin, Authorization::OAuth(client))
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_writes_loses_nothing() {
    for wanted in [1, 2, 5, 9, 20] {
        let (_above, folder, tokens) = place();
        let mut worker = Worker::start(&folder, "save", "");
        let mut numbers = worker.numbers();
        let acknowledged = numbers.find(|number| *number == wanted).unwrap();
        worker.0.kill().unwrap();
        worker.0.wait().unwrap();
        let acknowledged = numbers.last().unwrap_or(acknowledged);
        let kept = tokens.load().await.unwrap().unwrap();
        let number = u64::try_from(kept.expires.unwrap().as_millis()).unwrap();
        // The last that it said, or the one that it was writing.
        assert!(
            number == acknowledged || number == acknowledged + 1,
            "{number} {acknowledged}"
        );
        assert_eq!(kept, numbered(number));
        // Whoever comes next is not in its way.
        tokens.save(numbered(99)).await.unwrap();
        assert_eq!(tokens.load().await.unwrap(), Some(numbered(99)));
        assert!(tokens.forget().await.unwrap());
        assert!(files(&folder, "new").is_empty());
    }
}

#[tokio::test]
async fn a_lock_ends_with_the_process_that_has_it() {
    let (_above, folder, tokens) = place();
    let mut worker = Worker::start(&folder, "hold", "");
    worker.numbers().next().unwrap();
    let waiting = tokens.clone();
    let mut waiting = tokio::spawn(async move { waiting.lock().await.map(drop) });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "the lock was given twice");
    worker.0.kill().unwrap();
    worker.0.wait().unwrap();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn processes_take_turns() {
    let (_above, folder, tokens) = place();
    let workers: Vec<Worker> = (0..3)
        .map(|_worker| Worker::start(&folder, "count", ""))
        .collect();
    assert!(workers.into_iter().all(Worker::ends_well));
    let kept = tokens.load().await.unwrap().unwrap();
    assert_eq!(kept.expires, Some(Timestamp::from_millis(75)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_tokens_use_a_refresh_token_once() {
    let world = World::new().await;
    let (_above, folder, tokens) = place();
    tokens.save(world.kept()).await.unwrap();
    let workers: Vec<Worker> = (0..3)
        .map(|_worker| Worker::start(&folder, "connect", &world.origin))
        .collect();
    let ended = tokio::task::spawn_blocking(|| workers.into_iter().all(Worker::ends_well));
    // A second use would have taken all tokens back.
    assert!(ended.await.unwrap());
    assert_eq!(world.asked(TOKEN), 1);
    let kept = tokens.load().await.unwrap().unwrap();
    assert_eq!(kept.access, Secret::new("canary-access-1"));
}
