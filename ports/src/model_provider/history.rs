//! What every provider refuses to continue.

use super::{Block, Message, Role};

/// Why a conversation is none that a provider would continue. Messages are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryFault {
    /// There is no message.
    #[error("there is no message")]
    Empty,
    /// The model speaks first.
    #[error("the first message is not the user's")]
    FirstNotUser,
    /// A message of the user calls a tool.
    #[error("message {message} is the user's and calls a tool")]
    CallByUser {
        /// The message.
        message: usize,
    },
    /// A message of the model answers a call.
    #[error("message {message} is the model's and answers a call")]
    ResultByAssistant {
        /// The message.
        message: usize,
    },
    /// A message of the model holds a file.
    #[error("message {message} is the model's and holds a file")]
    FileByAssistant {
        /// The message.
        message: usize,
    },
    /// Two calls of one message have the same id.
    #[error("message {message} has two calls {id:?}")]
    DuplicateCall {
        /// The message.
        message: usize,
        /// The provider's id of the calls.
        id: String,
    },
    /// A call has no result before the conversation goes on, or at its end.
    #[error("call {id:?} of message {message} is not answered by what follows it")]
    Unanswered {
        /// The message that calls.
        message: usize,
        /// The provider's id of the call.
        id: String,
    },
    /// A result answers none of the calls before it.
    #[error("message {message} answers call {id:?}, which is not open")]
    ResultWithoutCall {
        /// The message that answers.
        message: usize,
        /// The provider's id of the call.
        id: String,
    },
    /// A call has two results.
    #[error("message {message} answers call {id:?} a second time")]
    AnsweredTwice {
        /// The message that answers again.
        message: usize,
        /// The provider's id of the call.
        id: String,
    },
}

/// Whether a provider would continue this conversation.
///
/// The user begins; every call of a message is answered exactly once by the user messages that directly follow it, and
/// nothing else is answered. The order of the results does not matter, nor that of blocks within a message.
///
/// The cost is one pass without copying.
///
/// # Errors
///
/// The first fault.
pub fn check_history(messages: &[Message]) -> Result<(), HistoryFault> {
    match messages.first() {
        None => return Err(HistoryFault::Empty),
        Some(first) if first.role != Role::User => return Err(HistoryFault::FirstNotUser),
        Some(_) => {}
    }
    let mut calls = Calls::default();
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::Assistant => {
                calls.all_answered()?;
                calls.open(index, message)?;
            }
            Role::User => calls.close(index, message)?,
        }
    }
    calls.all_answered()
}

/// The calls of the newest message of the model, and which of them are answered.
#[derive(Default)]
struct Calls<'a> {
    message: usize,
    ids: Vec<(&'a str, bool)>,
    unanswered: usize,
}

