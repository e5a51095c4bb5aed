//! What tools of servers show: who is sent it, what logs hold of it, and what a replay makes of it.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::Arc;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::event::Event;
use seaworthy_core::files::MAX_SENT_BYTES;
use seaworthy_core::record::Link;
use seaworthy_core::servers::media::{MAX_PIECE_BYTES, MAX_RUN_MEDIA_BYTES};
use seaworthy_core::state::{RunState, Status};
use seaworthy_fakes::{FakeMcpTool, FakeModel, Fault, Faults, McpFault, Step};
use seaworthy_ports::mcp::{McpCallResult, McpContent};
use seaworthy_ports::model_provider::{Block, FileBlock, ModelCapabilities, ModelRequest};
use seaworthy_simulation::{Process, World, reproduce, run_out};
use serde_json::json;

/// A picture of so many bytes.
fn picture(bytes: usize) -> McpContent {
    let mut content = b"\x89PNG\r\n\x1a\n".to_vec();
    content.resize(bytes, 7);
    McpContent::Image {
        media_type: "image/png".to_owned(),
        bytes: content.into(),
    }
}

/// A tool that shows these.
fn camera(content: Vec<McpContent>) -> FakeMcpTool {
    FakeMcpTool::new("look", move |_call| {
        let content = content.clone();
        async move {
            Ok::<_, McpFault>(McpCallResult {
                is_error: false,
                structured: None,
                content,
            })
        }
    })
    .with_description("Looks.")
}

/// What the results of a request show.
fn shown(request: &ModelRequest) -> Vec<FileBlock> {
    let blocks = request.messages.iter().flat_map(|message| &message.blocks);
    blocks
        .filter_map(|block| match block {
            Block::ToolResult(result) => Some(result.media.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

/// Calls the tool once; the answer comes if what it showed is as `fits` says.
fn looking(fits: impl Fn(&[FileBlock]) -> bool + Send + Sync + 'static) -> FakeModel {
    let sees = ModelCapabilities::NONE.with_tool_use().with_vision_input();
    FakeModel::new([
        Step::calls("desk__look", &json!({})),
        Step::says("done").when("what the tool showed", move |request: &ModelRequest| {
            fits(&shown(request))
        }),
    ])
    .with_capabilities(sees)
}

fn world(model: FakeModel, content: Vec<McpContent>) -> World {
    let world = World::new().unwrap().with_model(Arc::new(model));
    let world = world.served().unwrap();
    world.desk().set_tools(vec![camera(content)]);
    world
}

/// Lives until the run rests.
fn rests(world: &World) -> (Process, RunState) {
    let process = world.process(1, Faults::none()).unwrap();
    let state = block_on(async {
        process.start().await.unwrap();
        run_out(&process).await.unwrap()
    });
    (process, state)
}

#[test]
fn a_model_that_sees_is_sent_the_picture_and_the_log_holds_its_digest() {
    let model = looking(
        |shown| matches!(shown, [file] if file.media_type == "image/png" && file.data.starts_with("iVBORw0KGgo")),
    );
    let world = world(model.clone(), vec![picture(300_000)]).with_capability("vision_input", true);
    let (process, state) = rests(&world);
    assert_eq!(state.status(), Status::Succeeded, "{:?}", state.outcome);
    model.assert_all_used();
    let events: Vec<Event> = block_on(
        process
            .harness()
            .records(world.run(), Link::default())
            .map(|loaded| loaded.unwrap().envelope.event().unwrap())
            .collect(),
    );
    let kept = events.iter().find_map(|event| match event {
        Event::ToolSucceeded { media, output, .. } => Some((media.clone(), output.clone())),
        _ => None,
    });
    let (media, output) = kept.unwrap();
    assert_eq!(media.len(), 1);
    assert_eq!(media[0].bytes, 300_000);
    assert_eq!(output["content"][0]["bytes"], 300_000);
    let sizes = events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap().len());
    assert!(sizes.max().unwrap() < 20_000, "the log holds the bytes");
    // The whole again without a server and without a model.
    block_on(reproduce(&world, 5)).unwrap();
}

#[test]
fn a_model_of_which_nobody_says_that_it_sees_is_told_as_before() {
    for said in [None, Some(false)] {
        let model = looking(|shown| shown.is_empty());
        let world = world(model.clone(), vec![picture(3000)]);
        let world = match said {
            Some(has) => world.with_capability("vision_input", has),
            None => world,
        };
        let (_process, state) = rests(&world);
        assert_eq!(state.status(), Status::Succeeded, "{:?}", state.outcome);
        model.assert_all_used();
    }
}

#[test]
fn a_picture_that_cannot_be_kept_is_described() {
    let model = looking(|shown| shown.is_empty());
    let world = world(model.clone(), vec![picture(3000)]).with_capability("vision_input", true);
    let process = world
        .process(1, Faults::every("blob put", Fault::FailBefore))
        .unwrap();
    let state = block_on(async {
        process.start().await.unwrap();
        run_out(&process).await.unwrap()
    });
    assert_eq!(state.status(), Status::Succeeded, "{:?}", state.outcome);
    model.assert_all_used();
}

#[test]
fn what_a_run_keeps_is_bounded() {
    let calls = usize::try_from(MAX_RUN_MEDIA_BYTES).unwrap() / (2 * MAX_PIECE_BYTES) + 2;
    let look = || Step::calls("desk__look", &json!({}));
    let sent = |request: &ModelRequest| -> usize {
        shown(request).iter().map(|file| file.data.len()).sum()
    };
    let last = Step::says("done").when("the newest that may be sent at once", move |request| {
        let sent = sent(request);
        sent > 0 && sent <= MAX_SENT_BYTES.div_ceil(3) * 4
    });
    let steps = (0..calls).map(|_number| look()).chain([last]);
    let model = FakeModel::new(steps)
        .with_capabilities(ModelCapabilities::NONE.with_tool_use().with_vision_input());
    let content = vec![picture(MAX_PIECE_BYTES); 2];
    let world = world(model, content).with_capability("vision_input", true);
    let (_process, state) = rests(&world);
    assert_eq!(state.status(), Status::Succeeded, "{:?}", state.outcome);
    let media = || state.calls.values().map(|call| call.media());
    let bytes: u64 = media().flatten().map(|file| file.bytes).sum();
    assert!(bytes <= MAX_RUN_MEDIA_BYTES);
    assert!(media().any(<[_]>::is_empty), "all was kept");
}
