//! SB-1 to SB-4 and SB-6: what commands get, give and cannot do.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bench::*;
use bytes::Bytes;
use seaworthy_ports::sandbox::*;
use seaworthy_ports::{Effect, Latch};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};

#[tokio::test]
async fn what_cannot_be_enforced_is_refused() {
    let bench = Bench::new().await;
    let refused = async |change: fn(&mut SandboxSpec)| {
        let mut spec = bench.spec(1);
        change(&mut spec);
        bench.sandbox.open(spec).await.unwrap_err().kind()
    };
    let namespace = |spec: &mut SandboxSpec| spec.policy.isolation = Isolation::Namespace;
    assert_eq!(refused(namespace).await, Kind::Unsupported);
    assert_eq!(
        refused(|spec| spec.policy.deny_read_outside = true).await,
        Kind::Unsupported
    );
    assert_eq!(
        refused(|spec| spec.policy.deny_write_outside = true).await,
        Kind::Unsupported
    );
    assert_eq!(
        refused(|spec| spec.policy.deny_network = true).await,
        Kind::Unsupported
    );
    assert_eq!(
        refused(|spec| spec.limits.memory_bytes = Some(1)).await,
        Kind::Unsupported
    );
    assert_eq!(
        refused(|spec| spec.limits.cpu_time = Some(Duration::MAX)).await,
        Kind::Unsupported
    );
    assert_eq!(
        refused(|spec| spec.limits.processes = Some(9)).await,
        Kind::Unsupported
    );
    let mut spec = bench.spec(1);
    spec.policy.isolation = Isolation::Process;
    bench.sandbox.open(spec).await.unwrap();
}

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
async fn exit_codes_and_signals_are_told_apart() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let status = async |exec| session.exec(exec).await.unwrap().status;
    assert_eq!(status(argv(&["true"])).await, ExitStatus::Code(0));
    assert_eq!(status(sh("exit 7")).await, ExitStatus::Code(7));
    assert_eq!(status(sh("exit 255")).await, ExitStatus::Code(255));
    assert_eq!(status(sh("kill -TERM $$")).await, ExitStatus::Signal(15));
    assert_eq!(status(sh("kill -KILL $$")).await, ExitStatus::Signal(9));
    // 128 + 9 is how shells report a signal, but it is a code all the same.
    assert_eq!(status(sh("exit 137")).await, ExitStatus::Code(137));
}

#[tokio::test]
async fn both_outputs_are_kept_byte_by_byte() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script = r"printf '\377\000a'; printf '\376b' >&2";
    let output = session.exec(sh(script)).await.unwrap();
    assert_eq!(&output.stdout.bytes[..], b"\xff\x00a");
    assert_eq!(&output.stderr.bytes[..], b"\xfeb");
    assert!(!output.stdout.is_cut());
    assert_eq!(output.stdout.total, 3);
}

#[tokio::test]
async fn output_is_cut_counted_and_drained() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let exec = sh("head -c 100000000 /dev/zero; echo end >&2");
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(output.stdout.total, 100_000_000);
    assert_eq!(output.stdout.bytes.len(), MAX_OUTPUT_BYTES);
    assert!(output.stdout.is_cut());
    assert_eq!(&output.stderr.bytes[..], b"end\n");
}

#[tokio::test]
async fn a_large_standard_input_goes_through_while_output_comes_back() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut exec = argv(&["cat"]);
    let input: Bytes = (0..10_000_000u32).map(|i| (i % 251) as u8).collect();
    exec.stdin = input.clone();
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.stdout.total, 10_000_000);
    assert!(output.stdout.bytes == input);
}

#[tokio::test]
async fn a_command_may_ignore_its_standard_input() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut exec = sh("exec <&-; echo done");
    exec.stdin = Bytes::from(vec![b'x'; 10_000_000]);
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(&output.stdout.bytes[..], b"done\n");
    let empty = session.exec(argv(&["cat"])).await.unwrap();
    assert_eq!(empty.stdout.total, 0);
}

