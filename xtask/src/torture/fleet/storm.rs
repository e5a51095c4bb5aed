//! What happens to a fleet.

use serde_json::{Value, json};

use crate::torture::chance::Chance;

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::torture) struct Storm {
    pub(in crate::torture) kills: u32,
    pub(in crate::torture) stops: u32,
    pub(in crate::torture) cuts: u64,
    pub(in crate::torture) refusals: u32,
    pub(in crate::torture) restarts: u32,
    /// Ends of the Restate server and of its handlers.
    pub(in crate::torture) engine_ends: u32,
    pub(in crate::torture) wrong_clocks: usize,
}

impl Storm {
    pub(in crate::torture) fn shown(&self) -> Value {
        json!({
            "kills": self.kills, "stops": self.stops, "connections_cut": self.cuts, "refusals": self.refusals,
            "server_restarts": self.restarts, "wrong_clocks": self.wrong_clocks, "engine_ends": self.engine_ends,
        })
    }

    /// What did not happen although it should have.
    pub(super) fn missing(&self, on_restate: bool) -> Vec<String> {
        [
            (
                on_restate && self.engine_ends < 2,
                "the Restate server and its handlers were not both killed",
            ),
            (self.kills == 0, "no worker was killed"),
            (self.stops == 0, "no worker was stopped past its lease"),
            (self.cuts == 0, "no connection was cut"),
            (self.refusals == 0, "no connection was refused"),
            (self.restarts == 0, "the server was not restarted"),
        ]
        .into_iter()
        .filter(|(is_missing, _)| *is_missing)
        .map(|(_, what)| {
            format!("{what}, so nothing was shown; give it more with --runs and --seconds")
        })
        .collect()
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Kill,
    Stop,
    Cut,
    Refuse,
    Restart,
    /// The Restate server or its handlers, where there are any.
    Engine,
}

/// Each once, so that a short storm has everything.
pub(super) const FIRST: [Event; 5] = [
    Event::Stop,
    Event::Cut,
    Event::Kill,
    Event::Restart,
    Event::Refuse,
];

/// What happens next.
pub(super) fn any(chance: &mut Chance) -> Event {
    match chance.below(100).unwrap_or_default() {
        0..30 => Event::Kill,
        30..40 => Event::Stop,
        40..80 => Event::Cut,
        80..92 => Event::Refuse,
        _ => Event::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_without_one_of_its_parts_shows_nothing() {
        assert_eq!(Storm::default().missing(false).len(), 5);
        let whole = Storm {
            kills: 1,
            stops: 1,
            cuts: 1,
            refusals: 1,
            restarts: 1,
            engine_ends: 0,
            wrong_clocks: 0,
        };
        assert_eq!(whole.missing(false), [""; 0]);
        let calm = Storm {
            restarts: 0,
            ..whole
        };
        assert_eq!(calm.missing(false).len(), 1);
    }
}
