//! The program on a database server: the same commands, several processes, and what is special there.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Done, Place, finish, kill, script, signal, until};

/// The server that tests share. A test that needs it is ignored where there is none, so it is there.
pub(crate) fn server() -> String {
    std::env::var("SEAWORTHY_TEST_POSTGRES").unwrap()
}

/// A place whose store is a schema of its own, removed with it.
pub(crate) struct OnServer {
    pub(crate) place: Place,
    schema: String,
    server: String,
}

impl OnServer {
    pub(crate) fn with_script(turns: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            place: Place::with_script(turns),
            schema: format!(
                "test_cli_{}_{}_{number}",
                std::process::id(),
                since.as_nanos()
            ),
            server: server(),
        }
    }

    /// From now on the server is called at another address.
    pub(crate) fn called_at(mut self, address: SocketAddr) -> Self {
        let (before, rest) = self.server.split_once('@').unwrap();
        let path = rest.split_once('/').unwrap().1;
        self.server = format!("{before}@{address}/{path}");
        self
    }

    fn store(&self) -> String {
        let url = &self.server;
        let sign = if url.contains('?') { '&' } else { '?' };
        format!("{url}{sign}schema={}", self.schema)
    }

    /// The program on this store, which it learns from its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command
            .env("SEAWORTHY_STORE", self.store())
            .env("SEAWORTHY_DATA", self.place.path().join("data"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--json"]].concat());
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        serde_json::from_str(&done.stdout).unwrap()
    }

    fn status(&self, run: &str) -> Value {
        self.json(&["show", run])["status"].clone()
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        let (url, schema) = (server(), self.schema.clone());
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let config = seaworthy::postgres::PostgresConfig::new(url).with_schema(schema);
            let _left_behind = runtime
                .unwrap()
                .block_on(seaworthy::postgres::Postgres::remove(&config));
        });
        let _panicked = removing.join();
    }
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "SEAWORTHY_TEST_POSTGRES names no server")]
fn a_run_goes_through_every_command_on_a_server() {
    let here = OnServer::with_script(&script(&["note", "ask"]));
    let asking = here.run(&["run", "agent.yaml", "--run-id", "r"]);
    assert_eq!(asking.code, 3, "{asking:?}");
    let approvals = here.json(&["approvals"]);
    let approval = approvals[0]["approval_id"].as_str().unwrap();
    assert_eq!(here.run(&["approve", approval]).code, 0);
    assert_eq!(here.run(&["resume", "r"]).code, 0);
    assert_eq!(here.status("r"), "succeeded");
    assert_eq!(here.json(&["runs"])[0]["run_id"], "r");
    assert_eq!(here.json(&["verify", "r"])["ok"], true);
    assert_eq!(here.run(&["replay", "r", "--run-id", "again"]).code, 0);
    assert_eq!(here.json(&["compare", "r", "again"])["same"], true);
    let doctor = here.json(&["doctor"]);
    assert_eq!(doctor["adapters"][0]["id"], "postgres");
    assert_eq!(doctor["store"]["exists"], true);
    assert!(doctor["store"]["data"].as_str().unwrap().ends_with("data"));
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "SEAWORTHY_TEST_POSTGRES names no server")]
fn a_run_whose_process_was_killed_is_continued_and_does_nothing_twice() {
    let here = OnServer::with_script(&script(&["sure", "note"]));
    let process = here.start(&["run", "agent.yaml", "--run-id", "r"]);
    until(|| !here.place.lines("sure").is_empty());
    kill(process);
    here.place.write("work/go", "");
    let done = here.run(&["resume", "r"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(here.place.lines("sure").len(), 1);
    assert_eq!(here.json(&["verify", "r"])["ok"], true);
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "SEAWORTHY_TEST_POSTGRES names no server")]
fn two_workers_share_the_runs_of_a_server() {
    let here = OnServer::with_script(&script(&["note"]));
    assert_eq!(here.run(&["migrate"]).code, 0);
    let workers = [here.start(&["worker"]), here.start(&["worker"])];
    for number in 0..6 {
        let run = format!("r{number}");
        let done = here.run(&["run", "agent.yaml", "--run-id", &run, "--detach"]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    until(|| {
        here.json(&["runs", "--status", "succeeded"])
            .as_array()
            .unwrap()
            .len()
            == 6
    });
    assert_eq!(here.place.lines("note").len(), 6);
    for worker in workers {
        signal(&worker, "TERM");
        assert_eq!(finish(worker).code, 0);
    }
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "SEAWORTHY_TEST_POSTGRES names no server")]
fn a_store_on_a_server_is_made_by_those_who_need_one_and_not_by_those_who_look() {
    let here = OnServer::with_script(&script(&[]));
    for looking in [
        &["runs"][..],
        &["show", "r"],
        &["doctor"],
        &["approvals"],
        &["queues"],
    ] {
        assert_eq!(here.run(looking).code, 2, "{looking:?}");
    }
    let made = here.json(&["migrate"]);
    assert_eq!(made["from"], Value::Null);
    assert_eq!(here.json(&["migrate"])["from"], made["to"]);
    assert_eq!(here.json(&["runs"]), json!([]));
    let other = OnServer::with_script(&script(&[]));
    assert_eq!(other.run(&["run", "agent.yaml"]).code, 0);
    assert_eq!(other.json(&["queues", "limit", "slow", "2"])["limit"], 2);
    assert_eq!(
        other.json(&["queues"]),
        json!([{ "queue": "slow", "limit": 2 }])
    );
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "SEAWORTHY_TEST_POSTGRES names no server")]
fn a_clause_is_tried_in_schemas_that_are_removed() {
    let here = OnServer::with_script(&script(&[]));
    let report = here.json(&["conform", "checkpoint-store"]);
    assert_eq!(report["adapter"]["id"], "postgres");
    assert_ne!(report["level"], "broken", "{report}");
    // The store itself was neither needed nor made.
    assert_eq!(here.run(&["runs"]).code, 2);
}

#[test]
fn a_server_that_does_not_answer_is_told_without_its_password() {
    let place = Place::with_script(&script(&[]));
    for args in [
        &["runs"][..],
        &["run", "agent.yaml"],
        &["worker"],
        &["migrate"],
    ] {
        let store = "postgres://me:hunter2@127.0.0.1:1/db";
        let mut command = place.command(args);
        let command = command.args(["--store", store, "--data", "data"]);
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, 2, "{done:?}");
        assert!(
            done.stderr.contains("127.0.0.1:1") && !done.stderr.contains("hunter2"),
            "{done:?}"
        );
    }
    let misspelled = place.run(&["runs", "--store", "postgress://me:hunter2@127.0.0.1/db"]);
    assert_eq!(misspelled.code, 2);
    assert!(!misspelled.stderr.contains("hunter2"), "{misspelled:?}");
    assert_eq!(place.run(&["runs", "--data", "somewhere"]).code, 2);
}
