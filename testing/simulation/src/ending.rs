//! How a run ended, and runs whose processes meet faults on their way to an end.

use seaworthy_core::state::Status;
use seaworthy_fakes::Faults;
use seaworthy_ports::model_provider::Message;
use serde_json::Value;

use crate::outside::Effects;
use crate::world::World;

/// How many processes a run may need before it counts as stuck.
const PROCESSES: u64 = 100;

/// How a run ended, without what may differ between two ways to the same end.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// How it stands.
    pub status: Status,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Each call by number, and where it stands.
    pub calls: Vec<(u32, String, Value)>,
    /// How often each call acted that must not act twice, by tool and number.
    pub once: Effects,
    /// The session's messages.
    pub session: usize,
}

/// Two ways to the same end may differ only in what a person said of a call in doubt.
///
/// # Errors
///
/// What differs.
pub fn same(expected: &Ending, ending: &Ending) -> Result<(), String> {
    if ending.status != expected.status {
        return Err(format!(
            "it is {:?}, not {:?}",
            ending.status, expected.status
        ));
    }
    if ending.once != expected.once {
        return Err(format!(
            "something happened twice, or not at all: {:?}, not {:?}",
            ending.once, expected.once
        ));
    }
    if ending.calls != expected.calls {
        return Err(format!(
            "its calls are {:?}, not {:?}",
            ending.calls, expected.calls
        ));
    }
    if ending.messages != expected.messages {
        return Err("the conversations differ".to_owned());
    }
    if ending.session != expected.session {
        return Err(format!(
            "its session has {} records, not {}",
            ending.session, expected.session
        ));
    }
    Ok(())
}

impl World {
    /// How the run ends without any fault, and the port calls it makes on the way.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn undisturbed(&self) -> Result<(Ending, Vec<&'static str>), String> {
        let faults = Faults::none();
        let process = self.process(1, faults.clone())?;
        while !process.live_once().await? {}
        let calls = faults.calls();
        Ok((process.ending().await?, calls))
    }

    /// Runs the whole run in processes that each meet `faults(n)`, and the last of which meets nothing.
    ///
    /// # Errors
    ///
    /// In words: a run that is stuck, or a port that failed.
    pub async fn live(&self, faults: impl Fn(u64) -> Option<Faults>) -> Result<Ending, String> {
        for number in 1..PROCESSES {
            let Some(faults) = faults(number) else {
                return self.finish(number).await;
            };
            let process = self.process(number, faults.clone())?;
            for _round in 0..100 {
                if process.live_once().await? {
                    return self.finish(number + 1).await;
                }
                if faults.dead().is_set() {
                    break;
                }
            }
        }
        Err("no process brought the run to its end".to_owned())
    }
}
