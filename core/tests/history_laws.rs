//! What holds of the history algebra for every conversation: sound ones, and any list of messages at all.

#![expect(
    clippy::indexing_slicing,
    reason = "what cannot be built is a failed test"
)]

use std::borrow::Cow;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use seaworthy_core::history::{
    Answers, BEGINNING_MISSING, Calls, Files, NEVER_ANSWERED, NotCompacted, Projection, Target,
    Window, compact, cut, estimate, estimate_request, estimate_text, project, repair,
    summary_message, transcript, window,
};
use seaworthy_ports::model_provider::{
    Block, FileBlock, Message, OpaqueItem, Role, ToolCallBlock, ToolResultBlock, ToolSpec,
    check_history,
};
use serde_json::json;

const PROVIDERS: [&str; 3] = ["anthropic", "gemini", "openai"];

fn item() -> impl Strategy<Value = Option<OpaqueItem>> {
    proptest::option::of(select(&PROVIDERS).prop_map(|provider| OpaqueItem {
        provider: provider.to_owned(),
        data: json!({ "signature": "s" }),
    }))
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,40}", "\\PC{0,12}", Just(String::new())]
}

fn id() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "a_2"]).prop_map(str::to_owned)
}

fn file() -> impl Strategy<Value = FileBlock> {
    let media_type = select(vec!["image/png", "audio/wav", "application/pdf", "odd"]);
    (media_type, proptest::option::of("[a-z]{1,8}")).prop_map(|(media_type, name)| FileBlock {
        media_type: media_type.to_owned(),
        name,
        data: "AAAA".to_owned(),
    })
}

fn call(id: String, opaque: Option<OpaqueItem>) -> Block {
    Block::ToolCall(ToolCallBlock {
        id,
        name: "tool".to_owned(),
        arguments: r#"{"n":1}"#.to_owned(),
        opaque,
    })
}

fn result(id: &str, content: &str) -> Block {
    Block::ToolResult(ToolResultBlock {
        id: id.to_owned(),
        name: "tool".to_owned(),
        content: content.to_owned(),
        is_error: false,
        media: Vec::new(),
    })
}

fn text(said: &str) -> Block {
    Block::Text {
        text: said.to_owned(),
        opaque: None,
    }
}

fn says(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::Assistant,
        blocks,
    }
}

fn hears(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        blocks,
    }
}

fn calls(ids: &[&str]) -> Message {
    says(ids.iter().map(|id| call((*id).to_owned(), None)).collect())
}

fn results(ids: &[&str]) -> Message {
    hears(ids.iter().map(|id| result(id, "done")).collect())
}

/// What a model may say beside calls.
fn speech() -> impl Strategy<Value = Block> {
    prop_oneof![
        (words(), item()).prop_map(|(text, opaque)| Block::Text { text, opaque }),
        (words(), item()).prop_map(|(text, opaque)| Block::Reasoning { text, opaque }),
        words().prop_map(|text| Block::Refusal { text }),
    ]
}

/// Any block at all.
fn any_block() -> impl Strategy<Value = Block> {
    prop_oneof![
        speech(),
        (id(), item()).prop_map(|(id, opaque)| call(id, opaque)),
        (id(), words()).prop_map(|(id, said)| result(&id, &said)),
        file().prop_map(Block::File),
    ]
}

/// Any list of messages at all.
fn anything() -> impl Strategy<Value = Vec<Message>> {
    let role = select(vec![Role::User, Role::Assistant]);
    let message =
        (role, vec(any_block(), 0..5)).prop_map(|(role, blocks)| Message { role, blocks });
    vec(message, 0..12)
}

/// What the user says without answering a call.
fn question() -> impl Strategy<Value = Message> {
    let block = prop_oneof![
        4 => (words(), item()).prop_map(|(text, opaque)| Block::Text { text, opaque }),
        1 => file().prop_map(Block::File),
    ];
    vec(block, 0..3).prop_map(hears)
}