#[tokio::test]
async fn a_command_runs_in_its_folder_of_the_workspace() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    std::fs::create_dir(bench.work().join("inner")).unwrap();
    symlink("/", bench.work().join("out")).unwrap();
    let run = async |cwd: &str| {
        let mut exec = argv(&["pwd"]);
        exec.cwd = cwd.to_owned();
        session.exec(exec).await
    };
    let inner = std::fs::canonicalize(bench.work().join("inner")).unwrap();
    let output = run("inner").await.unwrap();
    assert_eq!(
        output.stdout.bytes.trim_ascii(),
        inner.as_os_str().as_encoded_bytes()
    );
    assert_eq!(run("out").await.unwrap_err().kind(), Kind::Outside);
    assert_eq!(run("..").await.unwrap_err().kind(), Kind::Outside);
    assert_eq!(run("/").await.unwrap_err().kind(), Kind::Outside);
    assert_eq!(run("absent").await.unwrap_err().kind(), Kind::NotFound);
    std::fs::write(bench.work().join("file"), "").unwrap();
    assert_eq!(run("file").await.unwrap_err().kind(), Kind::WrongType);
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
async fn the_environment_is_what_was_asked_for_and_nothing_more() {
    // Cargo has put many variables into this process; one of them is the canary.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let bench = Bench::new().await;
    let mut spec = bench.spec(1);
    spec.env = env(&[("A", "1"), ("B", "2")]);
    let session = bench.sandbox.open(spec).await.unwrap();
    let mut exec = argv(&["/usr/bin/env"]);
    exec.env = env(&[("B", "3"), ("C", "4 5\n6")]);
    let output = session.exec(exec).await.unwrap();
    assert_eq!(&output.stdout.bytes[..], b"A=1\nB=3\nC=4 5\n6\n");
    // Nor does the supervisor, whose memory the command may look at, hold the host's.
    let exec = argv(&["/bin/sh", "-c", "/bin/cat /proc/$PPID/environ"]);
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(output.stdout.total, 0);
    for name in ["", "A=B", "A\0"] {
        let mut exec = argv(&["/bin/true"]);
        exec.env = env(&[(name, "")]);
        let error = session.exec(exec).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Rejected);
    }
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
async fn a_timeout_kills_within_a_second_and_keeps_what_was_said() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script =
        "trap '' TERM INT HUP; echo begun; setsid sh -c 'sleep 998' & echo $! >pid; sleep 999";
    let mut exec = sh(script);
    exec.timeout = Duration::from_secs(2); // time enough to begin
    let begun = Instant::now();
    let output = session.exec(exec).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(output.status, ExitStatus::TimedOut);
    assert_eq!(&output.stdout.bytes[..], b"begun\n");
    assert!(!runs(pid_in(&bench.work().join("pid")).await));
}

#[tokio::test]
async fn a_tool_that_never_ends_and_never_stops_talking_is_cancelled() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let (setter, latch) = Latch::new();
    let mut exec = argv(&["yes"]);
    exec.cancel = latch;
    let asked = Arc::new(Mutex::new(None));
    let when = Arc::clone(&asked);
    exec.on_output = Some(Arc::new(move |_| {
        when.lock().unwrap().get_or_insert_with(Instant::now);
        setter.set();
    }));
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Cancelled);
    assert!(output.stdout.total > 0);
    let asked = asked.lock().unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_command_cancelled_beforehand_says_so() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let (setter, latch) = Latch::new();
    setter.set();
    let mut exec = sh("touch ran");
    exec.cancel = latch;
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Cancelled);
    assert!(!bench.work().join("ran").exists());
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
async fn what_a_command_leaves_running_is_killed() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let script = "setsid sh -c 'echo $$ >a; (setsid sleep 994 & echo $! >b); sleep 993' & \
                  while ! [ -s a ] || ! [ -s b ]; do sleep 0.01; done; exit 3";
    let output = session.exec(sh(script)).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    for name in ["a", "b"] {
        assert!(!runs(pid_in(&bench.work().join(name)).await), "{name}");
    }
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
async fn output_streams_while_the_command_runs() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let go = bench.work().join("go");
    let mut exec = sh("echo first; while ! [ -e go ]; do sleep 0.01; done; echo second");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    exec.on_output = Some(Arc::new(move |chunk| {
        // The command cannot go on before its first output was seen.
        std::fs::write(&go, "").unwrap();
        sink.lock().unwrap().extend_from_slice(&chunk.bytes);
    }));
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(&seen.lock().unwrap()[..], b"first\nsecond\n");
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
async fn a_spawned_command_is_killed_timed_out_or_not_there() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut process = session.spawn(sh("echo $$ >pid; sleep 989")).await.unwrap();
    let pid = pid_in(&bench.work().join("pid")).await;
    process.kill().await.unwrap();
    assert!(!runs(pid));
    assert_eq!(process.wait().await.unwrap(), ExitStatus::Cancelled);
    let mut exec = argv(&["sleep", "988"]);
    exec.timeout = Duration::from_millis(100);
    let mut process = session.spawn(exec).await.unwrap();
    assert_eq!(process.wait().await.unwrap(), ExitStatus::TimedOut);
    let absent = session.spawn(argv(&["no-such-program"])).await;
    assert_eq!(absent.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn dropping_a_spawned_command_kills_it() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let process = session.spawn(sh("echo $$ >pid; yes")).await.unwrap();
    let pid = pid_in(&bench.work().join("pid")).await;
    drop(process);
    until("it is dead", || !runs(pid)).await;
}

#[tokio::test]
async fn closing_kills_what_runs_and_refuses_what_comes() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let mut process = session.spawn(sh("echo $$ >pid; sleep 987")).await.unwrap();
    let pid = pid_in(&bench.work().join("pid")).await;
    session.close(false).await.unwrap();
    assert!(!runs(pid));
    assert_eq!(process.wait().await.unwrap(), ExitStatus::Cancelled);
    let late = session.exec(argv(&["true"])).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Rejected);
    let late = session.write("a", Bytes::new()).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Rejected);
    session.close(true).await.unwrap();
    session.close(true).await.unwrap();
}

#[tokio::test]
async fn two_sessions_of_one_attempt_work_side_by_side() {
    let bench = Bench::new().await;
    let (one, two) = (bench.open(4).await, bench.open(4).await);
    let mut running = one.spawn(argv(&["cat"])).await.unwrap();
    let three = bench.open(4).await;
    two.exec(argv(&["true"])).await.unwrap();
    three.write("a", Bytes::new()).await.unwrap();
    running.close_stdin().await.unwrap();
    assert_eq!(running.wait().await.unwrap(), ExitStatus::Code(0));
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
