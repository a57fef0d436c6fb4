//! Why a server does not start. Each says what is wrong, where, and what can be done about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// As text each is a sentence for the operator.
#[derive(Debug)]
pub enum StartError {
    /// io_uring is forbidden to this process.
    RingForbidden {
        by_sysctl: bool,
    },
    /// The kernel is too old, or built without io_uring.
    KernelTooOld {
        release: String,
        what: &'static str,
    },
    /// The ring could not be made for another reason.
    Ring(io::Error),
    MemlockTooLow {
        bytes: u64,
        bytes_min: u64,
    },
    /// `sched_setaffinity` is forbidden to this process.
    PinningForbidden {
        errno: rustix::io::Errno,
    },
    DescriptorsTooFew {
        limit: u64,
        wanted: u64,
    },
    /// The file system of the data directory has no `O_DIRECT`.
    NoDirectIo {
        dir: PathBuf,
        file_system: String,
    },
    AddressInUse {
        addr: SocketAddr,
    },
    AddressNotHere {
        addr: SocketAddr,
    },
    /// Ports below 1024, or the like.
    AddressForbidden {
        addr: SocketAddr,
    },
    Listen {
        addr: String,
        error: io::Error,
    },
    /// Another server has this data directory.
    DirectoryInUse {
        dir: PathBuf,
        pid: Option<u32>,
    },
    DirectoryUnusable {
        dir: PathBuf,
        error: io::Error,
    },
    /// There are files, but no manifest: not a data directory.
    DirectoryForeign {
        dir: PathBuf,
    },
    /// The manifest says that this shard has a log, and there is none.
    LogAbsent {
        log: PathBuf,
        shard: u16,
    },
    /// Somebody who is not there any more still writes to a segment.
    WritesOnTheirWay {
        file: PathBuf,
        seconds: u64,
    },
    ManifestDamaged {
        path: PathBuf,
        what: &'static str,
    },
    ManifestNewer {
        path: PathBuf,
        format: u32,
        format_max: u32,
    },
    ShardsDiffer {
        dir: PathBuf,
        stored: u16,
        asked: u16,
    },
    ShardsOutOfRange {
        asked: u16,
        max: u16,
    },
    NoSuchCpu {
        cpu: usize,
    },
    CpuList {
        list: String,
    },
    /// The log cannot be read as it should.
    Log {
        file: PathBuf,
        offset: u64,
        what: String,
    },
    /// What the logs of several shards say of a transaction cannot be.
    LogsDisagree {
        dir: PathBuf,
        what: String,
    },
    /// A worker's host did not start.
    Worker {
        worker: usize,
        what: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StartError::*;
        match self {
            RingForbidden { by_sysctl: true } => write!(
                f,
                "io_uring is switched off on this machine (sysctl kernel.io_uring_disabled). Cairn does all its I/O with it. \
                 Allow it: sysctl kernel.io_uring_disabled=0"
            ),
            RingForbidden { by_sysctl: false } => write!(
                f,
                "io_uring is forbidden to this process (EPERM), most likely by the container's seccomp profile. Allow the \
                 system calls io_uring_setup, io_uring_enter and io_uring_register: with Docker or Podman a profile by \
                 --security-opt seccomp=FILE, in Kubernetes securityContext.seccompProfile"
            ),
            KernelTooOld { release, what } => {
                write!(f, "Linux {release} lacks {what}. Cairn needs Linux 6.1 or newer with io_uring")
            }
            Ring(error) if error.raw_os_error() == Some(libc::ENOMEM) => write!(
                f,
                "io_uring cannot be set up: {error}. Most likely the limit of locked memory is too low for this many \
                 workers. Raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 \
                 with Docker"
            ),
            Ring(error) => write!(f, "io_uring cannot be set up: {error}"),
            MemlockTooLow { bytes, bytes_min } => write!(
                f,
                "the limit of locked memory is {bytes} bytes, at least {bytes_min} are needed. Raise it: ulimit -l unlimited, \
                 LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 with Docker"
            ),
            PinningForbidden { errno } => write!(
                f,
                "threads cannot be pinned to CPUs (sched_setaffinity: {errno}). Allow that system call: a systemd unit must \
                 not exclude it (SystemCallFilter=~@resources does), nor a container's seccomp profile"
            ),
            DescriptorsTooFew { limit, wanted } => write!(
                f,
                "this process may open {limit} files, but maxclients needs {wanted}. Raise the limit (ulimit -n {wanted}, \
                 LimitNOFILE={wanted} in a systemd unit) or lower maxclients"
            ),
            NoDirectIo { dir, file_system } => write!(
                f,
                "{} is on {file_system}, which does not support O_DIRECT. Put the data directory on ext4 or XFS (in a \
                 container: on a volume, not on the container's own layer)",
                dir.display()
            ),
            AddressInUse { addr } => write!(
                f,
                "port {} is already in use on {}. Another server runs there; stop it or choose another with --port",
                addr.port(),
                addr.ip()
            ),
            AddressNotHere { addr } => write!(f, "{} is not an address of this machine: check bind", addr.ip()),
            AddressForbidden { addr } => write!(
                f,
                "this process may not listen on port {}. Ports below 1024 need CAP_NET_BIND_SERVICE; choose another with --port",
                addr.port()
            ),
            Listen { addr, error } => write!(f, "cannot listen on {addr}: {error}"),
            DirectoryInUse { dir, pid: Some(pid) } => {
                write!(
                    f,
                    "the data directory {} is in use by process {pid}. Two servers cannot share one",
                    dir.display()
                )
            }
            DirectoryInUse { dir, pid: None } => {
                write!(
                    f,
                    "the data directory {} is in use by another process. Two servers cannot share one",
                    dir.display()
                )
            }
            DirectoryUnusable { dir, error } => {
                let advice = match error.raw_os_error() {
                    Some(libc::EACCES | libc::EPERM) => {
                        ". Give it to the user of the server (chown), or choose another"
                    }
                    Some(libc::EEXIST | libc::ENOTDIR) => ". There is a file of that name; choose another",
                    Some(libc::EROFS) => ". Mount the file system for writing, or choose another",
                    Some(libc::ENOSPC | libc::EDQUOT) => ". Make room, or choose another",
                    _ => return write!(f, "the data directory {} cannot be used: {error}", dir.display()),
                };
                write!(f, "the data directory {} cannot be used: {error}{advice} with --dir", dir.display())
            }
            DirectoryForeign { dir } => write!(
                f,
                "{} has shards but no manifest, so it cannot be opened. Give an empty or new directory with --dir, or put \
                 the manifest back from a copy",
                dir.display()
            ),
            LogAbsent { log, shard } => write!(
                f,
                "the log of shard {shard} is gone: there are no segments in {}. Nothing was changed. If the directory was \
                 moved or mounted elsewhere, put it back; else restore a copy of the whole data directory",
                log.display()
            ),
            WritesOnTheirWay { file, seconds } => write!(
                f,
                "{} is still being written to after {seconds} seconds, although the server that did so has ended. Its disk \
                 hangs, or another program holds a lock on the file. Start again when that is over",
                file.display()
            ),
            ManifestDamaged { path, what } => write!(
                f,
                "{} is damaged: {what}. Nothing was changed. Put it back from a copy; its contents never change after the \
                 directory is created",
                path.display()
            ),
            ManifestNewer { path, format, format_max } => write!(
                f,
                "{} has format {format}; this version knows formats up to {format_max}. Use the version that wrote it, or a \
                 newer one",
                path.display()
            ),
            ShardsDiffer { dir, stored, asked } => write!(
                f,
                "{} was created with {stored} shards and cannot be opened with {asked}. Leave --shards away, or give {stored}",
                dir.display()
            ),
            ShardsOutOfRange { asked, max } => write!(f, "{asked} shards: the number must be between 1 and {max}"),
            NoSuchCpu { cpu } => write!(f, "CPU {cpu} does not exist or is not open to this process: check --cpus"),
            CpuList { list } => write!(f, "\"{list}\" is not a list of CPUs: give numbers and ranges, as 0,2-3"),
            Log { file, offset, what } => write!(
                f,
                "{}, offset {offset}: {what}. The start is refused, and nothing was cut off: 'cairn check' of the data directory \
                 reads all of it and says what can be done",
                file.display()
            ),
            LogsDisagree { dir, what } => write!(
                f,
                "{}: {what}. The start is refused, because neither answer would be right. Restore a copy of the whole data \
                 directory; 'cairn check' says more",
                dir.display()
            ),
            Worker { worker, what } => write!(f, "worker {worker} did not start: {what}"),
        }
    }
}

impl std::error::Error for StartError {}