/// An answer of the model, and what answers its calls: in one message or two, in any order, beside text or not.
fn turn() -> impl Strategy<Value = Vec<Message>> {
    let ids = proptest::sample::subsequence(vec!["a", "b", "c", "a_2"], 0..=4).prop_shuffle();
    let calls = ids.prop_flat_map(|ids| {
        let items = vec(item(), ids.len());
        (Just(ids), items)
    });
    (
        vec(speech(), 0..3),
        calls,
        any::<Index>(),
        any::<bool>(),
        words(),
    )
        .prop_map(|(speech, (ids, items), split, beside, said)| {
            let asked = ids.iter().zip(items);
            let mut blocks = speech;
            blocks.extend(asked.map(|(id, item)| call((*id).to_owned(), item)));
            let mut messages = vec![says(blocks)];
            if ids.is_empty() {
                return messages;
            }
            let mut answered = ids;
            answered.reverse();
            let at = split.index(answered.len());
            for part in [&answered[..at], &answered[at..]] {
                let mut blocks: Vec<Block> = part.iter().map(|id| result(id, &said)).collect();
                if beside && !blocks.is_empty() {
                    blocks.push(text(&said));
                }
                if !blocks.is_empty() {
                    messages.push(hears(blocks));
                }
            }
            messages
        })
}

/// A conversation that a provider continues.
fn sound() -> impl Strategy<Value = Vec<Message>> {
    let exchange = (vec(question(), 1..3), vec(turn(), 0..4));
    vec(exchange, 1..4).prop_map(|exchanges| {
        let mut messages = Vec::new();
        for (questions, turns) in exchanges {
            messages.extend(questions);
            messages.extend(turns.into_iter().flatten());
        }
        messages
    })
}

fn files() -> impl Strategy<Value = Files> {
    let only = any::<[bool; 3]>().prop_map(|[images, audio, others]| Files::Only {
        images,
        audio,
        others,
    });
    prop_oneof![Just(Files::Any), only]
}

fn target() -> impl Strategy<Value = Target<'static>> {
    let calls = select(vec![Calls::Any, Calls::Signed]);
    (select(&PROVIDERS), files(), files(), calls).prop_map(|(provider, files, media, calls)| {
        Target {
            provider,
            files,
            media,
            calls,
            answers: Answers::AsText,
        }
    })
}

fn opaque_items(messages: &[Message]) -> impl Iterator<Item = &OpaqueItem> {
    let blocks = messages.iter().flat_map(|message| &message.blocks);
    blocks.filter_map(|block| match block {
        Block::Text { opaque, .. } | Block::Reasoning { opaque, .. } => opaque.as_ref(),
        Block::ToolCall(call) => call.opaque.as_ref(),
        Block::ToolResult(_) | Block::Refusal { .. } | Block::File(_) => None,
    })
}

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        Just(Window::All),
        Just(Window::None),
        (0..6_u32).prop_map(Window::Newest),
        (0..20_u32).prop_map(Window::NewestMessages),
    ]
}

