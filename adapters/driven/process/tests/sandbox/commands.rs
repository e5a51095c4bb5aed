//! Commands as only this adapter runs them: under a supervisor, of which they know and which they may attack.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bench::*;
use bytes::Bytes;
use seaworthy_ports::sandbox::*;
use seaworthy_ports::{Effect, Latch};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};

#[tokio::test]
async fn a_bound_of_no_commands_or_of_far_too_many_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for commands in [0, 65_537, usize::MAX] {
        let config = ProcessConfig::new(folder.path(), Supervisor::at(SUPERVISOR));
        let error = ProcessSandbox::connect(config.with_max_commands(commands)).await;
        assert_eq!(error.unwrap_err().kind(), Kind::Rejected);
    }
}

#[tokio::test]
async fn a_state_directory_that_fails_is_no_fault_of_the_workspace() {
    let bench = Bench::new().await;
    let live = bench
        .folder
        .path()
        .join("state")
        .join(format!("{RUN}.live"));
    std::fs::write(live, "").unwrap();
    let error = bench.sandbox.open(bench.spec(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_missing_supervisor_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let config = ProcessConfig::new(folder.path(), Supervisor::at("/no/such/supervisor"));
    let error = ProcessSandbox::connect(config).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    // This test program has no `main` of its own to call the hook in.
    let error = Supervisor::this_program().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_program_that_is_no_supervisor_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    let config = ProcessConfig::new(folder.path().join("state"), Supervisor::at("/bin/true"));
    let sandbox = ProcessSandbox::connect(config).await.unwrap();
    let session = sandbox.open(spec(folder.path(), 1)).await.unwrap();
    let error = session.exec(argv(&["true"])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_workspace_must_be_a_directory() {
    let bench = Bench::new().await;
    let mut spec = bench.spec(1);
    spec.workspace = bench.work().join("absent");
    let error = bench.sandbox.open(spec.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    std::fs::write(&spec.workspace, "").unwrap();
    let error = bench.sandbox.open(spec).await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongType);
}

#[tokio::test]
async fn programs_are_found_in_the_sessions_path_only() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let kind = async |exec| session.exec(exec).await.unwrap_err().kind();
    assert_eq!(kind(argv(&["no-such-program"])).await, Kind::NotFound);
    assert_eq!(kind(argv(&["./no-such-program"])).await, Kind::NotFound);
    assert_eq!(kind(argv(&[])).await, Kind::Rejected);
    assert_eq!(kind(argv(&["echo", "\0"])).await, Kind::Rejected);
    std::fs::write(bench.work().join("tool"), "#!/bin/sh\necho tool\n").unwrap();
    assert_eq!(kind(argv(&["./tool"])).await, Kind::Denied);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bench.work().join("tool"), mode).unwrap();
    let output = session.exec(argv(&["./tool"])).await.unwrap();
    assert_eq!(&output.stdout.bytes[..], b"tool\n");
    assert_eq!(kind(argv(&["tool"])).await, Kind::NotFound);
    let mut exec = argv(&["tool"]);
    exec.env = env(&[("PATH", "/nowhere:.")]);
    assert_eq!(
        session.exec(exec).await.unwrap().status,
        ExitStatus::Code(0)
    );
    let mut spec = bench.spec(2);
    spec.env.clear();
    let bare = bench.sandbox.open(spec).await.unwrap();
    let error = bare.exec(argv(&["true"])).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::NotFound, Effect::None)
    );
    bare.exec(argv(&["/bin/true"])).await.unwrap();
}

#[tokio::test]
async fn the_supervisor_holds_nothing_of_the_hosts_environment() {
    // Cargo has put many variables into this process.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    // A command may look at its supervisor's memory.
    let output = session.exec(sh("cat /proc/$PPID/environ")).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(output.stdout.total, 0);
}

#[tokio::test]
async fn a_command_holds_no_file_of_its_supervisor() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let exec = sh("exec ls -l /proc/self/fd");
    let listed = session.exec(exec).await.unwrap().stdout.bytes;
    let listed = String::from_utf8(listed.to_vec()).unwrap();
    assert!(!listed.contains("socket:"), "{listed}");
    assert!(!listed.contains("state"), "{listed}");
}

#[tokio::test]
async fn a_command_that_stops_its_supervisor_is_still_killed() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut exec = sh("kill -STOP $PPID; sleep 997");
    exec.timeout = Duration::from_millis(300);
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::TimedOut);
}

