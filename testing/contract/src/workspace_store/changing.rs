//! WS-2: changes that are easily missed.

use std::fs::{self, FileTimes, OpenOptions};
use std::io::Write as _;

use super::Harness;
use super::files::{done, read, write};
use super::stage::{copy_of, empty, take};
use crate::outcome::{Outcome, same};

/// WS-2.
pub async fn a_change_that_leaves_size_and_time_alone_is_not_missed<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "at once", "0000")?;
    write(works.path(), "set back", "0000")?;
    take(&*store, &works.reference, "taken0").await?;
    let path = works.path().join("set back");
    for round in 1..=8 {
        let content = format!("{round:04}");
        // Within the same tick of the file system's clock, if one can be so quick.
        write(works.path(), "at once", &content)?;
        // As copying with times or unpacking an archive does.
        let modified = done(
            "looked at a file",
            fs::metadata(&path).and_then(|it| it.modified()),
        )?;
        let changed = OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(content.as_bytes())?;
                file.set_times(FileTimes::new().set_modified(modified))
            });
        done("changed a file and set its time back", changed)?;
        let taken = take(&*store, &works.reference, &format!("taken{round}")).await?;
        let copy = copy_of(&*store, &format!("copy{round}"), &taken.id).await?;
        for name in ["at once", "set back"] {
            same(
                format!("changed the file {name:?} and took a snapshot at once"),
                String::from_utf8_lossy(&read(copy.path(), name)?),
                content.as_str().into(),
            )?;
        }
    }
    Ok(())
}
