//! The bounds of a page file: what happens one below each, at it, and one above.

use super::{Bounds, FileState, PageFile, PageFileConfig, RELEASES_PER_TURN, Superblock};
use crate::limits::{
    CLONES_OUTPUTS_MIN, CLONES_SHARE, OUTPUT_FLIGHT_PAGES_MAX, OUTPUT_FLIGHTS_MAX, OUTPUT_PAGES, OUTPUTS_MAX,
    OUTPUTS_MIN, OUTPUTS_SHARE, PAGE_BYTES, SITES_MAX,
};
use crate::op::{DiskDone, PageOp};
use crate::page::{Kind, Page};
use crate::pool::Frame;
use crate::units::{Lsn, PageId, ShardId};

const EFBIG: i32 = 27;

fn file(bounds: Bounds) -> PageFile {
    let grow_bytes = 32 * PAGE_BYTES as u64;
    PageFile::empty(PageFileConfig {
        shard: ShardId(0),
        salt: 5,
        segment_bytes: 1 << 20,
        grow_bytes,
        bounds,
        planted: None,
    })
}

/// A file of so many sites and a memory of so many pages.
fn roomy(sites: u32, memory_pages: usize) -> PageFile {
    let mut file = file(Bounds::default());
    file.set_memory(memory_pages);
    file.on_grown(sites);
    file
}

fn page(number: u32) -> Page {
    let mut frame = bytemuck::zeroed_box::<Frame>();
    frame.page.format(PageId(number), Kind::Leaf);
    frame.page
}

/// All that the file asks for now, reads aside.
fn ops(file: &mut PageFile) -> Vec<PageOp> {
    std::iter::from_fn(|| file.poll()).collect()
}

fn complete(file: &mut PageFile, op: PageOp) {
    let result = match op {
        PageOp::Write { len, .. } | PageOp::WriteStable { len, .. } => Ok(len),
        _ => Ok(0),
    };
    file.on_done(DiskDone { op: op.op(), result });
}

#[test]
fn a_file_grows_up_to_its_bound_and_then_says_that_it_cannot() {
    for (wanted, bound, grown) in [(31, 64, 32), (63, 64, 64), (64, 64, 64), (65, 64, 64), (49, 50, 50), (51, 50, 50)] {
        let mut file = file(Bounds { sites: bound, ..Bounds::default() });
        file.want_sites(wanted);
        let grow = ops(&mut file);
        assert!(matches!(grow[..], [PageOp::Grow { bytes, .. }] if bytes == grown * PAGE_BYTES as u64), "{grow:?}");
        complete(&mut file, grow[0]);
        assert_eq!((file.state(), file.space.sites()), (FileState::Open, grown as u32));
        // Who lacks sites asks for them until there are some.
        file.want_sites(wanted.saturating_sub(grown as u32));
        assert!(ops(&mut file).is_empty());
        let refused = wanted > bound;
        let state = if refused { FileState::Full { errno: EFBIG } } else { FileState::Open };
        assert_eq!(file.state(), state, "{wanted} of {bound}");
        // It is tried again, and what does not need further sites goes on.
        file.retry();
        assert_eq!(file.state(), FileState::Open);
        assert!(file.save_victim(PageId(1), &page(1)));
        file.output.close(&mut file.space);
        assert!(matches!(ops(&mut file)[..], [PageOp::Write { .. }]));
    }
}

#[test]
fn what_is_wanted_beyond_all_numbers_is_wanted_as_far_as_these_go() {
    let mut file = roomy(SITES_MAX - 5, 100);
    file.want_sites(100);
    let grow = ops(&mut file);
    assert!(matches!(grow[..], [PageOp::Grow { bytes, .. }] if bytes == u64::from(SITES_MAX) * PAGE_BYTES as u64));
    complete(&mut file, grow[0]);
    file.want_sites(1);
    assert!(ops(&mut file).is_empty());
    assert_eq!(file.state(), FileState::Full { errno: EFBIG });
}

#[test]
fn buffers_are_a_share_of_memory_within_bounds() {
    let share = OUTPUTS_SHARE * OUTPUT_PAGES;
    for (pages, outputs) in [
        (0, OUTPUTS_MIN),
        ((OUTPUTS_MIN + 1) * share - 1, OUTPUTS_MIN),
        ((OUTPUTS_MIN + 1) * share, OUTPUTS_MIN + 1),
        (OUTPUTS_MAX * share - 1, OUTPUTS_MAX - 1),
        (OUTPUTS_MAX * share, OUTPUTS_MAX),
        ((OUTPUTS_MAX + 1) * share, OUTPUTS_MAX),
    ] {
        assert_eq!(roomy(9, pages).outputs_max, outputs, "of {pages} pages");
    }
    // The copies of a checkpoint: at least as many as some times the victims', else a share too.
    let least = CLONES_OUTPUTS_MIN * OUTPUTS_MAX;
    let share = CLONES_SHARE * OUTPUT_PAGES;
    for (pages, outputs) in
        [(0, CLONES_OUTPUTS_MIN * OUTPUTS_MIN), ((least + 1) * share - 1, least), ((least + 1) * share, least + 1)]
    {
        assert_eq!(roomy(9, pages).clones_max, outputs, "of {pages} pages");
    }
}