proptest! {
    #[test]
    fn the_generator_makes_conversations_that_a_provider_continues(messages in sound()) {
        prop_assert_eq!(check_history(&messages), Ok(()));
    }

    #[test]
    fn whatever_is_repaired_is_continued(messages in anything()) {
        prop_assert_eq!(check_history(&repair(&messages)), Ok(()));
    }

    #[test]
    fn repairing_again_changes_nothing(messages in anything()) {
        let once = repair(&messages).into_owned();
        prop_assert!(*repair(&once) == *once);
    }

    #[test]
    fn what_is_sound_is_not_even_copied(messages in sound()) {
        prop_assert!(matches!(repair(&messages), Cow::Borrowed(same) if same == messages));
    }

    #[test]
    fn what_is_sound_before_a_fault_stays_as_it_is(messages in sound(), more in anything()) {
        let mut all = messages.clone();
        all.push(says(vec![text("so")]));
        all.extend(more);
        let repaired = repair(&all);
        prop_assert!(repaired.starts_with(&messages));
    }

    #[test]
    fn repairing_keeps_all_that_anybody_says(messages in anything()) {
        let said = |messages: &[Message]| {
            let blocks = messages.iter().flat_map(|message| message.blocks.clone());
            let mut said: Vec<String> = blocks
                .filter_map(|block| match block {
                    Block::Text { text, .. }
                    | Block::Reasoning { text, .. }
                    | Block::Refusal { text } => Some(text),
                    _ => None,
                })
                .collect();
            said.sort();
            said
        };
        let before = said(&messages);
        let mut after = said(&repair(&messages));
        for one in before {
            let place = after.iter().position(|other| *other == one);
            prop_assert!(place.is_some(), "{one:?} is lost");
            after.remove(place.unwrap());
        }
    }

    #[test]
    fn repairing_keeps_every_call_of_the_model(messages in anything()) {
        let asked = |messages: &[Message]| -> usize {
            let answers = messages.iter().filter(|message| message.role == Role::Assistant);
            answers.map(|message| message.tool_calls().count()).sum()
        };
        prop_assert_eq!(asked(&repair(&messages)), asked(&messages));
    }

    #[test]
    fn projecting_again_changes_nothing(messages in sound(), target in target()) {
        let once = project(&messages, &target).into_owned();
        prop_assert!(matches!(project(&once, &target), Cow::Borrowed(_)));
    }

    #[test]
    fn a_conversation_that_grows_is_projected_as_if_it_had_been_whole(messages in sound(), target in target(), part in any::<Index>()) {
        let first = part.index(messages.len() + 1);
        let mut projection = Projection::new(target);
        let part = Arc::new(messages.get(..first).unwrap().to_vec());
        prop_assert_eq!(&*projection.of(&part), &*project(&part, &target));
        let whole = Arc::new(messages);
        prop_assert_eq!(&*projection.of(&whole), &*project(&whole, &target));
    }

    #[test]
    fn what_is_projected_is_continued_by_its_target(messages in sound(), target in target()) {
        prop_assert_eq!(check_history(&project(&messages, &target)), Ok(()));
    }

    #[test]
    fn nobody_gets_what_another_provider_marked(messages in anything(), target in target()) {
        let projected = project(&messages, &target);
        prop_assert!(opaque_items(&projected).all(|item| item.provider == target.provider));
    }

    #[test]
    fn what_the_target_marked_returns_byte_for_byte(messages in sound(), target in target()) {
        let own = |messages: &[Message]| -> Vec<OpaqueItem> {
            let items = opaque_items(messages).filter(|item| item.provider == target.provider);
            items.cloned().collect()
        };
        prop_assert!(own(&project(&messages, &target)) == own(&messages));
    }

    #[test]
    fn a_conversation_with_one_provider_is_not_even_copied(mut messages in sound(), calls in select(vec![Calls::Any, Calls::Signed])) {
        for message in messages.iter_mut().filter(|message| message.role == Role::Assistant) {
            // The item that says whose the message is, and none of anybody else.
            let item = OpaqueItem { provider: "gemini".to_owned(), data: json!("mark") };
            message.blocks.push(Block::Reasoning { text: String::new(), opaque: Some(item) });
        }
        for block in messages.iter_mut().flat_map(|message| &mut message.blocks) {
            match block {
                Block::Text { opaque: Some(item), .. } | Block::Reasoning { opaque: Some(item), .. } => {
                    item.provider = "gemini".to_owned();
                }
                Block::ToolCall(call) => {
                    if let Some(item) = &mut call.opaque {
                        item.provider = "gemini".to_owned();
                    }
                }
                _ => {}
            }
        }
        let target = Target { provider: "gemini", files: Files::Any, media: Files::Any, calls, answers: Answers::Any };
        prop_assert!(matches!(project(&messages, &target), Cow::Borrowed(_)));
    }

    #[test]
    fn a_target_that_signs_gets_no_call_without_a_mark_of_its_own(messages in sound(), provider in select(&PROVIDERS)) {
        let target = Target { provider, files: Files::Any, media: Files::Any, calls: Calls::Signed, answers: Answers::Any };
        for message in project(&messages, &target).iter() {
            let signed = opaque_items(std::slice::from_ref(message)).next().is_some();
            prop_assert!(signed || message.tool_calls().next().is_none());
        }
    }

    #[test]
    fn files_that_the_target_does_not_take_are_not_sent(messages in sound(), provider in select(&PROVIDERS)) {
        let files = Files::Only { images: false, audio: false, others: false };
        let target = Target { provider, files, media: files, calls: Calls::Any, answers: Answers::Any };
        let projected = project(&messages, &target);
        let is_file = |block: &Block| match block {
            Block::File(_) => true,
            Block::ToolResult(result) => !result.media.is_empty(),
            _ => false,
        };
        prop_assert!(!projected.iter().flat_map(|message| &message.blocks).any(is_file));
    }

    #[test]
    fn a_window_is_the_end_of_a_conversation_and_the_user_can_go_on(messages in sound(), wanted in windows()) {
        let seen = window(&messages, wanted);
        prop_assert!(messages.ends_with(seen));
        let mut next = seen.to_vec();
        next.push(Message::user("next"));
        prop_assert_eq!(check_history(&next), Ok(()));
        if let Window::NewestMessages(most) = wanted {
            prop_assert!(seen.len() <= most as usize);
        }
    }

    #[test]
    fn a_wider_window_shows_no_less(messages in sound(), narrow in 0..8_u32, wide in 0..8_u32) {
        let (narrow, wide) = (narrow.min(wide), narrow.max(wide));
        for of in [Window::Newest, Window::NewestMessages] {
            prop_assert!(window(&messages, of(wide)).ends_with(window(&messages, of(narrow))));
        }
        prop_assert!(window(&messages, Window::Newest(100)) == messages);
        prop_assert!(window(&messages, Window::NewestMessages(1000)) == messages);
    }

    #[test]
    fn compacting_keeps_the_tail_and_never_adds_tokens(messages in sound(), turns in 1..5_u32, summary in words(), has_task in any::<bool>()) {
        let Some(at) = cut(&messages, turns) else { return Ok(()) };
        let task = has_task.then_some("go");
        match compact(&messages, at, &summary, task) {
            Ok(compacted) => {
                prop_assert!(estimate(&compacted) < estimate(&messages));
                prop_assert!(compacted[1..] == messages[at..]);
                prop_assert!(compacted[0] == summary_message(&summary, task));
                prop_assert_eq!(check_history(&compacted), Ok(()));
            }
            Err(NotCompacted::Empty) => prop_assert!(summary.trim().is_empty()),
            Err(NotCompacted::NoReduction { before, after }) => prop_assert!(after >= before),
            Err(NotCompacted::Fault(fault)) => prop_assert!(false, "cut at {at}: {fault}"),
        }
    }

    #[test]
    fn the_tail_has_as_many_answers_as_asked_for(messages in sound(), turns in 1..5_u32) {
        let answers = |messages: &[Message]| messages.iter().filter(|message| message.role == Role::Assistant).count();
        match cut(&messages, turns) {
            Some(at) => {
                prop_assert_eq!(answers(&messages[at..]), turns as usize);
                prop_assert_eq!(messages[at].role, Role::Assistant);
            }
            None => prop_assert!(answers(&messages) < turns as usize + 1 || messages.len() < 3 || messages[1].role == Role::Assistant),
        }
    }

    #[test]
    fn tokens_of_parts_are_those_of_the_whole(messages in anything(), at in any::<Index>()) {
        let at = at.index(messages.len() + 1);
        let (one, other) = messages.split_at(at);
        prop_assert_eq!(estimate(one) + estimate(other), estimate(&messages));
    }

    #[test]
    fn more_text_has_no_fewer_tokens(text in "\\PC{0,40}", more in "\\PC{0,20}") {
        let longer = format!("{text}{more}");
        prop_assert!(estimate_text(&longer) >= estimate_text(&text));
        prop_assert!(estimate_text(&longer) <= estimate_text(&text) + estimate_text(&more));
    }
}

