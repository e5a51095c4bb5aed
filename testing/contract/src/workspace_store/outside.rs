//! WS-4: what leads outside, and what makes two things one.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use seaworthy_ports::workspace_store::{Cleanup, Kind, ResumeFrom, Source, TakeSnapshot};
use seaworthy_ports::{SnapshotId, WorkspaceId};

use super::Harness;
use super::files::{
    Node, Tree, done, elsewhere, file, link, noise, read, remove, symlink, tree, write,
};
use super::stage::{
    Store, clean, copy_of, empty, inspect, resume, resumed, start, starting, status, take, taking,
    try_take, workspace,
};
use crate::outcome::{Halt, Outcome, broken, holds, id, ok, patience, refused, same, within};

/// WS-4.
pub async fn a_link_that_leads_outside_is_in_no_snapshot<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let outside = elsewhere()?;
    write(outside.path(), "file", "outside")?;
    let works = empty(&*store, "works").await?;
    write(works.path(), "d/file", "inside")?;
    let far_up = "../".repeat(40);
    let targets = [
        outside.path().join("file"),
        outside.path().to_path_buf(),
        outside.path().join("missing"),
        "/".into(),
        "..".into(),
        "../missing".into(),
        "d/../..".into(),
        format!("{far_up}etc/hosts").into(),
        format!("missing/{far_up}etc").into(),
        // Inside today, outside as soon as the workspace is resumed elsewhere.
        format!("../{}/d", name_of(works.path())).into(),
    ];
    for target in targets {
        for name in ["link", "d/link"] {
            // One level deeper, one `..` more stays inside.
            if name == "d/link" && target.starts_with("..") && target.as_os_str().len() < 12 {
                continue;
            }
            if name == "d/link" && target == Path::new("d/../..") {
                continue;
            }
            link(works.path(), name, &target)?;
            is_refused(&*store, &taking(&works.reference, "taken")?, &target).await?;
            remove(works.path(), name)?;
        }
    }
    let expected = tree(works.path())?;
    let taken = take(&*store, &works.reference, "taken").await?;
    same(
        "took a snapshot without the link",
        resumed(&*store, &works.reference, &taken.id).await?,
        expected,
    )
}

fn name_of(root: &Path) -> String {
    root.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

async fn is_refused(store: &Store, taking: &TakeSnapshot, target: &Path) -> Outcome {
    refused(
        format!("took a snapshot with a link to {}", target.display()),
        try_take(store, taking).await,
        Kind::Rejected,
    )?;
    let known = status(store, &taking.workspace).await?;
    same("counted the snapshots", known.snapshots, 0)
}

/// WS-4.
pub async fn a_link_that_leads_outside_through_another_link_is_in_no_snapshot<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "top/file", "inside")?;
    write(works.path(), "a/b/file", "inside")?;
    // Each stays inside by its words; but what is above `top` is not what is above `a/b/down`.
    link(works.path(), "a/b/down", "../../top")?;
    for target in ["down/../../file", "down/../.."] {
        link(works.path(), "a/b/link", target)?;
        is_refused(
            &*store,
            &taking(&works.reference, "taken")?,
            Path::new(target),
        )
        .await?;
        remove(works.path(), "a/b/link")?;
    }
    link(works.path(), "a/b/link", "down/../a/b/file")?;
    let expected = tree(works.path())?;
    let taken = take(&*store, &works.reference, "taken").await?;
    same(
        "resumed a snapshot with a link through a link that stays inside",
        resumed(&*store, &works.reference, &taken.id).await?,
        expected,
    )
}

/// WS-4.
pub async fn a_source_with_a_link_that_leads_outside_is_rejected<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let (source, outside) = (elsewhere()?, elsewhere()?);
    write(outside.path(), "file", "outside")?;
    write(source.path(), "file", "inside")?;
    let from = Source::Directory(source.path().to_path_buf());
    for target in [
        outside.path().join("file"),
        outside.path().to_path_buf(),
        "..".into(),
    ] {
        link(source.path(), "link", &target)?;
        refused(
            format!("began with a directory with a link to {}", target.display()),
            store.start(starting("works", from.clone())?).await,
            Kind::Rejected,
        )?;
        same(
            "inspected it",
            inspect(&*store, &workspace("works")?).await?,
            None,
        )?;
        remove(source.path(), "link")?;
    }
    let works = start(&*store, starting("works", from)?).await?;
    let expected = Tree::from([("file".to_owned(), file("inside"))]);
    same(
        "began with it without the link",
        tree(works.path())?,
        expected,
    )
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_pipe(path: &Path) -> Outcome {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let made = mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    done("made a pipe", made.map_err(Into::into))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_pipe(_path: &Path) -> Outcome {
    Err(Halt::NotCheckable("this system's pipes have no names"))
}

/// Opens a pipe in the end, so that whoever reads it is not held up for ever, and the suite with it.
struct Rescue {
    told: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Rescue {
    fn of(pipe: PathBuf) -> Self {
        let (told, ends) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _told_or_too_late = ends.recv_timeout(patience());
            // For both ways it opens at once, and a reader sees its end when it closes.
            let _opened = OpenOptions::new().read(true).write(true).open(pipe);
        });
        Self {
            told: Some(told),
            thread: Some(thread),
        }
    }
}

