//! Reads a descriptor and the files it names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use seaworthy::descriptor::{Descriptor, Materialised, ModelOverride};

use crate::error::CliError;

/// The most bytes of a descriptor, and of each file it names.
const MAX_FILE: u64 = 1024 * 1024;

/// The descriptor with its overrides, and the folder it lies in.
pub(crate) fn load(path: &Path, models: &[String]) -> Result<(Materialised, PathBuf), CliError> {
    let overrides = overrides(models)?;
    let name = path.display().to_string();
    let text = read_file(path)
        .map_err(|why| CliError::Usage(format!("the descriptor {name} cannot be read: {why}")))?;
    let folder = path
        .canonicalize()
        .map_err(|source| CliError::io(format!("find {name}"), source))?
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    let faults =
        |errors: seaworthy::descriptor::DescriptorErrors| CliError::Descriptor(errors.to_string());
    let mut descriptor = Descriptor::parse(&text, &name)
        .map_err(faults)?
        .materialise(|file| read_beside(&folder, file))
        .map_err(faults)?;
    for ModelOverride { alias, spec } in overrides {
        descriptor = descriptor
            .with_model(&alias, spec)
            .map_err(|error| CliError::Usage(format!("--model: {error}")))?;
    }
    Ok((descriptor, folder))
}

/// What `--model` says, each time.
pub(crate) fn overrides(models: &[String]) -> Result<Vec<ModelOverride>, CliError> {
    models
        .iter()
        .map(|text| {
            ModelOverride::parse(text).map_err(|error| CliError::Usage(format!("--model {error}")))
        })
        .collect()
}

/// A file that the descriptor in `folder` names. A link must not lead out of the folder.
fn read_beside(folder: &Path, file: &str) -> Result<String, String> {
    let path = folder
        .join(file)
        .canonicalize()
        .map_err(|error| error.to_string())?;
    if !path.starts_with(folder) {
        return Err("it is a link out of the descriptor's folder".to_owned());
    }
    read_file(&path)
}

/// A small text file, or in words why it is none.
fn read_file(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    bounded(file, MAX_FILE)
}

/// All that `reader` has, if it is text of at most so many bytes; else in words why not.
pub(crate) fn bounded(reader: impl std::io::Read, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("it has more than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "it is not UTF-8 (byte {})",
            error.utf8_error().valid_up_to()
        )
    })
}

/// The path as text. `what` is what messages call it.
pub(crate) fn utf8(path: &Path, what: &str) -> Result<String, CliError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::Usage(format!(
            "{what} {} has a name that is not UTF-8; rename it",
            path.display()
        ))
    })
}