impl<'a> Calls<'a> {
    fn open(&mut self, index: usize, message: &'a Message) -> Result<(), HistoryFault> {
        self.message = index;
        self.ids.clear();
        for block in &message.blocks {
            match block {
                Block::ToolCall(call) => self.ids.push((&call.id, false)),
                Block::ToolResult(_) => {
                    return Err(HistoryFault::ResultByAssistant { message: index });
                }
                Block::File(_) => return Err(HistoryFault::FileByAssistant { message: index }),
                Block::Text { .. } | Block::Reasoning { .. } | Block::Refusal { .. } => {}
            }
        }
        self.unanswered = self.ids.len();
        // Sorted, so that a model that asks for thousands of calls at once does not cost their square.
        self.ids.sort_unstable();
        for pair in self.ids.windows(2) {
            if let [(one, _), (other, _)] = pair
                && one == other
            {
                return Err(HistoryFault::DuplicateCall {
                    message: index,
                    id: (*one).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn close(&mut self, index: usize, message: &Message) -> Result<(), HistoryFault> {
        let open_before = self.unanswered;
        for block in &message.blocks {
            match block {
                Block::ToolCall(_) => return Err(HistoryFault::CallByUser { message: index }),
                Block::ToolResult(result) => self.answer(index, &result.id)?,
                Block::Text { .. }
                | Block::Reasoning { .. }
                | Block::Refusal { .. }
                | Block::File(_) => {}
            }
        }
        if open_before > 0 && self.unanswered == open_before {
            // The user speaks although a call is open.
            return self.all_answered();
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, id: &str) -> Result<(), HistoryFault> {
        let found = self.ids.binary_search_by(|(open, _)| (*open).cmp(id));
        match found.ok().and_then(|place| self.ids.get_mut(place)) {
            None => Err(HistoryFault::ResultWithoutCall {
                message: index,
                id: id.to_owned(),
            }),
            Some((_, true)) => Err(HistoryFault::AnsweredTwice {
                message: index,
                id: id.to_owned(),
            }),
            Some((_, answered)) => {
                *answered = true;
                self.unanswered -= 1;
                Ok(())
            }
        }
    }

    fn all_answered(&self) -> Result<(), HistoryFault> {
        match self.ids.iter().find(|(_, answered)| !answered) {
            None => Ok(()),
            Some((id, _)) => Err(HistoryFault::Unanswered {
                message: self.message,
                id: (*id).to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_provider::{FileBlock, ToolCallBlock, ToolResultBlock};

    fn message(role: Role, blocks: Vec<Block>) -> Message {
        Message { role, blocks }
    }

    fn says(text: &str) -> Message {
        message(
            Role::Assistant,
            vec![Block::Text {
                text: text.to_owned(),
                opaque: None,
            }],
        )
    }

    fn call(id: &str) -> Block {
        Block::ToolCall(ToolCallBlock {
            id: id.to_owned(),
            name: "read".to_owned(),
            arguments: "{}".to_owned(),
            opaque: None,
        })
    }

    fn result(id: &str) -> Block {
        Block::ToolResult(ToolResultBlock {
            id: id.to_owned(),
            name: "read".to_owned(),
            content: String::new(),
            is_error: false,
            media: Vec::new(),
        })
    }

    fn calls(ids: &[&str]) -> Message {
        message(Role::Assistant, ids.iter().copied().map(call).collect())
    }

    fn results(ids: &[&str]) -> Message {
        message(Role::User, ids.iter().copied().map(result).collect())
    }

    fn fault(messages: &[Message]) -> HistoryFault {
        check_history(messages).unwrap_err()
    }

    #[test]
    fn a_conversation_with_every_call_answered_once_is_accepted() {
        let messages = [
            Message::user("go"),
            calls(&["b", "a"]),
            results(&["a", "b"]),
            calls(&["a"]),
            results(&["a"]),
            says("done"),
            Message::user("more"),
        ];
        for end in 1..=messages.len() {
            let complete = !matches!(end, 2 | 4);
            assert_eq!(
                check_history(&messages[..end]).is_ok(),
                complete,
                "{end} messages"
            );
        }
    }

    #[test]
    fn results_may_come_in_several_messages_and_beside_text() {
        let mut both = results(&["b"]);
        both.blocks.push(Block::Text {
            text: "and".to_owned(),
            opaque: None,
        });
        let messages = [
            Message::user("go"),
            calls(&["a", "b"]),
            results(&["a"]),
            both,
        ];
        assert_eq!(check_history(&messages), Ok(()));
    }

    #[test]
    fn the_user_begins() {
        assert_eq!(fault(&[]), HistoryFault::Empty);
        assert_eq!(fault(&[says("hello")]), HistoryFault::FirstNotUser);
    }

    #[test]
    fn a_call_must_be_answered_before_anybody_speaks() {
        let open = HistoryFault::Unanswered {
            message: 1,
            id: "a".to_owned(),
        };
        let begun = [Message::user("go"), calls(&["a"])];
        assert_eq!(fault(&begun), open);
        for next in [Message::user("well?"), says("well?"), calls(&["c"])] {
            let [user, call] = begun.clone();
            assert_eq!(fault(&[user, call, next, results(&["a"])]), open);
        }
    }

    #[test]
    fn a_result_must_have_its_call_directly_before_it() {
        let lost = |message| HistoryFault::ResultWithoutCall {
            message,
            id: "a".to_owned(),
        };
        assert_eq!(fault(&[results(&["a"])]), lost(0));
        assert_eq!(
            fault(&[Message::user("go"), calls(&["b"]), results(&["a", "b"])]),
            lost(2)
        );
        let late = [
            Message::user("go"),
            calls(&["a"]),
            results(&["a"]),
            says("ok"),
            results(&["a"]),
        ];
        assert_eq!(fault(&late), lost(4));
    }

    #[test]
    fn a_call_has_one_result() {
        let twice = |message| HistoryFault::AnsweredTwice {
            message,
            id: "a".to_owned(),
        };
        assert_eq!(
            fault(&[Message::user("go"), calls(&["a"]), results(&["a", "a"])]),
            twice(2)
        );
        let later = [
            Message::user("go"),
            calls(&["a"]),
            results(&["a"]),
            results(&["a"]),
        ];
        assert_eq!(fault(&later), twice(3));
    }

    #[test]
    fn calls_of_one_message_have_different_ids() {
        let duplicate = HistoryFault::DuplicateCall {
            message: 1,
            id: "a".to_owned(),
        };
        assert_eq!(
            fault(&[
                Message::user("go"),
                calls(&["a", "b", "a"]),
                results(&["a", "b"])
            ]),
            duplicate
        );
    }

    #[test]
    fn each_side_keeps_to_its_part() {
        let asks = message(Role::User, vec![call("a")]);
        assert_eq!(fault(&[asks]), HistoryFault::CallByUser { message: 0 });
        let file = Block::File(FileBlock {
            media_type: "image/png".to_owned(),
            name: None,
            data: "iVBORw==".to_owned(),
        });
        let shows = message(Role::User, vec![file.clone()]);
        assert_eq!(check_history(&[shows]), Ok(()));
        assert_eq!(
            fault(&[Message::user("go"), message(Role::Assistant, vec![file])]),
            HistoryFault::FileByAssistant { message: 1 }
        );
        let answers = message(Role::Assistant, vec![result("a")]);
        assert_eq!(
            fault(&[Message::user("go"), answers]),
            HistoryFault::ResultByAssistant { message: 1 }
        );
    }
}