impl Drop for Rescue {
    fn drop(&mut self) {
        drop(self.told.take());
        if let Some(thread) = self.thread.take() {
            let _it_cannot_panic = thread.join();
        }
    }
}

/// WS-4.
pub async fn what_is_neither_file_directory_nor_link_holds_nobody_up<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "inside")?;
    let pipe = works.path().join("pipe");
    make_pipe(&pipe)?;
    let rescue = Rescue::of(pipe);
    let taking = taking(&works.reference, "taken")?;
    let taken = within("took a snapshot with a pipe", try_take(&*store, &taking)).await;
    drop(rescue);
    match taken? {
        Err(error) if error.kind() == Kind::Rejected => {}
        Err(error) => {
            let expected = "a snapshot without it, or Rejected";
            return Err(broken(
                "took a snapshot with a pipe",
                expected,
                error.to_string(),
            ));
        }
        Ok(taken) => {
            let copy = copy_of(&*store, "copy", &taken.id).await?;
            let expected = Tree::from([("file".to_owned(), file("inside"))]);
            return same("took a snapshot with a pipe", tree(copy.path())?, expected);
        }
    }
    remove(works.path(), "pipe")?;
    take(&*store, &works.reference, "taken")
        .await
        .map(|_taken| ())
}

/// WS-4.
pub async fn resuming_and_cleaning_over_a_link_touch_nothing_outside<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let outside = elsewhere()?;
    write(outside.path(), "file", "outside")?;
    write(outside.path(), "more/file", "outside")?;
    let untouched = tree(outside.path())?;
    let target = outside.path();
    let replaced = |root: &Path, name: &str| {
        let path = match name {
            // Joined, it would end with a slash, and so lead through the link.
            "" => root.to_path_buf(),
            name => root.join(name),
        };
        if path.is_dir() {
            done("removed a directory", fs::remove_dir_all(&path))?;
        } else {
            done("removed a file", fs::remove_file(&path))?;
        }
        let target = if name == "file" {
            target.join("file")
        } else {
            target.to_path_buf()
        };
        match symlink(target, path.as_path()) {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                Err(Halt::NotCheckable("this system has no symbolic links"))
            }
            made => done("made a link", made),
        }
    };
    for name in ["d", "file", ""] {
        let works = empty(&*store, &format!("works{}", name.len())).await?;
        write(works.path(), "file", "inside")?;
        write(works.path(), "d/file", "inside")?;
        write(works.path(), "d/more/file", "inside")?;
        let expected = tree(works.path())?;
        let taken = take(&*store, &works.reference, &format!("taken{}", name.len())).await?;
        let what = match name {
            "" => "the directory of a workspace",
            "d" => "a directory in a workspace",
            _ => "a file in a workspace",
        };
        replaced(works.path(), name)?;
        if let Ok(leaked) = store
            .snapshot(taking(&works.reference, &format!("leaked{}", name.len()))?)
            .await
        {
            let copy = copy_of(&*store, &format!("copy{}", name.len()), &leaked.id).await?;
            let leaked = tree(copy.path())?;
            holds(
                !leaked
                    .values()
                    .any(|node| *node == file("outside") || matches!(node, Node::Link(_))),
                format!("replaced {what} by a link and took a snapshot"),
                "nothing from outside",
                leaked,
            )?;
        }
        let again = resume(&*store, &works.reference, ResumeFrom::Snapshot(taken.id)).await?;
        let did = format!("replaced {what} by a link that leads outside and resumed it");
        same(&*did, tree(outside.path())?, untouched.clone())?;
        same(did, tree(again.path())?, expected)?;
        replaced(again.path(), name)?;
        ok("aborted it", store.abort(&works.reference).await)?;
        clean(&*store, Cleanup::Workspace(works.reference)).await?;
        same(
            format!("replaced {what} by a link that leads outside and cleaned it"),
            tree(outside.path())?,
            untouched.clone(),
        )?;
    }
    Ok(())
}

