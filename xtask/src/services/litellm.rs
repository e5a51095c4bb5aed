//! LiteLLM, a proxy that nobody here wrote: it translates the formats of four providers into each other. Behind it stands
//! aimock, which it asks in the words of Chat Completions, whatever it was asked in itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::server::{Place, Service, answers};
use super::standing::Standing;
use super::{Kind, install};
use crate::failure::Failure;
use crate::workspace;

/// The folder of this version: 576 MB.
const FOLDER: &str = "litellm-1.106.2";
/// Every package of it with its version, relative to the workspace.
const PACKAGES: &str = "testing/servers/litellm.txt";
const PROGRAM: &str = "from litellm import run_server; run_server()";
/// The key that it takes, and no other.
const KEY: &str = "sk-test-0123456789";

/// A proxy in front of one model.
#[derive(Debug, Default)]
pub(super) struct Litellm {
    packages: PathBuf,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::pinned(FOLDER, &workspace::root()?.join(PACKAGES))
}

/// Where the server is that it stands before.
fn upstream() -> Result<String, Failure> {
    let known = match Kind::Aimock.given() {
        Some(url) => Some(url),
        None => {
            let standing = Standing::of_workspace()?.alive(Kind::Aimock)?;
            standing.map(|known| known.url)
        }
    };
    known.ok_or_else(|| Failure::new("litellm stands before aimock, and there is none"))
}

/// Every failure is passed on at once: what is asked again, and after how long, is the caller's matter.
fn configuration(upstream: &str) -> String {
    format!(
        "model_list:
  - model_name: steady
    litellm_params:
      model: hosted_vllm/gpt-4o
      api_base: {upstream}/v1
      api_key: none
router_settings:
  num_retries: 0
  disable_cooldowns: true
litellm_settings:
  num_retries: 0
  telemetry: false
"
    )
}

impl Service for Litellm {
    fn name(&self) -> &'static str {
        "litellm"
    }

    fn prepare(&mut self, place: &Place) -> Result<Vec<Command>, Failure> {
        self.packages = folder()?;
        let path = place.folder().join("config.yaml");
        fs::write(&path, configuration(&upstream()?))
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(Vec::new())
    }

    fn command(&self, place: &Place, port: u16) -> Command {
        let mut python = Command::new("python3");
        python
            .args(["-c", PROGRAM, "--host", "127.0.0.1", "--num_workers", "1"])
            .args(["--port", &port.to_string(), "--config"])
            .arg(place.folder().join("config.yaml"))
            .env("PYTHONPATH", &self.packages)
            // Neither prices nor news are fetched.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_TELEMETRY", "False")
            .env("LITELLM_MASTER_KEY", KEY)
            // It is reached from this machine only, by tests.
            .env(
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
                "true",
            );
        python
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        answers(port, "/health/liveliness")
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(10))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_for_the_version_in_it() {
        assert!(install::is_pinned(FOLDER, PACKAGES), "{FOLDER}");
    }

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_asks_nobody_but_its_upstream() {
        let command = Litellm::default().command(&Place::at("/nowhere"), 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for pair in [["--host", "127.0.0.1"], ["--port", "5"]] {
            assert!(args.windows(2).any(|two| two == pair), "{pair:?}");
        }
        let configuration = configuration("http://127.0.0.1:6");
        assert_eq!(configuration.matches("http").count(), 1, "{configuration}");
        assert!(configuration.contains("api_base: http://127.0.0.1:6/v1\n"));
    }
}
