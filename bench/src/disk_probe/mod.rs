//! The disk probe: measures a device as the log and the tree use it, and says what that means. The library behind
//! `cairn disk`.
//!
//! [`DiskArgs`] is the command line, `device` what the system says of the disk, `flush` and `read` the measurements to
//! make, `measure` makes one, [`Report`] is the result, `meaning` draws the conclusions and `plot` the curves. The
//! file that is measured has no name, so that nothing is left of it however the process ends.

mod args;
mod device;
mod error;
mod flush;
mod meaning;
mod measure;
mod plot;
mod progress;
mod read;
mod report;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cairn_net::disk_probe::ProbeFile;

pub use args::DiskArgs;
pub use device::Device;
pub use error::DiskError;
pub use meaning::Meaning;
pub use report::{Report, Row};

use crate::load::process::{Usage, machine_busy_ns};
use measure::Case;
use progress::Progress;
use report::{Elsewhere, Run};

const MIB: u64 = 1 << 20;

/// Runs what the command line asks for, and prints it. `stop` ends it early.
#[must_use]
pub fn run(args: &DiskArgs, stop: &AtomicBool) -> ExitCode {
    const WRONG_ARGUMENTS: u8 = 2;
    const INTERRUPTED: u8 = 130;
    match execute(args, stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn disk: {error}");
            match error {
                DiskError::Interrupted => ExitCode::from(INTERRUPTED),
                DiskError::SvgExists { .. } => ExitCode::from(WRONG_ARGUMENTS),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn execute(args: &DiskArgs, stop: &AtomicBool) -> Result<(), DiskError> {
    if let Some(path) = args.svg.as_ref().filter(|path| path.exists()) {
        return Err(DiskError::SvgExists { path: path.clone() });
    }
    let report = measure(args, stop)?;
    // A reader that went away has no use for the rest.
    let text = if args.json { report.json() + "\n" } else { report.text() };
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(path) = &args.svg {
        let failed = |source| DiskError::Svg { path: path.clone(), source };
        File::create_new(path).and_then(|mut file| file.write_all(plot::svg(&report).as_bytes())).map_err(failed)?;
    }
    Ok(())
}

/// Measures, without printing the result.
pub fn measure(args: &DiskArgs, stop: &AtomicBool) -> Result<Report, DiskError> {
    let dir = args.dir.as_path();
    let file_bytes = args.file_bytes();
    check(dir, file_bytes)?;
    let device = Device::of(dir);
    let (flushes, reads) = (flush::cases(args.quick), read::cases(args.quick));
    let cases: Vec<Case> = flushes.into_iter().chain(reads).collect();
    let mut progress = Progress::new(cases.len(), args.quiet);
    let before = Load::now();
    let result = perform(args, &cases, stop, &mut progress);
    progress.finish();
    let run = Run { file_bytes, seconds: args.seconds().as_secs_f64(), elsewhere: before.elsewhere() };
    Ok(Report::new(dir, device, run, result?))
}

/// Names what is in the way before anything is created.
fn check(dir: &Path, file_bytes: u64) -> Result<(), DiskError> {
    let dir = dir.to_path_buf();
    match std::fs::metadata(&dir) {
        Err(source) => return Err(DiskError::of(&dir, file_bytes, source)),
        Ok(metadata) if !metadata.is_dir() => return Err(DiskError::NoDirectory { dir }),
        Ok(_) => {}
    }
    let stat = rustix::fs::statvfs(&dir).map_err(|errno| DiskError::of(&dir, file_bytes, errno.into()))?;
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(DiskError::ReadOnly { dir });
    }
    let has = stat.f_bavail.saturating_mul(stat.f_frsize);
    if has < file_bytes {
        return Err(DiskError::NoSpace { dir, needs_mib: file_bytes / MIB, has_mib: has / MIB });
    }
    Ok(())
}

fn perform(args: &DiskArgs, cases: &[Case], stop: &AtomicBool, progress: &mut Progress) -> Result<Vec<Row>, DiskError> {
    let file_bytes = args.file_bytes();
    let failed = |source| DiskError::of(&args.dir, file_bytes, source);
    let depth = cases.iter().map(|case| case.depth).max().expect("there is always something to measure");
    let bytes = cases.iter().map(|case| case.bytes).max().expect("there is always something to measure");
    // Random bytes: a device that compresses, or keeps no zeros, must do its work.
    let mut random = fastrand::Rng::with_seed(args.seed);
    let fill = |block: &mut [u8]| random.fill(block);
    let mut file = ProbeFile::create(&args.dir, file_bytes, depth, bytes, fill).map_err(failed)?;
    measure::prepare(&mut file, bytes, stop, |written| progress.on_prepared(written, file_bytes)).map_err(failed)?;
    let mut rows = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        progress.on_case(index, case);
        let measured = measure::measure(&mut file, case, args.seconds(), args.seed, stop).map_err(failed)?;
        if stop.load(Ordering::Relaxed) {
            return Err(DiskError::Interrupted);
        }
        rows.push(Row::new(case, measured));
    }
    if stop.load(Ordering::Relaxed) { Err(DiskError::Interrupted) } else { Ok(rows) }
}

/// The clocks of the machine and of this process at one moment.
struct Load {
    at: Instant,
    /// Of the machine and of this process; what was busy with something else is the difference.
    busy_ns: Option<(u64, u64)>,
}

impl Load {
    fn now() -> Self {
        Self { at: Instant::now(), busy_ns: machine_busy_ns().zip(Usage::own().map(|usage| usage.cpu_ns)) }
    }

    /// What the machine did beside this process since then.
    fn elsewhere(&self) -> Option<Elsewhere> {
        let now = Self::now();
        let ((machine, own), (machine_before, own_before)) = (now.busy_ns?, self.busy_ns?);
        let elsewhere_ns = machine.saturating_sub(machine_before).saturating_sub(own.saturating_sub(own_before));
        let busy = elsewhere_ns as f64 / 1e9 / (now.at - self.at).as_secs_f64().max(1e-9);
        Some(Elsewhere {
            busy_cpus: (busy * 100.0).round() / 100.0,
            cpus: std::thread::available_parallelism().ok()?.get(),
        })
    }
}
