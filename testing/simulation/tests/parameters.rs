//! What a run asks its models for besides an answer: the parameters of its agent and of its aliases.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use seaworthy_core::state::Status;
use seaworthy_fakes::{Fault, Faults, TableModel, TableTurn};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Effort, Embeddings, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Parameters, PromptCache, Rerank, ToolChoice,
};
use seaworthy_ports::{AdapterInfo, BoxStream};
use seaworthy_simulation::{World, turn};

/// Keeps what it is asked for.
#[derive(Debug)]
struct Asked {
    table: TableModel,
    parameters: Mutex<Vec<Parameters>>,
}

impl ModelProvider for Asked {
    fn info(&self) -> AdapterInfo {
        self.table.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.table.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let parameters = (*request.parameters).clone();
        self.parameters.lock().unwrap().push(parameters);
        self.table.stream(request)
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}

fn turns() -> Vec<TableTurn> {
    vec![
        turn("look", &["look"], true),
        turn("look again", &["look"], true),
        turn("done", &[], true),
    ]
}

const ALIAS: &str = "  main: { provider: openai, model: table, parameters: { temperature: 0.5, seed: 7, cache: long, tool_choice: none } }";

fn world(section: &str, of_agent: Parameters) -> (World, Arc<Asked>) {
    let model = Arc::new(Asked {
        table: TableModel::new(turns()),
        parameters: Mutex::default(),
    });
    let provider: Arc<dyn ModelProvider> = Arc::<Asked>::clone(&model);
    let world = World::saying(turns())
        .unwrap()
        .with_aliases(section)
        .unwrap()
        .with_model(provider)
        .with_agent(move |agent| agent.parameters = of_agent.clone());
    (world, model)
}

fn requiring() -> Parameters {
    Parameters {
        reasoning: Some(Effort::Low),
        tool_choice: Some(ToolChoice::Required),
        ..Parameters::default()
    }
}

#[test]
fn an_agent_goes_before_its_alias_and_calls_a_tool_first() {
    let (world, model) = world(ALIAS, requiring());
    let ending = block_on(world.finish(1)).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
    let asked = |choice| Parameters {
        cache: Some(PromptCache::Long),
        reasoning: Some(Effort::Low),
        seed: Some(7),
        temperature: Some(0.5),
        tool_choice: Some(choice),
        ..Parameters::default()
    };
    let expected = [
        asked(ToolChoice::Required),
        asked(ToolChoice::Auto),
        asked(ToolChoice::Auto),
    ];
    assert_eq!(*model.parameters.lock().unwrap(), expected);
}

#[test]
fn a_run_that_another_worker_goes_on_with_must_not_call_a_tool_again() {
    let (world, model) = world(ALIAS, requiring());
    // Dies in its second call of the model.
    let calls = {
        let (world, _model) = self::world(ALIAS, requiring());
        let faults = Faults::none();
        let process = world.process(1, faults.clone()).unwrap();
        block_on(async { while !process.live_once().await.unwrap() {} });
        faults.calls()
    };
    let streams = calls.iter().enumerate();
    let mut streams = streams.filter(|(_, name)| **name == "model stream");
    let (second, _) = streams.nth(1).unwrap();
    let faults = Faults::at([(second, Fault::CrashBefore)]);
    let process = world.process(1, faults.clone()).unwrap();
    let ending = block_on(async {
        while !process.live_once().await? && !faults.dead().is_set() {}
        world.finish(2).await
    });
    assert_eq!(ending.unwrap().status, Status::Succeeded);
    let asked = model.parameters.lock().unwrap();
    let required = asked
        .iter()
        .filter(|asked| asked.tool_choice == Some(ToolChoice::Required));
    assert_eq!((required.count(), asked.len()), (1, 3));
}
