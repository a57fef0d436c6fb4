//! Counted trees over a page file: written by checkpoints and ahead of need, and read back in less memory than they have pages.

use super::super::{CountedTree, Cursor};
use crate::error::Missing;
use crate::limits::{LEVELS_MAX, PAGE_BYTES};
use crate::op::{DiskDone, PageOp};
use crate::pagefile::{Bounds, CheckpointState, OpenStep, Opening, PageFile, PageFileConfig, Superblock};
use crate::pool::Pool;
use crate::units::ShardId;
use std::ops::ControlFlow;

/// A pool, and the bytes of its page file.
struct Paged {
    pool: Pool,
    bytes: Vec<u8>,
}

impl Paged {
    fn open(bytes: Vec<u8>, pages_max: usize) -> Paged {
        let config = PageFileConfig {
            shard: ShardId(0),
            salt: 5,
            segment_bytes: 1 << 20,
            grow_bytes: 1 << 18,
            bounds: Bounds::default(),
            planted: None,
        };
        let mut opening = Opening::new(config, bytes.len() as u64);
        loop {
            match opening.step() {
                OpenStep::Read { offset, len } => opening.supply(&bytes[offset as usize..][..len as usize]),
                OpenStep::Done => break,
                OpenStep::Refuse(fault) => panic!("{fault}"),
            }
        }
        let (file, _) = opening.finish();
        Paged { pool: Pool::over(pages_max, Box::new(|_| {}), file), bytes }
    }

    fn file(&mut self) -> &mut PageFile {
        self.pool.file_mut().unwrap()
    }

    /// Does what the page file wants.
    fn serve(&mut self) {
        while let Some(op) = self.file().poll() {
            let mut result = Ok(0);
            match op {
                PageOp::Write { offset, output, len, .. } | PageOp::WriteStable { offset, output, len, .. } => {
                    let image = self.file().output(output)[..len as usize].to_vec();
                    self.bytes[offset as usize..][..len as usize].copy_from_slice(&image);
                    result = Ok(len);
                }
                PageOp::Read { op, offset, len } => {
                    drop(self.pool.on_read(op, Ok(&self.bytes[offset as usize..][..len as usize])));
                    continue;
                }
                PageOp::Grow { bytes, .. } => self.bytes.resize(self.bytes.len().max(bytes as usize), 0),
                PageOp::Sync { .. } | PageOp::Forget { .. } => {}
            }
            self.file().on_done(DiskDone { op: op.op(), result });
        }
    }

    fn checkpoint(&mut self) {
        let dirty = self.pool.dirty_pages();
        while !self.file().can_begin(dirty, 0) {
            self.serve();
        }
        self.file().begin(Superblock::default(), dirty, 0, crate::units::Lsn(0));
        self.pool.freeze();
        while self.file().checkpoint_state() != CheckpointState::Idle {
            let are_saved = self.pool.save_some(8);
            self.file().work(8 * PAGE_BYTES, are_saved);
            self.serve();
        }
    }

    /// Runs a command until nothing that it needs is missing.
    fn run<T>(&mut self, mut command: impl FnMut(&mut Pool) -> Result<T, Missing>) -> T {
        for _ in 0..10_000 {
            while self.pool.make_room(2 * LEVELS_MAX).is_err() {
                self.serve();
            }
            match command(&mut self.pool) {
                Ok(done) => return done,
                Err(Missing::Page(page)) => drop(self.pool.fetch(page)),
                Err(missing) => panic!("{missing:?}"),
            }
            self.serve();
        }
        panic!("a command never ends");
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(200 + (number % 400) as usize, number as u8);
    payload
}

/// The numbers of all rows, in order.
fn rows(paged: &mut Paged, tree: &CountedTree) -> Vec<u64> {
    let (mut cursor, mut rows) = (Cursor::new(0), Vec::new());
    paged.run(|pool| {
        tree.forward(pool, &mut cursor, |_, found| {
            let number = u64::from_le_bytes(found[..8].try_into().unwrap());
            assert!(found == payload(number));
            rows.push(number);
            ControlFlow::Continue(())
        })
    });
    rows
}

#[test]
fn a_list_is_what_it_was_after_checkpoints_evictions_and_openings() {
    const PAGES_MAX: usize = 100;
    let mut rng = numbers(7);
    let mut model: Vec<u64> = Vec::new();
    let mut paged = Paged::open(Vec::new(), PAGES_MAX);
    let mut tree = CountedTree::by_rank();
    for round in 0..4 {
        for number in 0..1500 {
            let number = round * 1500 + number;
            let rank = rng(model.len() as u64 + 1);
            paged.run(|pool| {
                let path = tree.resolve_rank(pool, rank)?;
                tree.insert_at(pool, &path, &payload(number)).unwrap();
                Ok(())
            });
            model.insert(rank as usize, number);
            if number % 3 == 0 {
                let rank = rng(model.len() as u64);
                paged.run(|pool| {
                    let path = tree.resolve_rank(pool, rank)?;
                    tree.remove(pool, &path);
                    Ok(())
                });
                model.remove(rank as usize);
            }
        }
        paged.checkpoint();
        assert!(tree.pages() > PAGES_MAX as u64 || round == 0, "memory holds all of it");
        // From the file alone, in a memory that holds a part; ranks are found by the counts of pages that come and go.
        let root = tree.root();
        paged = Paged::open(std::mem::take(&mut paged.bytes), PAGES_MAX);
        tree = CountedTree::by_rank().opened(&root);
        assert!(rows(&mut paged, &tree) == model);
        for _ in 0..500 {
            let rank = rng(model.len() as u64);
            let found = paged.run(|pool| tree.at(pool, rank, |_, found| found[..8].to_vec()));
            assert_eq!(found, Some(model[rank as usize].to_le_bytes().to_vec()));
        }
        // And whole, every count with it.
        let mut whole = Paged::open(paged.bytes.clone(), 4000);
        while let [first, ..] = tree.absent(&whole.pool)[..] {
            whole.pool.fetch(first);
            whole.serve();
        }
        tree.check(&whole.pool).unwrap();
    }
    assert!(paged.pool.evictions() > 100);
}

/// Small numbers, the same ones each time.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |end| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % end
    }
}