/// WS-4.
pub async fn names_that_differ_in_case_or_normalisation_do_not_collide<H: Harness>(
    harness: H,
) -> Outcome {
    let pairs = [
        ("Readme", "README"),
        ("d/file", "D/FILE"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("\u{212a}", "k"),
        ("stra\u{df}e", "STRASSE"),
        ("e\u{301}/x", "\u{e9}/x"),
    ];
    let store = harness.store();
    let mut folded = 0;
    for (number, (one, other)) in pairs.into_iter().enumerate() {
        let works = empty(&*store, &format!("works{number}")).await?;
        write(works.path(), one, "one")?;
        write(works.path(), other, "other")?;
        let both = tree(works.path())?;
        if both.values().filter(|node| **node == file("one")).count() == 0 {
            folded += 1;
            continue;
        }
        restored_or_rejected(&*store, &works.reference, both, (one, other)).await?;
    }
    // A link that is taken for a directory would lead the files of that directory away.
    let works = empty(&*store, "link").await?;
    write(works.path(), "DIRECTORY/file", "in a directory")?;
    write(works.path(), "inner/file", "where the link leads")?;
    if !works.path().join("directory").exists() {
        link(works.path(), "directory", "inner")?;
        let both = tree(works.path())?;
        let names = ("DIRECTORY", "directory");
        restored_or_rejected(&*store, &works.reference, both, names).await?;
    }
    if folded == pairs.len() {
        return Err(Halt::NotCheckable(
            "no two such names fit into a directory here",
        ));
    }
    Ok(())
}

async fn restored_or_rejected(
    store: &Store,
    of: &WorkspaceId,
    both: Tree,
    (one, other): (&str, &str),
) -> Outcome {
    match try_take(store, &taking(of, &format!("taken-{of}"))?).await {
        Ok(taken) => same(
            format!("resumed a snapshot with {one:?} and {other:?}"),
            resumed(store, of, &taken.id).await?,
            both,
        ),
        Err(error) if error.kind() == Kind::Rejected => {
            let known = status(store, of).await?;
            same("counted the snapshots", known.snapshots, 0)
        }
        Err(error) => Err(broken(
            format!("took a snapshot with {one:?} and {other:?}"),
            "both of them, or Rejected",
            error.to_string(),
        )),
    }
}

/// WS-4.
pub async fn ids_that_differ_in_little_are_different_workspaces<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let longest = "x".repeat(219);
    let texts = [
        "same".to_owned(),
        "Same".to_owned(),
        "SAME".to_owned(),
        "a.b".to_owned(),
        "a:b".to_owned(),
        "a-b".to_owned(),
        "a_b".to_owned(),
        "a_3ab".to_owned(),
        "..a".to_owned(),
        "a..".to_owned(),
        "-".to_owned(),
        "con".to_owned(),
        format!("{longest}y"),
        format!("{longest}z"),
    ];
    let mut started: Vec<(WorkspaceId, SnapshotId, String)> = Vec::new();
    for text in texts {
        let mut new = starting("run", Source::Empty)?;
        new.id = id(WorkspaceId::new(&text))?;
        let works = start(&*store, new).await?;
        same(
            "looked into a new workspace",
            tree(works.path())?,
            Tree::new(),
        )?;
        write(works.path(), "file", &text)?;
        let taken = take(&*store, &works.reference, &text).await?;
        started.push((works.reference, taken.id, text));
    }
    for (workspace, taken, text) in &started {
        let from = ResumeFrom::Snapshot(taken.clone());
        let again = resume(&*store, workspace, from).await?;
        let content = read(again.path(), "file")?;
        same(
            "resumed one of several workspaces with similar ids",
            String::from_utf8_lossy(&content),
            text.as_str().into(),
        )?;
    }
    // The longest ids of snapshots are longer than what a file system takes for a name.
    let longest = "x".repeat(259);
    let works = empty(&*store, "works").await?;
    for last in ["y", "z"] {
        write(works.path(), "file", noise(last.len() as u64, 10))?;
        write(works.path(), "last", last)?;
        take(&*store, &works.reference, &format!("{longest}{last}")).await?;
    }
    for last in ["y", "z"] {
        let taken = id(SnapshotId::new(format!("{longest}{last}")))?;
        let again = resume(&*store, &works.reference, ResumeFrom::Snapshot(taken)).await?;
        same(
            "resumed one of two snapshots with the longest ids",
            read(again.path(), "last")?,
            last.as_bytes().to_vec(),
        )?;
    }
    Ok(())
}