#[test]
fn a_late_answer_still_reaches_its_call() {
    let broken = [
        Message::user("go"),
        calls(&["a"]),
        says(vec![text("hm")]),
        results(&["a"]),
    ];
    let mended = repair(&broken).into_owned();
    assert!(
        mended
            == [
                Message::user("go"),
                calls(&["a"]),
                results(&["a"]),
                says(vec![text("hm")]),
            ]
    );
}

#[test]
fn a_call_that_nobody_answered_has_failed() {
    let broken = [Message::user("go"), calls(&["a", "b"]), results(&["b"])];
    let mended = repair(&broken).into_owned();
    let [_, _, answers] = mended.as_slice() else {
        panic!("{mended:?}");
    };
    let [Block::ToolResult(made_up), Block::ToolResult(real)] = answers.blocks.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!(
        (
            made_up.id.as_str(),
            made_up.content.as_str(),
            made_up.is_error
        ),
        ("a", NEVER_ANSWERED, true)
    );
    assert_eq!((real.content.as_str(), real.is_error), ("done", false));
}

#[test]
fn the_user_speaks_after_the_results() {
    let broken = [
        Message::user("go"),
        calls(&["a"]),
        Message::user("well?"),
        results(&["a"]),
    ];
    let mended = repair(&broken).into_owned();
    assert!(
        mended
            == [
                Message::user("go"),
                calls(&["a"]),
                results(&["a"]),
                Message::user("well?"),
            ]
    );
}

