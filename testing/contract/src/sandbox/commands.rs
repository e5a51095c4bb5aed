//! SB-2: what a command is given, and what comes back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use seaworthy_ports::sandbox::{ExitStatus, Kind, MAX_OUTPUT_BYTES, SandboxSession};

use super::Harness;
use super::world::{World, argv, env, prepared, ran, sh, shown, text, tried};
use crate::outcome::{Halt, Outcome, broken, holds, ok, refused, same, within};

async fn status(session: &dyn SandboxSession, script: &str) -> Result<ExitStatus, Halt> {
    Ok(ran(session, sh(script)).await?.status)
}

/// SB-2.
pub async fn exit_codes_and_signals_are_told_apart<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    // 128 and more is how shells report a signal, but it is a code all the same.
    for code in [0, 1, 7, 137, 255] {
        let seen = status(&*session, &format!("exit {code}")).await?;
        let did = format!("ran a command that ends with the code {code}");
        same(did, seen, ExitStatus::Code(code))?;
    }
    for (name, number) in [("TERM", 15), ("KILL", 9)] {
        let seen = status(&*session, &format!("kill -{name} $$")).await?;
        let did = format!("ran a command that kills itself with {name}");
        same(did, seen, ExitStatus::Signal(number))?;
    }
    Ok(())
}

/// SB-2.
pub async fn arguments_and_both_outputs_pass_byte_by_byte<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let words = [
        "",
        "two words",
        "$HOME `id` *",
        "'\"\\",
        "a\nb",
        "-n",
        "ümläut",
        ";exit 3",
    ];
    let mut exec = argv(["sh", "-c", r#"printf '%s|' "$@""#, "sh"]);
    exec.argv.extend(words.map(str::to_owned));
    let output = ran(&*session, exec).await?;
    let expected = Bytes::from(words.join("|") + "|");
    same(
        "ran a command that prints its arguments",
        output.stdout.bytes,
        expected,
    )?;
    let script = r"printf '\377\000a'; printf '\376b' >&2";
    let output = ran(&*session, sh(script)).await?;
    let seen = (&output.stdout.bytes[..], &output.stderr.bytes[..]);
    same(
        "ran a command that prints bytes on both outputs",
        seen,
        (&b"\xff\x00a"[..], &b"\xfeb"[..]),
    )?;
    same(
        "counted what it printed",
        (output.stdout.total, output.stderr.total),
        (3, 2),
    )
}

/// SB-2.
pub async fn outputs_are_cut_counted_and_drained<H: Harness>(harness: H) -> Outcome {
    const MORE: u64 = MAX_OUTPUT_BYTES as u64 + 70_000;

    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let script = format!(
        "head -c {MORE} /dev/zero; head -c {MORE} /dev/zero >&2; echo end; printf whole >said"
    );
    let output = ran(&*session, sh(&script)).await?;
    let did = "ran a command that prints more than is kept";
    same(did, output.status, ExitStatus::Code(0))?;
    let outputs = [
        ("its output", &output.stdout, MORE + 4),
        ("its errors", &output.stderr, MORE),
    ];
    for (which, captured, total) in outputs {
        let seen = (captured.bytes.len(), captured.total, captured.is_cut());
        let did = format!("{did}, and looked at {which}");
        same(did, seen, (MAX_OUTPUT_BYTES, total, true))?;
    }
    let exact = format!("head -c {MAX_OUTPUT_BYTES} /dev/zero");
    let output = ran(&*session, sh(&exact)).await?;
    let seen = (output.stdout.bytes.len(), output.stdout.is_cut());
    same(
        "ran a command that prints as much as is kept",
        seen,
        (MAX_OUTPUT_BYTES, false),
    )
}

/// SB-2.
pub async fn standard_input_goes_in_whole_while_output_comes_back<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    // More than any pipe holds.
    let input: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut exec = argv(["cat"]);
    exec.stdin = Bytes::from(input.clone());
    let output = ran(&*session, exec).await?;
    same(
        "ran a command that says what it reads",
        output.stdout.total,
        2_000_000,
    )?;
    holds(
        output.stdout.bytes == input,
        "ran a command that says what it reads",
        "what it was given",
        "other bytes",
    )
}

/// SB-2.
pub async fn standard_input_may_be_ignored_and_is_empty_if_there_is_none<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut exec = sh("exec <&-; echo done");
    exec.stdin = Bytes::from(vec![b'x'; 2_000_000]);
    let output = ran(&*session, exec).await?;
    same(
        "ran a command that does not read its input",
        (output.status, &output.stdout.bytes[..]),
        (ExitStatus::Code(0), &b"done\n"[..]),
    )?;
    let output = ran(&*session, argv(["cat"])).await?;
    same(
        "ran a command that reads an input that is empty",
        (output.status, output.stdout.total),
        (ExitStatus::Code(0), 0),
    )
}

