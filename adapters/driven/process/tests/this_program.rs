//! A program that is its own supervisor. It has a `main`, so it answers test runners by itself.

use std::io::Write as _;

#[cfg(target_os = "linux")]
#[expect(clippy::unwrap_used, reason = "a test without the attribute")]
async fn a_program_that_calls_the_hook_supervises_its_own_commands() {
    use seaworthy_ports::sandbox::*;
    use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};

    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::this_program().unwrap();
    let config = ProcessConfig::new(folder.path().join("state"), supervisor);
    let sandbox = ProcessSandbox::connect(config).await.unwrap();
    let spec = SandboxSpec {
        policy: Policy::UNCONFINED,
        workspace: folder.path().to_owned(),
        limits: Limits::default(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        owner: Owner {
            run: seaworthy_ports::RunId::new("run_1").unwrap(),
            attempt: 1,
        },
    };
    let session = sandbox.open(spec).await.unwrap();
    let exec = Exec {
        argv: ["sh", "-c", "echo $0; exit 5"].map(str::to_owned).into(),
        cwd: String::new(),
        env: Default::default(),
        stdin: Default::default(),
        timeout: std::time::Duration::from_secs(60),
        cancel: seaworthy_ports::Latch::never(),
        on_output: None,
    };
    let output = session.exec(exec).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(5));
    assert_eq!(&output.stdout.bytes[..], b"sh\n");
    session.close(true).await.unwrap();
}

fn main() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    seaworthy_process::supervise_if_asked();
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--list") {
        if !asked("--ignored") {
            let name = "a_program_that_calls_the_hook_supervises_its_own_commands";
            writeln!(std::io::stdout(), "{name}: test")?;
        }
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(a_program_that_calls_the_hook_supervises_its_own_commands());
    Ok(())
}
