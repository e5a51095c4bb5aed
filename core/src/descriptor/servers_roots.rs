//! The key `roots` of a server: the folders of the workspace that it is told to work in.

use seaworthy_ports::mcp::MAX_ROOTS;

use super::error::{Reporter, codes};
use super::fields::{Fields, sequence, shown, text};
use super::suggest::listed;
use super::yaml::Node;

/// The most bytes of a folder.
const MAX_FOLDER: usize = 512;

pub(super) fn roots(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Vec<String>> {
    let nodes = sequence(node, path, "[.]", reporter)?;
    if nodes.len() > MAX_ROOTS {
        let message = format!("`{path}` has more than {MAX_ROOTS} folders");
        reporter.report(node.at, codes::TOO_LARGE, message);
        return None;
    }
    let mut roots: Vec<String> = Vec::new();
    let mut complete = true;
    for node in nodes {
        let Some(folder) = text(node, path, reporter) else {
            complete = false;
            continue;
        };
        if !is_inside(folder) {
            let message = format!(
                "`{path}`: `{}` is no folder of the run's workspace; write it relative to the workspace and without `..`, \
                 such as `docs`, or `.` for all of it",
                shown(folder)
            );
            reporter.report(node.at, codes::INVALID_VALUE, message);
            complete = false;
        } else if roots.iter().any(|root| root == folder) {
            let message = format!("`{path}` lists {} twice", listed(&[folder]));
            reporter.report(node.at, codes::DUPLICATE_NAME, message);
            complete = false;
        } else {
            roots.push(folder.to_owned());
        }
    }
    complete.then_some(roots)
}

fn is_inside(folder: &str) -> bool {
    !folder.is_empty()
        && folder.len() <= MAX_FOLDER
        && !folder.starts_with('/')
        && !folder.contains(|letter: char| letter == '\\' || letter.is_control())
        && folder.split('/').all(|part| part != "..")
}

/// Says what a server at an address cannot be told; whether there was anything to say.
pub(super) fn are_refused(fields: &Fields<'_>, path: &str, reporter: &mut Reporter<'_>) -> bool {
    let Some(node) = fields.get("roots") else {
        return false;
    };
    let message = format!(
        "`{path}.roots` is for servers with `command`: a server at an address works on another machine, where the folders of \
         the run's workspace are not"
    );
    reporter.report(node.at, codes::INVALID_VALUE, message);
    true
}
