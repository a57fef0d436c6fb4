//! Takes the disk away: the rig that cuts power, fails flushes and kills, where this machine can run it.
//!
//! `CAIRN_RIGS` names the folder of `powercut.py`; without it, `../shared/rigs` beside the repository. The rig needs
//! root, FUSE and loop devices, and says SKIPPED where it does not have them.

use crate::server::BINARY;
use std::path::PathBuf;
use std::process::Command;

const ROUNDS: &str = "3";

fn rig() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/rigs");
    let folder = std::env::var("CAIRN_RIGS").unwrap_or_else(|_| beside.into());
    let rig = PathBuf::from(folder).join("powercut.py");
    if !rig.exists() {
        println!("SKIPPED there is no {}", rig.display());
        return None;
    }
    Some(rig)
}

fn rounds(mode: &str) {
    let Some(rig) = rig() else { return };
    let server = format!("{BINARY} serve --port {{port}} --dir {{dir}} --metrics-addr off --shards 1");
    let output = Command::new("python3")
        .arg(rig)
        .args(["--mode", mode, "--rounds", ROUNDS, "--seed", "1", "--server", &server])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{mode}: {text}");
}

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    rounds("kill");
}

#[test]
fn nothing_is_lost_when_the_power_is_cut() {
    rounds("cut");
}

#[test]
fn nothing_is_lost_when_the_page_cache_is() {
    rounds("shutdown");
}

#[test]
fn a_failed_flush_ends_acknowledgements() {
    rounds("eio");
}
