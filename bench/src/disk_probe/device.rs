//! Owns what the system says of the disk under a directory: read from `/proc/self/mountinfo` and `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, major, makedev, minor, stat};
use serde::Serialize;

/// A disk; what is not visible, as in some containers and virtual machines, is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Device {
    /// As mount names it: `ext4`, `xfs`.
    pub file_system: Option<String>,
    /// The whole disk, where the directory is on a partition of it.
    pub name: Option<String>,
    pub model: Option<String>,
    /// `write back` or `write through`.
    pub write_cache: Option<String>,
    /// The device takes writes that pass its cache (Force Unit Access).
    pub fua: Option<bool>,
    pub rotational: Option<bool>,
}

impl Device {
    /// The disk that a directory is on.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let Ok(metadata) = stat(dir) else { return Self::default() };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let mount = Mount::of(&mounts, &dir);
        // Btrfs and others answer with a number of no device, but were mounted from one.
        let source = mount.as_ref().and_then(|mount| stat(&mount.source).ok()).map(|source| source.st_rdev);
        let number: Dev = if major(metadata.st_dev) == 0 { source.unwrap_or(makedev(0, 0)) } else { metadata.st_dev };
        let found = if major(number) == 0 { None } else { disk(number) };
        let file_system = mount.map(|mount| mount.file_system);
        Self { file_system, ..found.map_or_else(Self::default, |disk| Self::describe(&disk)) }
    }

    /// What `/sys` has in the folder of a disk.
    fn describe(disk: &Path) -> Self {
        let text = |name: &str| {
            let text = fs::read_to_string(disk.join(name)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let flag = |name: &str| text(name).map(|text| text != "0");
        Self {
            file_system: None,
            name: text("dm/name").or_else(|| Some(disk.file_name()?.to_string_lossy().into_owned())),
            model: text("device/model"),
            write_cache: text("queue/write_cache"),
            fua: flag("queue/fua"),
            rotational: flag("queue/rotational"),
        }
    }

    /// Its memory is all there is to it.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        matches!(self.file_system.as_deref(), Some("tmpfs" | "ramfs"))
    }
}

/// The folder of a device in `/sys`; of the whole disk, if it is a partition.
fn disk(number: Dev) -> Option<PathBuf> {
    let link = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let device = fs::canonicalize(link).ok()?;
    if device.join("partition").exists() { device.parent().map(Path::to_path_buf) } else { Some(device) }
}

struct Mount {
    file_system: String,
    source: String,
}

impl Mount {
    /// The mount that a path is in: the last of the deepest.
    fn of(mountinfo: &str, path: &Path) -> Option<Self> {
        let mounts = mountinfo.lines().filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let point = PathBuf::from(head.split(' ').nth(4)?.replace("\\040", " "));
            let mut tail = tail.split(' ');
            let mount = Self { file_system: tail.next()?.to_owned(), source: tail.next()?.to_owned() };
            path.starts_with(&point).then(|| (point.components().count(), mount))
        });
        mounts.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount)
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Mount};
    use std::path::Path;

    #[test]
    fn the_deepest_mount_is_meant() {
        let text = "22 27 0:21 / / rw - ext4 /dev/vda rw\n\
                    23 22 8:1 / /data rw,relatime shared:1 - xfs /dev/sda1 rw\n\
                    24 23 8:2 / /data/my\\040disk rw - btrfs /dev/sdb rw\n";
        for (path, expect) in [
            ("/home", "ext4 /dev/vda"),
            ("/data/a", "xfs /dev/sda1"),
            ("/database", "ext4 /dev/vda"),
            ("/data/my disk/b", "btrfs /dev/sdb"),
        ] {
            let mount = Mount::of(text, Path::new(path)).unwrap();
            assert_eq!(format!("{} {}", mount.file_system, mount.source), expect);
        }
        assert!(Mount::of("", Path::new("/")).is_none());
    }

    #[test]
    fn a_folder_of_sys_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("vdb");
        std::fs::create_dir_all(disk.join("queue")).unwrap();
        std::fs::write(disk.join("queue/write_cache"), "write back\n").unwrap();
        std::fs::write(disk.join("queue/fua"), "0\n").unwrap();
        let found = Device::describe(&disk);
        let expect = Device {
            name: Some("vdb".into()),
            write_cache: Some("write back".into()),
            fua: Some(false),
            ..found.clone()
        };
        assert_eq!(found, expect);
        assert_eq!((found.model, found.rotational), (None, None));
        assert_eq!(Device::of(Path::new("/proc")).name, None);
    }
}
