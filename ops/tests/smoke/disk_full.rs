//! A disk that fills: writers are told, readers are served, nothing acknowledged is lost, and room is taken up again.
//!
//! The disk is a tmpfs with a bound, which takes root and `O_DIRECT` on tmpfs (Linux 6.6); without them: SKIPPED.

use crate::operation::{get, metrics_address};
use crate::server::{Recipe, Server, scratch, skipped, until};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory. Unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(dir: &Path, bytes: &str) -> Option<Disk> {
        let path = dir.join("disk");
        std::fs::create_dir(&path).unwrap();
        let is_mounted = mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], &path);
        is_mounted.then_some(Disk(path))
    }

    fn resize(&self, bytes: &str) {
        assert!(mount(&["-o", &format!("remount,size={bytes}")], &self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    Command::new("mount").args(options).arg(path).output().is_ok_and(|output| output.status.success())
}

/// Writes until a write is refused. How many were acknowledged, and what the refusal says.
fn fill(server: &Server, acknowledged: &mut u32) -> String {
    let mut client = server.client();
    let value = vec![b'x'; 60_000];
    // More than the disk takes: not refusing would show as a loop without end.
    while *acknowledged < 10_000 {
        let written = redis::cmd("SET").arg(*acknowledged).arg(&value).query::<()>(&mut client);
        match written {
            Ok(()) => *acknowledged += 1,
            Err(error) => return error.to_string(),
        }
    }
    panic!("600 MB went to a disk that has not so much");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let dir = scratch();
    // Segments suit the disk: a log has several of them here before it is full.
    let Some(disk) = Disk::new(dir.path(), "150m") else { return skipped("no tmpfs can be mounted") };
    let data = disk.0.join("data");
    let recipe = Recipe::new(dir.path()).with(&["--dir", data.to_str().unwrap()]);
    let mut server = recipe.spawn();
    until("the server accepts connections or refuses the disk", || {
        server.log().contains("Ready to accept connections") || server.child.try_wait().unwrap().is_some()
    });
    if server.log().contains("does not support O_DIRECT") {
        return skipped("this kernel has no O_DIRECT on tmpfs");
    }
    let mut acknowledged = 0;
    let refusal = fill(&server, &mut acknowledged);
    assert!(refusal.contains("MISCONF") && refusal.contains("No space left on device"), "{refusal}");
    until("the log says so", || server.log().contains("shard 0: the next log segment cannot be prepared"));
    let is_full = |server: &Server| {
        get(&metrics_address(server), "/metrics").contains("cairn_log_state{shard=\"0\",state=\"full\"} 1")
    };
    until("the metrics say so", || is_full(&server));
    let mut client = server.client();
    let found: u32 = redis::cmd("DBSIZE").query(&mut client).unwrap();
    assert_eq!(found, acknowledged, "readers are served");

    server.kill();
    let mut server = recipe.start();
    disk.resize("400m");
    let mut client = server.client();
    until("writes are taken again", || redis::cmd("SET").arg("last").arg(1).query::<()>(&mut client).is_ok());
    until("the metrics say so", || !is_full(&server));
    fill(&server, &mut acknowledged);

    server.kill();
    let server = recipe.start();
    let found: u32 = redis::cmd("DBSIZE").query(&mut server.client()).unwrap();
    assert_eq!(found, acknowledged + 1, "what was acknowledged is there, and nothing else");
}
