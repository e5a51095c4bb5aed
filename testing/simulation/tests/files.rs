//! Files given to a run: what models are sent, what logs hold, and what a crash leaves of it.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::Arc;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::files::Attachment;
use seaworthy_core::harness::{HarnessError, Start};
use seaworthy_core::record::Link;
use seaworthy_core::state::{RunState, Status};
use seaworthy_fakes::{FakeModel, Fault, Faults, Step};
use seaworthy_ports::RunId;
use seaworthy_ports::model_provider::{Block, FileBlock, ModelRequest};
use seaworthy_simulation::{Process, World, turn};

fn picture(bytes: &[u8]) -> Attachment {
    Attachment {
        media_type: "image/png".to_owned(),
        name: Some("picture.png".to_owned()),
        bytes: bytes.to_vec().into(),
    }
}

fn start(world: &World, files: Vec<Attachment>) -> Start {
    let mut start = world.start("What is this?").unwrap();
    start.files = files;
    start
}

fn files_in(request: &ModelRequest) -> Vec<&FileBlock> {
    let blocks = request.messages.iter().flat_map(|message| &message.blocks);
    blocks
        .filter_map(|block| match block {
            Block::File(file) => Some(file),
            _ => None,
        })
        .collect()
}

/// A world whose model says its steps.
fn world(model: &FakeModel) -> World {
    World::new().unwrap().with_model(Arc::new(model.clone()))
}

/// Lives to the end of a run with these files.
fn ended(world: &World, process: &Process, run: &str, files: Vec<Attachment>) -> RunState {
    block_on(async {
        let run = RunId::new(run).unwrap();
        let mut start = start(world, files);
        start.run = Some(run.clone());
        process.harness().start(start).await.unwrap();
        process.deliver_run(&run).await;
        process.harness().view(&run).await.unwrap().state
    })
}

#[test]
fn a_model_is_sent_the_bytes_and_the_log_holds_only_their_digest() {
    let bytes = vec![7_u8; 300_000];
    // Three bytes of 7 are four letters.
    let letters = "BwcH".repeat(100_000);
    let shown = letters.clone();
    let model = FakeModel::new([Step::says("done").when(
        "it is shown the picture, then the question",
        move |request| {
            let first = &request.messages[0];
            matches!(&first.blocks[0], Block::File(file) if file.data == shown
                && file.media_type == "image/png" && file.name.as_deref() == Some("picture.png"))
                && first.text() == "What is this?"
        },
    )]);
    let world = world(&model);
    let process = world.process(1, Faults::none()).unwrap();
    let state = ended(&world, &process, "simulated", vec![picture(&bytes)]);
    assert_eq!(state.status(), Status::Succeeded);
    model.assert_all_used();
    let records = process.harness().records(state.run(), Link::default());
    let sizes: Vec<usize> = block_on(
        records
            .map(|loaded| loaded.unwrap().envelope.data.to_string().len())
            .collect(),
    );
    assert!(sizes.iter().all(|size| *size < 10_000), "{sizes:?}");
    let kept = serde_json::to_string(&state).unwrap();
    assert!(!kept.contains(&letters[..100]), "the state holds the bytes");
}

#[test]
fn text_is_told_as_text_under_its_name() {
    let model = FakeModel::new([Step::says("done").when(
        "the text is in its message",
        |request: &ModelRequest| {
            let said = request.messages[0].text();
            said.contains("notes.txt") && said.contains("größer") && files_in(request).is_empty()
        },
    )]);
    let world = world(&model);
    let process = world.process(1, Faults::none()).unwrap();
    let notes = Attachment {
        media_type: "text/plain".to_owned(),
        name: Some("notes.txt".to_owned()),
        bytes: "größer".into(),
    };
    let state = ended(&world, &process, "simulated", vec![notes]);
    assert_eq!(state.status(), Status::Succeeded);
    model.assert_all_used();
}

#[test]
fn the_same_start_twice_is_one_run_and_one_with_other_files_is_refused() {
    let world = world(&FakeModel::new([]));
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        let harness = process.harness();
        let one = || vec![picture(b"one")];
        assert!(!harness.start(start(&world, one())).await.unwrap().existing);
        assert!(harness.start(start(&world, one())).await.unwrap().existing);
        for other in [vec![], vec![picture(b"two")], [one(), one()].concat()] {
            let refused = harness.start(start(&world, other)).await;
            assert!(matches!(
                refused,
                Err(HarnessError::Mismatch { what: "files", .. })
            ));
        }
        let mut empty = start(&world, vec![picture(b"")]);
        empty.run = None;
        assert!(matches!(
            harness.start(empty).await,
            Err(HarnessError::File(_))
        ));
    });
}

#[test]
fn a_later_run_of_the_session_is_sent_the_newest_files_and_told_of_those_that_are_too_much() {
    let most = 13 * 1024 * 1024;
    let sees = |count: usize, noted: usize| {
        Step::says("done").when(
            format!("it is sent {count} files and told of {noted}"),
            move |request: &ModelRequest| {
                let notes = request.messages.iter().map(|message| message.text());
                let notes = notes.filter(|said| said.contains("picture.png")).count();
                let sent = files_in(request);
                sent.iter().all(|file| !file.data.contains(':'))
                    && (sent.len(), notes) == (count, noted)
            },
        )
    };
    let model = FakeModel::new([sees(1, 0), sees(2, 0), sees(2, 1)]);
    let world = world(&model);
    let process = world.process(1, Faults::none()).unwrap();
    for (run, size) in [("one", most), ("two", 10), ("three", most)] {
        let state = ended(&world, &process, run, vec![picture(&vec![1; size])]);
        assert_eq!(state.status(), Status::Succeeded, "{run}");
    }
    model.assert_all_used();
}

#[test]
fn a_crash_at_any_port_call_of_a_run_with_a_file_changes_nothing() {
    let turns = || vec![turn("send", &["send"], true), turn("done", &[], true)];
    let live = async |world: &World, process: &Process, faults: &Faults| {
        let started = start(world, vec![picture(b"picture")]);
        let life = std::pin::pin!(async {
            process.harness().start(started.clone()).await.unwrap();
            while process.deliver().await.is_some()
                && !process.view().await.unwrap().state.status().is_terminal()
            {}
        });
        let dead = faults.dead();
        let death = std::pin::pin!(dead.wait());
        futures_util::future::select(life, death).await;
    };
    let world = World::saying(turns()).unwrap();
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    let expected = block_on(async {
        live(&world, &process, &faults).await;
        process.ending().await.unwrap()
    });
    assert_eq!(expected.status, Status::Succeeded);
    let calls = faults.calls();
    assert!(calls.contains(&"blob put") && calls.contains(&"blob get"));
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = World::saying(turns()).unwrap();
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let calm = Faults::none();
            let next = world.process(2, calm.clone()).unwrap();
            let ending = block_on(async {
                live(&world, &process, &faults).await;
                live(&world, &next, &calm).await;
                next.ending().await
            });
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            assert_eq!(ending.status, expected.status, "{place}");
            assert_eq!(ending.once, expected.once, "{place}");
            assert!(ending.messages == expected.messages, "{place}");
        }
    }
}
