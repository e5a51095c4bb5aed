//! Runs one command for a worker and ends everything it started. Not for people: see `seaworthy_process`.

fn main() {
    #[cfg(target_os = "linux")]
    seaworthy_process::supervise_if_asked();
    std::process::exit(64); // EX_USAGE: nobody asked
}
