//! An application's tests of its own agent: no key, no network, no process, and no waiting.
//!
//! ```sh
//! cargo test --example test_your_agent
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use seaworthy::descriptor::{Calling, Descriptor, ModelSpec};
use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryStateStore};
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::{Latch, RunId, WorkerId};
use seaworthy::state::{RunState, Status};
use seaworthy::{Harness, Model, Models, NoMcp, NoModel, NoSecrets, Ports, Start};
use seaworthy_fakes::{
    FakeClock, FakeModel, FakeRuntime, FakeSandbox, Faults, FaultyLogs, RanCommand, SeededEntropy,
    SilentObserver, Step,
};
use serde_json::json;

/// The agent under test. An application reads the file that it ships.
const AGENT: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: refunds, version: '1.0.0' }
runtime: { entry_agent: clerk, max_turns: 6 }
models:
  main: { provider: openai, model: any }
tools:
  refund:
    description: Pays an order back.
    input_schema: { type: object, required: [order], properties: { order: { type: string } } }
    command: [refund]
    approval: required
agents:
  clerk: { instructions: Refund what was broken., model: main, tools: [refund] }
";

/// Every model of the descriptor is the one of the test.
#[derive(Debug)]
struct Only(Model);

impl Models for Only {
    fn find(&self, _spec: &ModelSpec, _calling: Calling) -> Result<Model, NoModel> {
        Ok(self.0.clone())
    }
}

/// The agent with everything around it.
struct Stage {
    harness: Harness,
    run: RunId,
    /// How often money was paid back.
    refunds: Arc<AtomicU32>,
}

impl Stage {
    /// A run of the agent whose model is `model`, with `faults` in front of its store.
    async fn new(model: &FakeModel, faults: &Faults) -> Result<Self, Box<dyn Error>> {
        let refunds = Arc::<AtomicU32>::default();
        let paid = Arc::clone(&refunds);
        let sandbox = FakeSandbox::new(move |_command| {
            paid.fetch_add(1, Ordering::Relaxed);
            RanCommand {
                code: 0,
                stdout: r#"{"paid":true}"#.to_owned(),
            }
        });
        let model = Model {
            provider: Arc::new(model.clone()),
            name: "any".to_owned(),
        };
        let logs = Arc::new(MemoryStateStore::default());
        let ports = Ports {
            state_store: Arc::new(FaultyLogs::new(logs, faults.clone())),
            durable_runtime: Arc::new(FakeRuntime::default()),
            blob_store: Arc::new(MemoryBlobStore::default()),
            checkpoint_store: Arc::new(MemoryCheckpointStore::default()),
            sandbox: Arc::new(sandbox),
            models: Arc::new(Only(model)),
            mcp: Arc::new(NoMcp),
            secrets: Arc::new(NoSecrets),
            clock: Arc::new(FakeClock::jumping()),
            entropy: Arc::new(SeededEntropy::new(1)),
            observer: Arc::new(SilentObserver),
        };
        let harness = Harness::new(ports, Settings::default());
        let descriptor = Descriptor::parse(AGENT, "agent.yaml")?
            .materialise(|_path| Err("there are no files".to_owned()))?;
        let start = Start {
            run: Some(RunId::new("refund_7")?),
            descriptor,
            input: "The lamp of order 7 arrived broken.".to_owned(),
            files: Vec::new(),
            session: None,
            workspace: "/workspace".to_owned(),
            base_dir: "/agent".to_owned(),
            grants_all: None,
            queue: None,
            trace: None,
        };
        let run = harness.start(start).await?.run;
        Ok(Self {
            harness,
            run,
            refunds,
        })
    }

    /// Serves the run until it waits or has ended, and says where it stands.
    async fn serve(&self) -> Result<RunState, Box<dyn Error>> {
        let worker = worker(WorkerId::new("test")?, Scope::Run(self.run.clone()), 1);
        self.harness.serve(worker, Latch::never()).await?;
        Ok(self.harness.view(&self.run).await?.state)
    }

    /// Answers the one approval that the run waits for.
    async fn answer(&self, granted: bool) -> Result<(), Box<dyn Error>> {
        let asked = self.harness.approvals(std::num::NonZeroU32::MIN, None);
        let asked = asked.await?.items.pop().ok_or("nothing is asked")?;
        let approval = &asked.call.proposal.call;
        self.harness
            .decide(approval, granted, "support", None)
            .await?;
        Ok(())
    }