#[tokio::test]
async fn the_end_of_a_command_that_has_stopped_its_supervisor_is_noticed() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let begun = Instant::now();
    let output = session.exec(sh("kill -STOP $PPID; exit 3")).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    // Others who would wake the supervisor come later: the end of the thread that has started it, and the timeout.
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn commands_that_keep_stopping_their_supervisor_are_still_killed() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    // One of them has left the session.
    let script = "s=$PPID; stop() { echo $$ >$1; while :; do kill -STOP $s; done; }
                  setsid sh -c 'echo $$ >a; while :; do kill -STOP '$s'; done' &
                  stop c & stop d & stop e & stop b";
    let (setter, latch) = Latch::new();
    let mut exec = sh(script);
    exec.cancel = latch;
    let cancel = async {
        let pids = (
            pid_in(&bench.work().join("a")).await,
            pid_in(&bench.work().join("b")).await,
        );
        setter.set();
        (pids, Instant::now())
    };
    let (output, ((a, b), asked)) = tokio::join!(session.exec(exec), cancel);
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(output.unwrap().status, ExitStatus::Cancelled);
    assert!(!runs(a) && !runs(b));
}

#[tokio::test]
async fn an_output_that_somebody_else_holds_open_does_not_keep_the_worker_reading() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script = "echo said; echo $$ >pid; while ! [ -e go ]; do sleep 0.01; done";
    let hold = async {
        let pid = pid_in(&bench.work().join("pid")).await;
        let output = format!("/proc/{pid}/fd/1");
        let pipe = std::fs::read_link(&output).unwrap();
        let held = std::fs::OpenOptions::new().write(true).open(output);
        std::fs::write(bench.work().join("go"), "").unwrap();
        (held.unwrap(), pipe)
    };
    let (output, (held, pipe)) = tokio::join!(session.exec(sh(script)), hold);
    let output = output.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(&output.stdout.bytes[..], b"said\n");
    until("only the test's own end is open", || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        let ends = files.filter(|file| {
            let file = file.as_ref().unwrap().path();
            std::fs::read_link(file).is_ok_and(|file| file == pipe)
        });
        ends.count() == 1
    })
    .await;
    drop(held);
}

/// Where the process below says what it was told.
const TOLD: &str = "SEAWORTHY_TEST_TOLD";

#[tokio::test]
#[ignore = "a process that another test starts"]
async fn process_that_ignores_its_children() {
    let told = std::path::PathBuf::from(std::env::var_os(TOLD).unwrap());
    let config = ProcessConfig::new(told.with_extension("state"), Supervisor::at(SUPERVISOR));
    let error = ProcessSandbox::connect(config).await.unwrap_err();
    std::fs::write(told, format!("{:?}", error.kind())).unwrap();
}

#[tokio::test]
async fn a_process_that_cannot_see_its_children_end_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut process = std::process::Command::new("env")
        .arg("--ignore-signal=CHLD")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact"])
        .arg("commands::process_that_ignores_its_children")
        .env(TOLD, &told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(told).unwrap(), "Unavailable");
}

#[tokio::test]
async fn a_command_that_kills_its_group_spares_its_supervisor() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let output = session.exec(sh("kill -TERM 0; sleep 996")).await.unwrap();
    assert_eq!(output.status, ExitStatus::Signal(15));
}

#[tokio::test]
async fn a_command_that_kills_its_supervisor_dies_without_passing_for_a_success() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script = "echo $$ >pid; kill -KILL $PPID; sleep 995";
    let error = session.exec(sh(script)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::Unknown)
    );
    let pid = pid_in(&bench.work().join("pid")).await;
    until("the command is dead", || !runs(pid)).await;
}

#[tokio::test]
async fn a_group_that_forks_without_end_is_killed() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script = "setsid sh -c 'while :; do (sleep 0.05 &) ; done' & sleep 992";
    let mut exec = sh(script);
    exec.timeout = Duration::from_secs(3); // time for thousands of dead
    let begun = Instant::now();
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn the_dead_that_a_command_leaves_behind_do_not_pile_up_while_it_runs() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    // Children of a child that is gone, so that they become the supervisor's, and dead.
    let script = "echo $PPID >supervisor; sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 0.05 & done'
                  echo $$ >pid; while ! [ -e go ]; do sleep 0.01; done; exit 3";
    let look = async {
        let supervisor = pid_in(&bench.work().join("supervisor")).await;
        let command = pid_in(&bench.work().join("pid")).await;
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        until("the command is all that is left", || {
            let children = std::fs::read_to_string(&children).unwrap();
            children.trim() == command.to_string()
        })
        .await;
        std::fs::write(bench.work().join("go"), "").unwrap();
    };
    let (output, ()) = tokio::join!(session.exec(sh(script)), look);
    assert_eq!(output.unwrap().status, ExitStatus::Code(3));
}

