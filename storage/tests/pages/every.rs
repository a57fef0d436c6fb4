//! The same workload over and over, with the power cut after each of its operations in turn: writes of log and pages, syncs,
//! superblocks, growth of the file, reads, and those of an opening.

use crate::change::Change;
use crate::random::{SMALL, step};
use crate::shard::{Cut, Shard};

fn workload(shard: &mut Shard) -> Result<(), Cut> {
    for number in 0..120 {
        let key = format!("first-{number}").into_bytes();
        shard.change(Change::Put(0, key, 0, vec![number as u8; 900]))?;
    }
    shard.checkpoint()?;
    shard.is_eager = true;
    for _ in 0..250 {
        step(shard, SMALL)?;
    }
    shard.is_eager = false;
    shard.checkpoint()
}

#[test]
fn the_power_may_fail_after_any_operation() {
    let mut ops = 0;
    loop {
        let mut shard = Shard::new(1, SMALL.memory_pages, None);
        shard.ops_left = ops;
        let is_cut = workload(&mut shard).is_err();
        shard.crash().unwrap_or_else(|what| panic!("cut after {ops} operations: {what}"));
        if !is_cut {
            break;
        }
        ops += 1;
    }
    assert!(ops > 150, "{ops} operations");
}

#[test]
fn the_power_may_fail_after_any_operation_of_an_opening() {
    let mut shard = Shard::new(2, 110, None);
    for number in 0..700 {
        let key = format!("row-{number}").into_bytes();
        shard.change(Change::Put(0, key, 0, vec![number as u8; 1500])).unwrap();
        if number == 350 {
            shard.checkpoint().unwrap();
        }
    }
    shard.settle().unwrap();
    // What the log holds since the checkpoint does not fit into memory: the opening itself writes pages.
    for ops in 0.. {
        shard.pages.ops_left = ops;
        let result = shard.reopen();
        shard.pages.ops_left = usize::MAX;
        if result.is_ok() {
            assert!(ops > 5, "the opening wrote nothing");
            break;
        }
        shard.pages.power_cut(&mut shard.rng);
    }
    shard.verify().unwrap();
}