    fn refunds(&self) -> u32 {
        self.refunds.load(Ordering::Relaxed)
    }
}

/// What the model is asked if all goes well, and what it says.
fn refunds_order_7() -> FakeModel {
    FakeModel::new([
        Step::calls("refund", &json!({ "order": "7" }))
            .when_told("order 7")
            .when_offered("refund"),
        Step::says("Your money is on its way.").when_told("paid"),
    ])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let model = refunds_order_7();
    let stage = Stage::new(&model, &Faults::none()).await?;
    stage.serve().await?;
    stage.answer(true).await?;
    let state = stage.serve().await?;
    model.assert_all_used();
    match (state.status(), stage.refunds()) {
        (Status::Succeeded, 1) => Ok(()),
        (status, refunds) => Err(format!("{status:?} with {refunds} refunds").into()),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy::ports::model_provider::Kind;
    use seaworthy::state::Outcome;
    use seaworthy_fakes::Fault;

    use super::*;

    type Outcomes = Result<(), Box<dyn Error>>;

    #[tokio::test]
    async fn a_refund_waits_for_a_person_and_is_paid_once() -> Outcomes {
        let model = refunds_order_7();
        let stage = Stage::new(&model, &Faults::none()).await?;
        assert_eq!(stage.serve().await?.status(), Status::Waiting);
        assert_eq!(stage.refunds(), 0);
        stage.answer(true).await?;
        assert_eq!(stage.serve().await?.status(), Status::Succeeded);
        assert_eq!(stage.refunds(), 1);
        model.assert_all_used();
        Ok(())
    }

    #[tokio::test]
    async fn a_denied_refund_is_not_paid_and_the_model_is_told() -> Outcomes {
        let model = FakeModel::new([
            Step::calls("refund", &json!({ "order": "7" })),
            Step::says("I am sorry.").when_told("denied by support"),
        ]);
        let stage = Stage::new(&model, &Faults::none()).await?;
        stage.serve().await?;
        stage.answer(false).await?;
        assert_eq!(stage.serve().await?.status(), Status::Succeeded);
        assert_eq!(stage.refunds(), 0);
        model.assert_all_used();
        Ok(())
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_the_models_to_mend() -> Outcomes {
        let model = FakeModel::new([
            Step::calls("refund", &json!({ "invoice": 7 })),
            Step::says("Which order?").when_told("order"),
        ]);
        let stage = Stage::new(&model, &Faults::none()).await?;
        assert_eq!(stage.serve().await?.status(), Status::Succeeded);
        model.assert_all_used();
        Ok(())
    }

    #[tokio::test]
    async fn an_overloaded_model_is_asked_again_and_a_wrong_key_is_not() -> Outcomes {
        let model = FakeModel::new([Step::fails(Kind::Overloaded), Step::says("Hello.")]);
        let stage = Stage::new(&model, &Faults::none()).await?;
        assert_eq!(stage.serve().await?.status(), Status::Succeeded);
        model.assert_all_used();

        let model = FakeModel::new([Step::fails(Kind::Authentication)]);
        let stage = Stage::new(&model, &Faults::none()).await?;
        let outcome = stage.serve().await?.outcome;
        assert!(
            matches!(&outcome, Some(Outcome::Failed { code, .. }) if code == "model_authentication"),
            "{outcome:?}"
        );
        Ok(())
    }

    /// Whoever is told of a lost reply does the same again: everything that an application asks for may be repeated.
    async fn again<T>(
        ask: impl AsyncFn() -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        match ask().await {
            Ok(answer) => Ok(answer),
            Err(_lost) => ask().await,
        }
    }

    #[tokio::test]
    async fn a_lost_reply_at_any_call_of_the_store_pays_nothing_twice() -> Outcomes {
        for number in 0.. {
            let faults = Faults::at([(number, Fault::FailAfter)]);
            let model = refunds_order_7();
            // Where the reply to the start itself is lost, an application starts again; that is another test.
            let Ok(stage) = Stage::new(&model, &faults).await else {
                continue;
            };
            again(async || stage.serve().await).await?;
            again(async || stage.answer(true).await).await?;
            let state = again(async || stage.serve().await).await?;
            assert_eq!(state.status(), Status::Succeeded, "call {number}");
            assert_eq!(stage.refunds(), 1, "call {number}");
            model.assert_all_used();
            if number >= faults.calls().len() {
                break;
            }
        }
        Ok(())
    }
}
