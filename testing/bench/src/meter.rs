//! What this process uses: computing time, bytes to the device, memory. And what machine it is on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::Failure;
use crate::report::Cost;

/// Set for a profiler that does not know the kernel's shared page, which the clock of computing time is read from.
pub(crate) static PROFILED: AtomicBool = AtomicBool::new(false);

/// How long this process has computed, on all cores.
pub(crate) fn cpu() -> Duration {
    if PROFILED.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A number of a file of `/proc`, where there is one.
fn proc_number(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many bytes this process has caused to be written to the device: pages it made dirty, counted by the kernel.
fn device_bytes() -> Option<u64> {
    proc_number("/proc/self/io", "write_bytes:")
}

/// The memory that this process has in use, in bytes.
pub(crate) fn memory() -> Option<u64> {
    Some(proc_number("/proc/self/status", "VmRSS:")? * 1024)
}

/// Measures from its start on.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    cpu: Duration,
    bytes: Option<u64>,
    database: Option<(PathBuf, Commits)>,
}

impl Meter {
    /// Measures what has no database.
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            cpu: cpu(),
            bytes: device_bytes(),
            database: None,
        }
    }

    /// Measures syncs of this SQLite database too. It must have been written to.
    pub(crate) fn of_database(path: &Path) -> Result<Self, Failure> {
        let database = Some((path.to_owned(), Commits::of(path)?));
        Ok(Self {
            database,
            ..Self::start()
        })
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// What each of so many steps came to.
    pub(crate) fn a_step(&self, steps: usize) -> Result<Cost, Failure> {
        let steps_f = steps.max(1) as f64;
        let bytes = match (self.bytes, device_bytes()) {
            (Some(before), Some(now)) => Some(now.saturating_sub(before) as f64 / steps_f),
            _ => None,
        };
        let syncs = match &self.database {
            Some((path, before)) => Some(Commits::of(path)?.syncs_since(*before) / steps_f),
            None => None,
        };
        Ok(Cost {
            cpu: cpu().saturating_sub(self.cpu).div_f64(steps_f),
            bytes,
            syncs,
        })
    }

    /// How many transactions were committed to the database.
    pub(crate) fn transactions(&self) -> Result<u32, Failure> {
        match &self.database {
            Some((path, before)) => Ok(Commits::of(path)?
                .transactions
                .wrapping_sub(before.transactions)),
            None => Ok(0),
        }
    }
}

/// What SQLite has counted itself in the write-ahead log and its index.
#[derive(Clone, Copy, Debug)]
struct Commits {
    /// Transactions: the field `iChange` of the index.
    transactions: u32,
    /// How often the log was begun again after a checkpoint of all of it: the sequence in the log's header.
    restarts: u32,
}

impl Commits {
    fn of(database: &Path) -> Result<Self, Failure> {
        let beside = |suffix: &str| {
            let mut name = database.to_owned().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let index = std::fs::read(beside("-shm"))?;
        let mut header = [0; 32];
        let mut log = std::fs::File::open(beside("-wal"))?;
        std::io::Read::read_exact(&mut log, &mut header)?;
        let field = |bytes: &[u8], at: usize| {
            let field = bytes.get(at..at + 4);
            field.and_then(|field| <[u8; 4]>::try_from(field).ok())
        };
        let short = "the write-ahead log or its index is too short";
        Ok(Self {
            transactions: u32::from_ne_bytes(field(&index, 8).ok_or(short)?),
            restarts: u32::from_be_bytes(field(&header, 12).ok_or(short)?),
        })
    }

    /// With `synchronous = FULL`, one for each commit. A checkpoint syncs the log and the database, and the log's new
    /// header is synced before the first commit behind it.
    fn syncs_since(self, before: Self) -> f64 {
        let commits = self.transactions.wrapping_sub(before.transactions);
        let restarts = self.restarts.wrapping_sub(before.restarts);
        f64::from(commits) + 3.0 * f64::from(restarts)
    }
}

/// The machine, without its name: cores, processor, kernel, and what a sync of a page costs on the disk at `folder`.
pub(crate) fn machine(folder: &Path) -> Value {
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split(':').nth(1))
        .map(|name| name.trim().to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .ok()
        .and_then(|release| release.split('-').next().map(str::to_owned));
    json!({
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "processor": processor,
        "kernel": kernel.map(|kernel| kernel.trim().to_owned()),
        "page_sync_us": page_sync(folder).map(|sync| sync.as_secs_f64() * 1e6),
    })
}

/// The median time of writing a page behind the others and syncing it.
fn page_sync(folder: &Path) -> Option<Duration> {
    use std::io::Write as _;
    let path = folder.join("sync-probe");
    let mut file = std::fs::File::create(&path).ok()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[1; 4096]).ok()?;
        file.sync_data().ok()?;
        times.push(began.elapsed());
    }
    let _left = std::fs::remove_file(path);
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
