//! SB-5: paths that lead out of the workspace, and those that may.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use seaworthy_ports::sandbox::{FileKind, Kind, SandboxSession};
use tokio::time::Instant;

use super::Harness;
use super::world::{CANARY, World, env, prepared, ran, sh, text};
use crate::outcome::{Halt, Outcome, broken, ok, patience, refused, same};

/// Every operation on `path` must be refused.
async fn is_outside(session: &dyn SandboxSession, path: &str) -> Outcome {
    let on = |what: &str| format!("{what} `{path}`");
    refused(on("read"), session.read(path, 0, 99).await, Kind::Outside)?;
    let content = Bytes::from_static(b"overwritten");
    refused(
        on("wrote"),
        session.write(path, content).await,
        Kind::Outside,
    )?;
    refused(on("listed"), session.list(path, 99).await, Kind::Outside)?;
    refused(on("asked for"), session.stat(path).await, Kind::Outside)?;
    refused(on("removed"), session.remove(path).await, Kind::Outside)
}

/// SB-5.
pub async fn paths_out_of_the_workspace_are_refused<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    prepared(&*session, "mkdir inner").await?;
    let absolute = text(&world.outside().join("canary"))?;
    let paths = [
        &*absolute,
        "/etc/passwd",
        "..",
        "../outside/canary",
        "./../outside/canary",
        "inner/../../outside/canary",
    ];
    for path in paths {
        is_outside(&*session, path).await?;
    }
    world.is_untouched_outside("used paths that lead out")
}

/// SB-5.
pub async fn links_out_of_the_workspace_are_refused<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let outside = text(&world.outside())?;
    let mut links = sh(
        r#"ln -s "$OUTSIDE" absolute && ln -s ../outside relative && ln -s absolute chain &&
        ln -s /proc/self/root magic && ln -s "$OUTSIDE/canary" file && ln -s "$OUTSIDE/new" new"#,
    );
    links.env = env([("OUTSIDE", &*outside)]);
    ran(&*session, links).await?;
    let magic = format!("magic{outside}/canary");
    let below = [
        "absolute/canary",
        "relative/canary",
        "chain/canary",
        &*magic,
    ];
    for path in below {
        is_outside(&*session, path).await?;
    }
    // A link itself may be looked at and removed, but nothing is read or written through it.
    for path in ["file", "new"] {
        let on = |what: &str| format!("{what} a link to a file outside");
        refused(on("read"), session.read(path, 0, 99).await, Kind::Outside)?;
        let content = Bytes::from_static(b"overwritten");
        refused(
            on("wrote"),
            session.write(path, content).await,
            Kind::Outside,
        )?;
    }
    for path in ["absolute", "relative"] {
        let listed = session.list(path, 99).await;
        refused("listed a link to a folder outside", listed, Kind::Outside)?;
    }
    prepared(&*session, "mkdir tree && mv absolute relative file tree").await?;
    ok("removed a tree of links", session.remove("tree").await)?;
    world.is_untouched_outside("used links that lead out")
}

/// SB-5.
pub async fn links_within_the_workspace_are_followed_but_not_removed_through<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let script = "mkdir real && echo old >real/file && ln -s real/file link && ln -s real folder";
    prepared(&*session, script).await?;
    let content = Bytes::from_static(b"new");
    let did = "wrote through a link within the workspace";
    ok(did, session.write("link", content.clone()).await)?;
    let did = "read through a link within the workspace";
    let found = ok(did, session.read("folder/file", 0, 9).await)?;
    same(did, found.bytes, content.clone())?;
    for path in ["link", "folder"] {
        let found = ok("asked what a link is", session.stat(path).await)?;
        let kind = found.map(|found| found.kind);
        same("asked what a link is", kind, Some(FileKind::Symlink))?;
        ok("removed a link", session.remove(path).await)?;
    }
    let did = "removed the links, and read what they led to";
    let found = ok(did, session.read("real/file", 0, 9).await)?;
    same(did, found.bytes, content)
}

/// Puts a link to the outside in the place of a folder and the folder back, until it is dropped.
struct Swapper {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn start(world: &World) -> Self {
        let at = |name: &str| world.work().join(name);
        let (spot, link, spare) = (at("spot"), at("link"), at("spare"));
        let stop = std::sync::Arc::<AtomicBool>::default();
        let told = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let swap = |out, back| {
                // What is removed meanwhile cannot be moved, which is met by the next round.
                let _moved = fs::rename(&spot, out);
                let _moved = fs::rename(back, &spot);
                std::thread::sleep(Duration::from_micros(200));
            };
            while !told.load(Ordering::Relaxed) {
                swap(&spare, &link);
                swap(&link, &spare);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _panic_or_not = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// SB-5.
pub async fn a_folder_swapped_for_a_link_while_it_is_used_leads_nowhere<H: Harness>(
    harness: H,
) -> Outcome {
    const OFTEN: u32 = 20;

    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let outside = text(&world.outside())?;
    let mut exec = sh(r#"mkdir spot && printf mine >spot/canary && ln -s "$OUTSIDE" link"#);
    exec.env = env([("OUTSIDE", &*outside)]);
    ran(&*session, exec).await?;
    let swapper = Swapper::start(&world);
    let deadline = Instant::now() + patience();
    let (mut inside, mut turned_away) = (0, 0);
    while inside < OFTEN || turned_away < OFTEN {
        match session.read("spot/canary", 0, 99).await {
            Ok(found) if &found.bytes[..] == b"mine" => inside += 1,
            Ok(found) => {
                return Err(broken(
                    "read a file in a folder that was swapped for a link",
                    "the file within the workspace, or an error",
                    found.bytes,
                ));
            }
            Err(error) if error.kind() == Kind::Outside => turned_away += 1,
            Err(_absent_for_a_moment) => {}
        }
        let content = Bytes::from_static(b"mine");
        let _inside_or_refused = session.write("spot/canary", content.clone()).await;
        let _inside_or_refused = session.write("spot/new", content).await;
        let _inside_or_refused = session.remove("spot/new").await;
        if let Ok(listing) = session.list("spot", 99).await {
            let found = listing.entries.iter().find(|entry| entry.name == "canary");
            let size = found.map(|entry| entry.metadata.size);
            if size == Some(CANARY.len() as u64) {
                return Err(broken(
                    "listed a folder that was swapped for a link",
                    "what is within the workspace, or an error",
                    listing.entries,
                ));
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    drop(swapper);
    world.is_untouched_outside("used a folder that was swapped for a link")?;
    if inside == 0 || turned_away == 0 {
        // A race that is never met proves nothing.
        return Err(Halt::NotCheckable(
            "the link was never met, or the folder never was",
        ));
    }
    Ok(())
}
