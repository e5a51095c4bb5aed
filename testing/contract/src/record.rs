//! Verdicts of single tests, kept as files, so that a program can collect those of many test binaries.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use tempfile::NamedTempFile;

use crate::report::{Adapter, REPORT_SCHEMA, Report, Verdict};

/// The environment variable that names the folder. Without it nothing is written.
pub(crate) const FOLDER: &str = "SEAWORTHY_CONTRACT_REPORT";

/// Which harness of which package it is about.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Origin {
    /// The package whose tests run.
    pub package: &'static str,
    /// The path of the module with the test; its first part is the test binary.
    #[serde(skip)]
    pub module: &'static str,
    /// The harness's type, written with spaces or without, as the compiler likes.
    #[serde(serialize_with = "without_spaces")]
    pub harness: &'static str,
    /// The port.
    pub port: &'static str,
}

fn without_spaces<S: Serializer>(text: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    let words: String = text.split_whitespace().collect();
    serializer.serialize_str(&words)
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    kind: &'static str,
    #[serde(flatten)]
    origin: &'a Origin,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct Judged<'a> {
    adapter: Option<&'a Adapter>,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

#[derive(Serialize)]
struct Announced {
    scenarios: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    clause: &'static str,
    scenario: &'static str,
}

#[derive(Serialize)]
struct Whole<'a> {
    report: &'a Report,
}

impl Origin {
    /// Keeps what became of one scenario.
    pub(crate) fn judged(&self, adapter: Option<&Adapter>, verdict: &Verdict) -> io::Result<()> {
        self.keep("verdict", verdict.scenario(), Judged { adapter, verdict })
    }

    /// Keeps which scenarios there are, so that one without a verdict is missed.
    pub(crate) fn announced(&self, scenarios: &[(&'static str, &'static str)]) -> io::Result<()> {
        let listed = scenarios
            .iter()
            .map(|(clause, scenario)| Listed { clause, scenario });
        let scenarios = listed.collect();
        self.keep("suite", "_suite", Announced { scenarios })
    }

    /// Keeps a whole report.
    pub(crate) fn reported(&self, report: &Report) -> io::Result<()> {
        self.keep("report", "_report", Whole { report })
    }

    fn keep(&self, kind: &'static str, name: &str, content: impl Serialize) -> io::Result<()> {
        let Some(folder) = std::env::var_os(FOLDER) else {
            return Ok(());
        };
        let document = Document {
            schema: REPORT_SCHEMA,
            kind,
            origin: self,
            content,
        };
        self.write(Path::new(&folder), name, &document)
    }

    /// Appears in full or not at all, whoever looks and whoever else writes.
    fn write(&self, folder: &Path, name: &str, document: &impl Serialize) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, document)?;
        file.write_all(b"\n")?;
        file.persist(folder.join(self.file(name)))?;
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        let binary = self.module.split("::").next().unwrap_or_default();
        let parts = [self.package, binary, self.harness, self.port, name];
        // A type may be written with anything; what tells two apart stays.
        let parts = parts.map(|part| {
            part.chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| {
                    if c.is_ascii_alphanumeric() || "_-".contains(c) {
                        c
                    } else {
                        '+'
                    }
                })
                .collect::<String>()
        });
        PathBuf::from(format!("{}.json", parts.join(".")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin {
        package: "seaworthy-ours",
        module: "contract::state_store::it_holds",
        harness: "Ours < 8 >",
        port: "state_store",
    };

    #[test]
    fn a_verdict_is_one_whole_file_that_tells_where_it_is_from() {
        let folder = tempfile::tempdir().unwrap();
        let verdict = Verdict::Passed {
            clause: "SS-1",
            scenario: "it_holds",
        };
        for _again in 0..2 {
            let document = Document {
                schema: REPORT_SCHEMA,
                kind: "verdict",
                origin: &ORIGIN,
                content: Judged {
                    adapter: None,
                    verdict: &verdict,
                },
            };
            ORIGIN.write(folder.path(), "it_holds", &document).unwrap();
        }
        let files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(
            files,
            [folder
                .path()
                .join("seaworthy-ours.contract.Ours+8+.state_store.it_holds.json")]
        );
        let text = fs::read_to_string(&files[0]).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({
                "schema": 1,
                "kind": "verdict",
                "package": "seaworthy-ours",
                "harness": "Ours<8>",
                "port": "state_store",
                "adapter": null,
                "verdict": "passed",
                "clause": "SS-1",
                "scenario": "it_holds",
            })
        );
    }
}