#[test]
fn calls_with_one_id_get_their_own_and_keep_their_results_in_order() {
    let broken = [
        Message::user("go"),
        calls(&["a", "a", "a_2"]),
        hears(vec![
            result("a", "first"),
            result("a", "second"),
            result("a_2", "third"),
        ]),
    ];
    let mended = repair(&broken).into_owned();
    assert!(mended[1] == calls(&["a", "a_3", "a_2"]));
    let expected = hears(vec![
        result("a", "first"),
        result("a_3", "second"),
        result("a_2", "third"),
    ]);
    assert!(mended[2] == expected);
}

#[test]
fn a_conversation_without_a_beginning_gets_one() {
    assert!(*repair(&[]) == [Message::user(BEGINNING_MISSING)]);
    let broken = [says(vec![text("hello")])];
    let mended = repair(&broken).into_owned();
    assert!(mended == [Message::user(BEGINNING_MISSING), broken[0].clone()]);
}

#[test]
fn a_call_of_another_model_becomes_text_for_a_target_that_signs() {
    let messages = [Message::user("go"), calls(&["a"]), results(&["a"])];
    let target = Target {
        provider: "gemini",
        files: Files::Any,
        media: Files::Any,
        calls: Calls::Signed,
        answers: Answers::Any,
    };
    let projected = project(&messages, &target);
    assert_eq!(projected[1].text(), r#"[called tool with {"n":1}]"#);
    assert_eq!(projected[2].text(), "[tool answered: done]");
}

#[test]
fn the_newest_exchange_has_its_calls_and_results() {
    let messages = [
        Message::user("one"),
        says(vec![text("1")]),
        Message::user("two"),
        calls(&["a"]),
        results(&["a"]),
        says(vec![text("2")]),
    ];
    assert!(*window(&messages, Window::Newest(1)) == messages[2..]);
    assert!(*window(&messages, Window::NewestMessages(5)) == messages[2..]);
    assert!(
        window(&messages, Window::NewestMessages(3)).is_empty(),
        "an exchange was cut"
    );
}

#[test]
fn a_transcript_has_what_was_said_and_leaves_the_middle_of_long_blocks_out() {
    let long = format!("START{}END", "é".repeat(20_000));
    let messages = [
        Message::user("go"),
        calls(&["a"]),
        hears(vec![result("a", &long)]),
        says(vec![Block::Reasoning {
            text: "secret".to_owned(),
            opaque: None,
        }]),
    ];
    let shown = transcript(&messages);
    assert!(shown.contains("User: go"));
    assert!(shown.contains(r#"Assistant: [called tool with {"n":1}]"#));
    assert!(shown.contains("START") && shown.contains("END"));
    assert!(!shown.contains("secret"));
    assert!(shown.len() < 10_000, "{} bytes", shown.len());
}

#[test]
fn estimates_are_near_what_tokenizers_say() {
    // 12 tokens by cl100k_base.
    let english = "The quick brown fox jumps over the lazy dog, twice a day.";
    let guessed = estimate_text(english);
    assert!((10..=18).contains(&guessed), "{guessed}");
    // One or two for a character.
    let chinese = "敏捷的棕色狐狸跳过了懒狗";
    let guessed = estimate_text(chinese);
    assert!((10..=24).contains(&guessed), "{guessed}");
}

#[test]
fn instructions_tools_and_files_are_counted_and_the_count_is_called_an_estimate() {
    let messages = [Message::user("go")];
    let tool = ToolSpec {
        name: seaworthy_ports::ToolName::new("read").unwrap(),
        description: "Reads a file.".to_owned(),
        input_schema: json!({ "type": "object", "properties": { "path": { "type": "string" } } }),
    };
    let bare = estimate_request("", &[], &messages);
    let told = estimate_request("Be brief.", &[], &messages);
    let whole = estimate_request("Be brief.", &[tool], &messages);
    assert!(bare.estimated && whole.estimated);
    assert!(bare.count < told.count && told.count < whole.count);
    let image = hears(vec![Block::File(FileBlock {
        media_type: "image/png".to_owned(),
        name: None,
        data: "AAAA".to_owned(),
    })]);
    assert!(estimate(&[image]) > 1000);
}
