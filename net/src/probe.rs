//! What a machine must offer before a server can run: each looked at on its own, for the start and for `cairn doctor`.

use crate::error::StartError;
use crate::limits::{DESCRIPTORS_SPARE, MEMLOCK_BYTES_MIN};
use crate::ring::Ring;
use cairn_storage::limits::BLOCK_BYTES;
use io_uring::{Probe, opcode};
use rustix::fs::{Mode, OFlags, open, statfs, unlink};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::Path;

/// A ring with all the features that a worker uses can be made. Answers the kernel's release.
pub fn ring() -> Result<String, StartError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let too_old = |what| StartError::KernelTooOld { release: release.clone(), what };
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => StartError::RingForbidden { by_sysctl: sysctl() != 0 },
        Some(libc::ENOSYS) => too_old("io_uring"),
        Some(libc::EINVAL) => too_old("IORING_SETUP_DEFER_TASKRUN"),
        _ => StartError::Ring(error),
    };
    let mut ring = Ring::with_sizes(8, 32).map_err(refused)?;
    // Each of the three system calls may be forbidden on its own.
    ring.enter().map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let codes = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::WriteFixed::CODE, "writing from registered buffers"),
        (opcode::AsyncCancel2::CODE, "cancellation"),
        (opcode::Timeout::CODE, "timeouts"),
    ];
    for (code, what) in codes {
        if !probe.is_supported(code) {
            return Err(too_old(what));
        }
    }
    crate::buffer::ReceiveBuffers::new(&ring, 1, BLOCK_BYTES).map_err(|_| too_old("provided-buffer rings"))?;
    Ok(release)
}

/// `kernel.io_uring_disabled`: 0 open to all, 1 to a group, 2 to nobody.
fn sysctl() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Enough memory may be locked for glommio to start. Raises the soft limit to the hard one first. Answers the limit.
pub fn memlock() -> Result<u64, StartError> {
    let bytes = raise(Resource::Memlock, u64::MAX);
    if bytes < MEMLOCK_BYTES_MIN {
        return Err(StartError::MemlockTooLow { bytes, bytes_min: MEMLOCK_BYTES_MIN });
    }
    Ok(bytes)
}

/// This process may say on which CPUs its threads run, as every worker does.
pub fn pinning() -> Result<(), StartError> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|errno| StartError::PinningForbidden { errno })?;
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| StartError::PinningForbidden { errno })
}

/// Enough descriptors for so many clients. Raises the soft limit first. Answers the limit.
pub fn descriptors(maxclients: u32) -> Result<u64, StartError> {
    let wanted = u64::from(maxclients) + DESCRIPTORS_SPARE;
    let limit = raise(Resource::Nofile, wanted);
    if limit < wanted {
        return Err(StartError::DescriptorsTooFew { limit, wanted });
    }
    Ok(limit)
}

/// Raises a soft limit towards `wanted`, as far as the hard one allows. Answers the soft limit now in force.
fn raise(resource: Resource, wanted: u64) -> u64 {
    let limit = getrlimit(resource);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if maximum < wanted {
        // A privileged process may raise the hard limit too.
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if wanted != u64::MAX && setrlimit(resource, raised).is_ok() {
            return wanted;
        }
    }
    let target = wanted.min(maximum);
    let current_new = if target == u64::MAX { None } else { Some(target) };
    match setrlimit(resource, Rlimit { current: current_new, maximum: limit.maximum }) {
        Ok(()) => target,
        Err(_) => current,
    }
}

/// Files in this directory (which exists and can be written) can be written with `O_DIRECT`. Answers the file system. On
/// a full one it cannot be tried, and that is no reason not to read what is there.
/// On a full disk it is taken for granted: what is there can still be read, and a server must start for that.
pub fn direct_io(dir: &Path) -> Result<String, StartError> {
    let unusable =
        |errno: rustix::io::Errno| StartError::DirectoryUnusable { dir: dir.to_owned(), error: errno.into() };
    let file_system = file_system(dir);
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = match open(&path, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => file,
        Err(rustix::io::Errno::INVAL) => {
            // The file may have been created before O_DIRECT was refused.
            let _ = unlink(&path);
            return Err(StartError::NoDirectIo { dir: dir.to_owned(), file_system });
        }
        Err(errno) if is_full(errno) => return Ok(file_system),
        Err(errno) => return Err(unusable(errno)),
    };
    let result = rustix::io::pwrite(&file, &AlignedBlock([0; BLOCK_BYTES]).0, 0);
    unlink(&path).map_err(unusable)?;
    match result {
        Ok(_) | Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Ok(file_system),
        Err(rustix::io::Errno::INVAL) => Err(StartError::NoDirectIo { dir: dir.to_owned(), file_system }),
        Err(errno) if is_full(errno) => Ok(file_system),
        Err(errno) => Err(unusable(errno)),
    }
}

fn is_full(errno: rustix::io::Errno) -> bool {
    matches!(errno, rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)
}

/// Whether a path is on a file system in memory, which `O_DIRECT` does not tell: tmpfs has it since Linux 6.6.
pub fn is_in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| matches!(stat.f_type as u64, TMPFS | RAMFS))
}

const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

#[repr(align(4096))]
struct AlignedBlock([u8; BLOCK_BYTES]);

/// The name of the file system that a path is on, as well as it is known.
fn file_system(path: &Path) -> String {
    let Ok(stat) = statfs(path) else { return "an unknown file system".into() };
    match stat.f_type as u64 {
        0xef53 => "ext4".into(),
        0x5846_5342 => "XFS".into(),
        0x9123_683e => "Btrfs".into(),
        0x2fc1_2fc1 => "ZFS".into(),
        0xf2f5_2010 => "F2FS".into(),
        TMPFS => "tmpfs".into(),
        RAMFS => "ramfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x6969 => "NFS".into(),
        other => format!("a file system of type {other:#x}"),
    }
}

/// Nobody listens on this address yet. A look only: it may be taken a moment later.
pub fn address(addr: std::net::SocketAddr) -> Result<(), StartError> {
    crate::listener::tcp_shared(addr, 1, crate::limits::BACKLOG).map(drop)
}

/// CPUs that this process may run on, in order.
pub fn cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

#[cfg(test)]
mod tests {
    use super::{address, cpus, descriptors, direct_io, is_in_memory, memlock, pinning, ring};
    use crate::error::StartError;
    use std::path::Path;

    #[test]
    fn this_machine_can_run_a_server() {
        assert!(!ring().unwrap().is_empty());
        assert!(memlock().unwrap() >= 512 * 1024);
        assert!(descriptors(100).unwrap() >= 100);
        pinning().unwrap();
        assert!(!cpus().unwrap().is_empty());
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        direct_io(dir.path()).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(!is_in_memory(Path::new("/proc")) && !is_in_memory(Path::new("/no/such/path")));
    }

    #[test]
    fn a_port_that_another_shares_is_not_free() {
        let (addr, listeners) = crate::listener::tcp_shared("127.0.0.1:0".parse().unwrap(), 2, 8).unwrap();
        assert!(matches!(address(addr), Err(StartError::AddressInUse { .. })));
        drop(listeners);
        address(addr).unwrap();
    }

    #[test]
    fn impossible_wishes_are_refused() {
        assert!(matches!(descriptors(u32::MAX), Err(StartError::DescriptorsTooFew { .. })));
        let nowhere = Path::new("/proc/self");
        assert!(matches!(direct_io(nowhere), Err(StartError::DirectoryUnusable { .. })));
    }
}