#[tokio::test]
async fn dropping_a_call_kills_its_command_and_leaves_no_zombie() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let pid_file = bench.work().join("pid");
    let exec = sh("setsid sh -c 'echo $$ >pid; sleep 991' & sleep 990");
    tokio::select! {
        _ = session.exec(exec) => panic!("it has ended"),
        _ = pid_in(&pid_file) => {}
    }
    let pid = pid_in(&pid_file).await;
    until("the grandchild is dead", || !runs(pid)).await;
    until("the supervisor is reaped", || {
        !children()
            .split(' ')
            .any(|child| is_supervisor_of(child, &bench))
    })
    .await;
    session.close(true).await.unwrap();
    assert_eq!(
        std::fs::read_dir(bench.folder.path().join("state"))
            .unwrap()
            .count(),
        0
    );
}

/// Other tests of this file may have supervisors of their own; zombies have no working directory.
fn is_supervisor_of(pid: &str, bench: &Bench) -> bool {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    cwd.is_ok_and(|cwd| cwd == std::fs::canonicalize(bench.work()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_run_at_once() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut all = Vec::new();
    for i in 0..32 {
        let session = Arc::clone(&session);
        all.push(tokio::spawn(async move {
            session
                .exec(sh(&format!("echo {i}; exit {i}")))
                .await
                .unwrap()
        }));
    }
    for (i, one) in all.into_iter().enumerate() {
        let output = one.await.unwrap();
        assert_eq!(output.status, ExitStatus::Code(i32::try_from(i).unwrap()));
        assert_eq!(output.stdout.bytes, format!("{i}\n"));
    }
}

#[tokio::test]
async fn more_commands_than_allowed_wait_their_turn() {
    let bench = Bench::new().await;
    let config = ProcessConfig::new(
        bench.folder.path().join("state"),
        Supervisor::at(SUPERVISOR),
    )
    .with_max_commands(1);
    let sandbox = ProcessSandbox::connect(config).await.unwrap();
    let session = sandbox.open(bench.spec(1)).await.unwrap();
    // Fails if the other one runs at the same time.
    let alone = || sh("mkdir alone && sleep 0.1 && rmdir alone");
    let (one, two) = tokio::join!(session.exec(alone()), session.exec(alone()));
    assert_eq!(one.unwrap().status, ExitStatus::Code(0));
    assert_eq!(two.unwrap().status, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_command_does_not_wait_for_its_turn_longer_than_it_may_take() {
    let bench = Bench::new().await;
    let config = ProcessConfig::new(
        bench.folder.path().join("state"),
        Supervisor::at(SUPERVISOR),
    )
    .with_max_commands(1);
    let sandbox = ProcessSandbox::connect(config).await.unwrap();
    let session = sandbox.open(bench.spec(1)).await.unwrap();
    let mut server = session.spawn(argv(&["cat"])).await.unwrap();
    let mut exec = sh("touch ran");
    exec.timeout = Duration::from_millis(50);
    let error = session.exec(exec).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::None)
    );
    assert!(!bench.work().join("ran").exists());
    server.kill().await.unwrap();
    session.exec(sh("touch ran")).await.unwrap();
}

#[tokio::test]
async fn a_spawned_command_talks_until_its_input_ends() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut exec = argv(&["cat"]);
    exec.stdin = Bytes::from_static(b"one ");
    let mut process = session.spawn(exec).await.unwrap();
    let mut said = Vec::new();
    said.extend(process.output().await.unwrap().bytes);
    process.write(Bytes::from_static(b"two")).await.unwrap();
    process.close_stdin().await.unwrap();
    process.close_stdin().await.unwrap();
    let late = process.write(Bytes::from_static(b"three")).await;
    assert_eq!(late.unwrap_err().kind(), Kind::Rejected);
    while let Some(chunk) = process.output().await {
        said.extend(chunk.bytes);
    }
    assert_eq!(said, b"one two");
    assert_eq!(process.wait().await.unwrap(), ExitStatus::Code(0));
    assert_eq!(process.wait().await.unwrap(), ExitStatus::Code(0));
}

#[tokio::test]
#[ignore = "a measurement: run it with --release --nocapture"]
async fn overhead_of_a_command() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    session.exec(argv(&["/bin/true"])).await.unwrap();
    let rounds = 200;
    let begun = Instant::now();
    for _ in 0..rounds {
        session.exec(argv(&["/bin/true"])).await.unwrap();
    }
    let supervised = begun.elapsed() / rounds;
    let begun = Instant::now();
    for _ in 0..rounds {
        let mut plain = tokio::process::Command::new("/bin/true");
        plain.output().await.unwrap();
    }
    println!(
        "supervised {supervised:?}, plain {:?}",
        begun.elapsed() / rounds
    );
    assert!(supervised < Duration::from_millis(20));
}
