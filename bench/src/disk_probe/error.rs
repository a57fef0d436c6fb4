//! Why a disk could not be measured.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::MIB;

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{} does not exist: name a directory on the disk to measure", dir.display())]
    Missing { dir: PathBuf },
    #[error("{} is not a directory: name one on the disk to measure", dir.display())]
    NoDirectory { dir: PathBuf },
    #[error("{} is on a file system that is mounted read-only", dir.display())]
    ReadOnly { dir: PathBuf },
    #[error("{} cannot be written: no permission", dir.display())]
    NoPermission { dir: PathBuf },
    #[error("{} has too little space: needs {needs_mib} MiB, has {has_mib} MiB; see --file-size", dir.display())]
    NoSpace { dir: PathBuf, needs_mib: u64, has_mib: u64 },
    #[error("{} is on a file system without O_DIRECT, where the server would not start either", dir.display())]
    NoDirectIo { dir: PathBuf },
    #[error("{} exists and is left as it is: choose another --svg", path.display())]
    SvgExists { path: PathBuf },
    #[error("cannot write {}: {source}", path.display())]
    Svg { path: PathBuf, source: io::Error },
    #[error("interrupted; the measured file is gone")]
    Interrupted,
    #[error("cannot measure {}: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

impl DiskError {
    /// What the system's answer means for a file of so many bytes in `dir`.
    pub(super) fn of(dir: &Path, file_bytes: u64, source: io::Error) -> Self {
        let owned = dir.to_path_buf();
        match Errno::from_io_error(&source) {
            Some(Errno::NOENT) => Self::Missing { dir: owned },
            Some(Errno::NOTDIR) => Self::NoDirectory { dir: owned },
            Some(Errno::ROFS) => Self::ReadOnly { dir: owned },
            Some(Errno::ACCESS) => Self::NoPermission { dir: owned },
            Some(Errno::INVAL) => Self::NoDirectIo { dir: owned },
            Some(Errno::NOSPC | Errno::DQUOT) => {
                let has = rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
                Self::NoSpace { dir: owned, needs_mib: file_bytes / MIB, has_mib: has / MIB }
            }
            _ => Self::Io { dir: owned, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DiskError;
    use rustix::io::Errno;
    use std::path::Path;

    #[test]
    fn the_systems_answers_are_put_in_words() {
        for (errno, expect) in [
            (Errno::INVAL, "/ is on a file system without O_DIRECT, where the server would not start either"),
            (Errno::ROFS, "/ is on a file system that is mounted read-only"),
            (Errno::ACCESS, "/ cannot be written: no permission"),
            (Errno::NOENT, "/ does not exist: name a directory on the disk to measure"),
            (Errno::IO, "cannot measure /: Input/output error (os error 5)"),
        ] {
            assert_eq!(DiskError::of(Path::new("/"), 1 << 20, errno.into()).to_string(), expect);
        }
        let full = DiskError::of(Path::new("/"), 9 << 20, Errno::NOSPC.into()).to_string();
        assert!(full.starts_with("/ has too little space: needs 9 MiB, has "), "{full}");
    }
}