#[test]
fn victims_wait_when_their_buffers_are_full_and_go_on_when_one_is_written() {
    let mut file = roomy(4000, 0);
    let fill = |file: &mut PageFile, from: u32| {
        (from..).take_while(|number| file.save_victim(PageId(*number), &page(*number))).count()
    };
    // The bound is one above which none is begun: the last buffer gets the one page that began it.
    let saved = fill(&mut file, 1);
    assert_eq!((saved, file.output.count()), (OUTPUTS_MIN * OUTPUT_PAGES + 1, OUTPUTS_MIN + 1));
    assert_eq!(file.numbers().victims_written as usize, saved);
    assert!(!file.has_page(PageId(saved as u32 + 1)), "what was refused has no image: it stays in memory");
    for number in 1..=saved as u32 {
        assert!(file.unwritten(PageId(number)).is_some(), "page {number} can be read from its buffer");
    }
    let write = file.poll().expect("a full buffer is written");
    complete(&mut file, write);
    assert_eq!(file.output.count(), OUTPUTS_MIN);
    let more = fill(&mut file, saved as u32 + 1);
    assert_eq!((more, file.output.count()), (OUTPUT_PAGES, OUTPUTS_MIN + 1));
}

#[test]
fn a_checkpoint_goes_on_with_twice_the_victims_buffers_and_writers_with_some_times_as_many() {
    let mut file = roomy(4000, 0);
    let pages = 2000;
    file.begin(Superblock::default(), pages, 0, Lsn(0));
    let mut saved = 0;
    let mut save = |file: &mut PageFile, until: usize| {
        while saved < until {
            saved += 1;
            file.save_before_change(PageId(saved as u32), &page(saved as u32));
        }
    };
    let (room, flood) = (2 * OUTPUTS_MIN * OUTPUT_PAGES, CLONES_OUTPUTS_MIN * OUTPUTS_MIN * OUTPUT_PAGES);
    for (count, has_room, is_flooded) in [
        (room - 1, true, false),
        (room, true, false),
        (room + 1, false, false),
        (flood - 1, false, false),
        (flood, false, false),
        (flood + 1, false, true),
    ] {
        save(&mut file, count);
        assert_eq!((file.has_output_room(), file.is_flooded()), (has_room, is_flooded), "with {count} images");
    }
    let write = file.poll().expect("a full buffer is written");
    complete(&mut file, write);
    assert!(!file.is_flooded(), "who has waited goes on");
    assert_eq!(file.numbers().pages_cloned as usize, flood + 1);
}

/// The lengths, in pages, of the writes that are in flight at once where free space is in runs of so many sites.
fn flights(run: usize) -> Vec<usize> {
    let mut is_used = vec![true; 3000];
    is_used[2..].iter_mut().zip(0..).for_each(|(is_used, at)| *is_used = at % (run + 1) == run);
    let mut file = roomy(2, 0);
    file.space = super::space::Space::new(&is_used);
    for number in 1..=900 {
        assert!(file.save(PageId(number), &page(number), super::Side::Live).is_some());
    }
    file.output.close(&mut file.space);
    let pages = |op: &PageOp| match op {
        PageOp::Write { len, .. } => *len as usize / PAGE_BYTES,
        op => panic!("{op:?}"),
    };
    let first = ops(&mut file);
    // Nothing more is asked for before one has ended, and then it is.
    complete(&mut file, first[0]);
    assert!(!ops(&mut file).is_empty());
    first.iter().map(pages).collect()
}

#[test]
fn writes_in_flight_are_bounded_in_number_and_in_pages() {
    let share = OUTPUT_FLIGHT_PAGES_MAX / OUTPUT_FLIGHTS_MAX;
    for run in [1, share - 1, share, share + 1, OUTPUT_PAGES - 1, OUTPUT_PAGES] {
        let flights = flights(run);
        let (count, pages, last) = (flights.len(), flights.iter().sum::<usize>(), *flights.last().unwrap());
        // The last one begins while one more may, and a page of the bound is left.
        assert!(count <= OUTPUT_FLIGHTS_MAX && pages - last < OUTPUT_FLIGHT_PAGES_MAX, "runs of {run}: {flights:?}");
        assert!(count == OUTPUT_FLIGHTS_MAX || pages >= OUTPUT_FLIGHT_PAGES_MAX, "runs of {run}: {flights:?}");
    }
    assert_eq!((flights(1).len(), flights(OUTPUT_PAGES).len()), (OUTPUT_FLIGHTS_MAX, 4));
}

#[test]
fn a_turn_frees_so_many_runs() {
    for (runs, left) in [(RELEASES_PER_TURN - 1, 0), (RELEASES_PER_TURN, 0), (RELEASES_PER_TURN + 1, 1)] {
        let mut file = roomy(2000, 0);
        for _ in 0..runs {
            let run = file.space.take(1).unwrap();
            // Every second one is taken for good, so that runs do not touch.
            file.space.take(1).unwrap();
            file.give_up(run.first, 1, super::Side::Live);
        }
        file.durable.generation = 2;
        file.release();
        file.release_some();
        assert_eq!(file.space.held_sites(), left, "of {runs}");
    }
}
