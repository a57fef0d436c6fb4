//! `cairn disk`: the disk probe, ended in good order by Ctrl-C and SIGTERM.

use cairn_bench::disk_probe::{self, DiskArgs};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub fn run(args: &DiskArgs) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the process at once: a disk that does not answer must not hold it. Where neither can be
        // had, the first does so; the measured file has no name and goes with the process anyway.
        let _ = flag::register_conditional_default(signal, Arc::clone(&stop));
        let _ = flag::register(signal, Arc::clone(&stop));
    }
    disk_probe::run(args, &stop)
}
