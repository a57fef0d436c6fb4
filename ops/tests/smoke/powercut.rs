//! Takes the disk away: the rig that cuts power, fails flushes, fills the disk, damages it and kills, where this machine
//! can run it.
//!
//! `CAIRN_RIGS` names the folder of `powercut.py`; without it, `../shared/rigs` beside the repository. The rig needs
//! root, FUSE and loop devices, and says SKIPPED where it does not have them. One test, so that no two rounds share the
//! machine: a round in which hardly anything was written proves nothing, and fails.

use crate::server::{BINARY, skipped};
use std::path::PathBuf;
use std::process::Command;

/// The modes, and their rounds on one shard and on two.
const MODES: [(&str, u32); 6] = [("kill", 1), ("cut", 3), ("shutdown", 2), ("eio", 2), ("full", 1), ("corrupt", 2)];

fn rig() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/rigs");
    let folder = std::env::var("CAIRN_RIGS").unwrap_or_else(|_| beside.into());
    let rig = PathBuf::from(folder).join("powercut.py");
    if !rig.exists() {
        skipped(&format!("there is no {}", rig.display()));
        return None;
    }
    Some(rig)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_disk_is_taken_away() {
    let Some(rig) = rig() else { return };
    for (mode, rounds) in MODES {
        for shards in ["1", "2"] {
            let server = format!("{BINARY} serve --port {{port}} --dir {{dir}} --metrics-addr off --shards {shards}");
            let output = Command::new("python3")
                .arg(&rig)
                .args(["--mode", mode, "--rounds", &rounds.to_string(), "--seed", shards, "--server", &server])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if let Some(why) = text.strip_prefix("SKIPPED: ") {
                return skipped(why.trim());
            }
            println!("{text}");
            assert!(output.status.success(), "{mode}, {shards} shards: {text}");
        }
    }
}