/// SB-2.
pub async fn a_spawned_command_reads_until_its_input_ends<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut exec = argv(["cat"]);
    exec.stdin = Bytes::from_static(b"one ");
    let mut process = ok("spawned `cat`", session.spawn(exec).await)?;
    let two = process.write(Bytes::from_static(b"two")).await;
    ok("wrote to its input", two)?;
    ok("ended its input", process.close_stdin().await)?;
    let mut said = Vec::new();
    while let Some(chunk) = within("listened to it", process.output()).await? {
        said.extend_from_slice(&chunk.bytes);
    }
    same(
        "listened until its outputs ended",
        said,
        b"one two".to_vec(),
    )?;
    for time in ["waited for its end", "waited for its end once more"] {
        let ended = ok(time, within(time, process.wait()).await?)?;
        same(time, ended, ExitStatus::Code(0))?;
    }
    Ok(())
}

/// SB-2.
pub async fn a_command_runs_in_its_folder_of_the_workspace<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let root = ran(&*session, argv(["pwd"])).await?.stdout.bytes;
    let root = String::from_utf8_lossy(&root).trim_end().to_owned();
    prepared(&*session, "mkdir -p inner/most && ln -s inner link").await?;
    let folders = [
        (".", ""),
        ("inner", "/inner"),
        ("inner/most", "/inner/most"),
        ("link", "/inner"),
    ];
    for (folder, below) in folders {
        let mut exec = sh("pwd -P");
        folder.clone_into(&mut exec.cwd);
        let output = ran(&*session, exec).await?;
        let seen = String::from_utf8_lossy(&output.stdout.bytes);
        let did = format!("ran `pwd` in `{folder}`");
        same(did, seen.trim_end(), &*format!("{root}{below}"))?;
    }
    Ok(())
}

/// SB-2.
pub async fn a_command_runs_nowhere_else<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let outside = text(&world.outside())?;
    let mut links = sh(r#"ln -s "$OUTSIDE" out && ln -s ../outside up && echo >file"#);
    links.env = env([("OUTSIDE", &*outside)]);
    ran(&*session, links).await?;
    let folders = [
        ("/", Kind::Outside),
        (&*outside, Kind::Outside),
        ("..", Kind::Outside),
        ("../outside", Kind::Outside),
        ("out", Kind::Outside),
        ("up", Kind::Outside),
        ("absent", Kind::NotFound),
        ("file", Kind::WrongType),
    ];
    for (folder, kind) in folders {
        let mut exec = sh("echo ran >here");
        folder.clone_into(&mut exec.cwd);
        let seen = tried(&*session, exec).await?;
        refused(format!("ran a command in `{folder}`"), seen, kind)?;
    }
    world.is_untouched_outside("ran commands in folders that are none of the workspace")
}

/// SB-2.
pub async fn programs_are_found_in_the_path_of_the_session<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let script = "mkdir bin; printf '#!/bin/sh\\necho tool\\n' >bin/tool; chmod 755 bin/tool; pwd";
    let output = ran(&*session, sh(script)).await?;
    let root = String::from_utf8_lossy(&output.stdout.bytes)
        .trim_end()
        .to_owned();
    refused(
        "ran `tool`, which is not in the PATH",
        tried(&*session, argv(["tool"])).await?,
        Kind::NotFound,
    )?;
    let with_slash = ran(&*session, argv(["./bin/tool"])).await?;
    same("ran `./bin/tool`", &with_slash.stdout.bytes[..], b"tool\n")?;
    let mut exec = argv(["tool"]);
    exec.env = env([("PATH", &*format!("/nowhere:{root}/bin"))]);
    let found = ran(&*session, exec).await?;
    same(
        "ran `tool` with its folder in the PATH of the command",
        &found.stdout.bytes[..],
        b"tool\n",
    )
}

/// SB-2.
pub async fn what_cannot_be_run_is_refused<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    prepared(&*session, "echo true >tool; chmod 644 tool").await?;
    let commands = [
        (argv(["no-such-program"]), Kind::NotFound),
        (argv(["./no-such-program"]), Kind::NotFound),
        (argv(["./tool"]), Kind::Denied),
        (argv([]), Kind::Rejected),
        (argv(["echo", "\0"]), Kind::Rejected),
    ];
    for (exec, kind) in commands {
        let did = format!("ran {}", shown(&exec));
        refused(&did, tried(&*session, exec.clone()).await?, kind)?;
        let spawned = within(&did, session.spawn(exec)).await?;
        match spawned {
            Err(error) if error.kind() == kind => {}
            other => {
                let seen = other.map_err(|error| error.kind());
                let did = did.replacen("ran", "spawned", 1);
                return Err(broken(did, format!("the error {kind:?}"), seen));
            }
        }
    }
    Ok(())
}

/// SB-2.
pub async fn the_duration_is_that_of_the_command<H: Harness>(harness: H) -> Outcome {
    const PAUSE: Duration = Duration::from_millis(60);

    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let begun = Instant::now();
    let wait = ran(
        &*session,
        sh("echo >begun; until [ -e go ]; do sleep 0.01; done"),
    );
    let let_go = async {
        while !world.work().join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        tokio::time::sleep(PAUSE).await;
        ok("wrote a file", session.write("go", Bytes::new()).await)
    };
    let both = async { tokio::join!(wait, let_go) };
    let (output, let_go) = within("let a command go", both).await?;
    let_go?;
    let seen = output?.duration;
    let at_most = begun.elapsed();
    holds(
        (PAUSE..=at_most).contains(&seen),
        "ran a command that waits to be let go",
        format!("{PAUSE:?} to {at_most:?}"),
        seen,
    )
}
