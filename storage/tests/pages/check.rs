//! The offline check: silent about what is sound, and whatever byte of what is in use is changed, it says where.

use crate::change::Change;
use crate::shard::{LOG, Shard, head};
use cairn_storage::check::{CheckStep, Found, LogCheck, LogCheckStep, LogReport, PagesCheck, PagesReport, Part, RowAt};
use cairn_storage::error::Fault;
use cairn_storage::limits::{CHECK_FINDINGS_MAX, CHECK_READS_MAX, LOG_FAULTS_MAX, PAGE_BYTES};
use cairn_storage::log::flush::Flush;
use cairn_storage::log::{LogStart, SegmentFile};
use cairn_storage::pagefile::{Bounds, PageFileConfig};
use cairn_storage::units::{Lsn, SegmentId, Site};

fn config() -> PageFileConfig {
    PageFileConfig {
        shard: LOG.shard,
        salt: LOG.salt,
        segment_bytes: LOG.segment_bytes,
        grow_bytes: 1 << 18,
        bounds: Bounds::default(),
        planted: None,
    }
}

/// Reads are answered from the last one asked to the first, `failing` not at all.
fn check_pages(shard: &Shard, failing: Option<u64>) -> (PagesReport, LogStart) {
    let is_place = |row: RowAt<'_>| row.key.is_none_or(|key| head(key) == row.head);
    let mut check = PagesCheck::new(config(), shard.pages.len, Box::new(is_place));
    let mut flying = Vec::new();
    loop {
        match check.step() {
            CheckStep::Read { number, offset, len } => {
                flying.push((number, offset, len));
                assert!(flying.len() <= CHECK_READS_MAX);
            }
            CheckStep::Wait => {
                let (number, offset, len) = flying.pop().unwrap();
                let bytes = shard.pages.read(offset, len as usize);
                let fails = failing.is_some_and(|at| at >= offset && at < offset + u64::from(len));
                check.supply(number, if fails { Err(5) } else { Ok(&bytes) });
            }
            CheckStep::Done => {
                let start = check.log_start();
                return (check.finish(), start);
            }
        }
    }
}

fn check_log(shard: &Shard, start: LogStart) -> LogReport {
    let mut check = LogCheck::new(LOG, shard.log.list(), start, Box::new(|_, _| {}));
    loop {
        match check.step() {
            LogCheckStep::Read { segment, offset, len } => match shard.log.read(segment, offset, len) {
                Ok(bytes) => check.supply(&bytes),
                Err(errno) => check.failed(errno),
            },
            LogCheckStep::Done => return check.finish(),
        }
    }
}

/// Rows of all kinds, in two databases and over several levels, with two checkpoints on disk and some log behind.
fn shard() -> Shard {
    let mut shard = Shard::new(11, 200, None);
    let key = |number: u32| {
        let len = if number.is_multiple_of(97) { 700 } else { 1 };
        format!("row-{number}-{}", "k".repeat(len)).into_bytes()
    };
    for round in 0..3_u64 {
        for number in 0..900 {
            let len = if number % 60 == 7 { 20_000 } else { 300 };
            let expire_ms = if number % 9 == 0 { 1000 + u64::from(number) } else { 0 };
            if round == 0 || number % 5 == 0 {
                let value = vec![round as u8; len];
                shard.change(Change::Put((number % 2) as u8, key(number), expire_ms, value)).unwrap();
            }
        }
        shard.checkpoint().unwrap();
    }
    for number in 0..40 {
        shard.change(Change::Put(0, key(2 * number), 0, vec![9; 50])).unwrap();
    }
    shard.settle().unwrap();
    shard
}

#[test]
fn what_is_sound_is_said_to_be() {
    let shard = shard();
    let (report, start) = check_pages(&shard, None);
    assert_eq!(report.findings, []);
    let durable = shard.engine.page_file().unwrap().durable().clone();
    assert_eq!((report.generation, report.generation_older), (durable.generation, durable.generation - 1));
    assert_eq!(report.sites_used + report.sites_older + report.sites_free, report.sites);
    assert!(report.sites_older > 0 && report.sites_free > 0 && report.orphans == 0);
    let rows: u64 = report.trees.iter().take(2).map(|tree| tree.rows).sum();
    assert_eq!((rows, report.trees.len(), report.trees[0].levels), (900, 3, 2));
    assert_eq!(report.trees.iter().map(|tree| tree.expiring).sum::<u64>(), 100);
    assert!(report.extents > 15);
    let numbers = shard.engine.page_file().unwrap().numbers();
    assert_eq!(report.sites, numbers.sites);

    let log = check_log(&shard, start);
    assert_eq!((log.fault, log.start, log.tail_bytes), (None, start.lsn, 0));
    assert!(log.records > 40 && start.lsn < durable.lsn() && log.end > durable.lsn());
}

#[test]
fn damage_to_what_is_in_use_is_named_and_to_the_rest_is_none() {
    let mut shard = shard();
    let (sound, _) = check_pages(&shard, None);
    let mut in_use = 0;
    let (mut with_keys, mut of_older) = (0, 0);
    for site in 0..sound.sites {
        let at = site * PAGE_BYTES as u64 + 40;
        shard.pages.flip(at, 4);
        let (report, _) = check_pages(&shard, None);
        shard.pages.flip(at, 4);
        let Some(finding) = report.findings.first() else { continue };
        in_use += 1;
        // An extent is one thing, wherever in it the damage is.
        let is_extent = matches!(finding.part, Part::Extent(_));
        assert!(is_extent || finding.site == Some(Site(site as u32)), "{finding:?} for site {site}");
        if let Part::Page { tree: Some(_), .. } = finding.part {
            let range = finding.range.as_ref().expect("of a page of a tree the keys are known");
            let is_below = |low: &cairn_storage::check::KeyBuf, high: &cairn_storage::check::KeyBuf| {
                (low.head, &low.tail) < (high.head, &high.tail)
            };
            assert!(range.high.as_ref().is_none_or(|high| is_below(&range.low, high)));
            assert!(range.before.as_ref().is_none_or(|before| is_below(before, &range.low)));
            with_keys += u32::from(range.before.is_some() || range.after.is_some());
        }
        of_older += u32::from(!finding.is_newest);
    }
    // A bit of an extent's padding may flip unseen, and what stands at free sites means nothing.
    let all = sound.sites_used + sound.sites_older;
    assert!(in_use <= all && in_use + sound.extents >= all, "{in_use} of {all}");
    assert!(with_keys > 20 && of_older > 5, "{with_keys} {of_older}");
}

#[test]
fn a_page_that_cannot_be_read_does_not_take_its_neighbours_with_it() {
    let shard = shard();
    let (sound, _) = check_pages(&shard, None);
    for site in (2..sound.sites).step_by(7) {
        let (report, _) = check_pages(&shard, Some(site * PAGE_BYTES as u64));
        let unreadable: Vec<_> = report.findings.iter().filter(|finding| finding.errno == Some(5)).collect();
        assert!(unreadable.len() <= 1, "{unreadable:?}");
        let is_extent = |finding: &&cairn_storage::check::Finding| matches!(finding.part, Part::Extent(_));
        assert!(unreadable.iter().all(|it| is_extent(it) || it.site == Some(Site(site as u32))), "{unreadable:?}");
    }
}

#[test]
fn superblocks_are_told_apart() {
    let mut shard = shard();
    let newest = shard.engine.page_file().unwrap().durable().clone();
    let at = |generation: u32| u64::from(generation % 2) * PAGE_BYTES as u64 + 100;
    shard.pages.flip(at(newest.generation), 1);
    let (report, start) = check_pages(&shard, None);
    assert_eq!((report.generation, report.generation_older), (newest.generation - 1, 0));
    assert!(matches!(report.superblocks[newest.generation as usize % 2], Found::Damaged(_)));
    assert_eq!((report.findings.len(), report.findings[0].part), (1, Part::Superblock));
    // What is needed of the log is there: nothing is lost.
    assert_eq!(check_log(&shard, start).fault, None);
    shard.pages.flip(at(newest.generation - 1), 1);
    let (report, start) = check_pages(&shard, None);
    assert_eq!((report.generation, report.findings.len(), start.lsn), (0, 2, Lsn(0)));
    assert_eq!(report.sites_free, report.sites - 2);
}

#[test]
fn a_log_that_lost_something_acknowledged_is_refused_and_a_torn_end_is_not() {
    let mut shard = shard();
    let (_, start) = check_pages(&shard, None);
    let sound = check_log(&shard, start);
    let segment = sound.end.0 / LOG.segment_bytes;
    let offset = (sound.end.0 % LOG.segment_bytes) as usize;
    // A write that was under way: its end was lost.
    let (lsn, durable) = (sound.end, start.lsn);
    let incarnation = shard.engine.log().incarnation();
    let flush = Flush { shard: LOG.shard, incarnation, epoch: LOG.epoch, lsn, durable, payload: 5000, carry: 0 };
    let mut torn = vec![7; 8192];
    flush.encode(LOG.salt, &mut torn);
    let file = shard.log.files.get_mut(&segment).unwrap();
    file.bytes[offset..offset + 4096].copy_from_slice(&torn[..4096]);
    // Behind it something that the segment held as another one.
    let elsewhere = Flush { lsn: Lsn(lsn.0 - 4096), ..flush };
    elsewhere.encode(LOG.salt, &mut torn);
    file.bytes[offset + 8192..offset + 16384].copy_from_slice(&torn);
    let torn = check_log(&shard, start);
    assert_eq!((torn.fault, torn.end, torn.tail_bytes), (None, sound.end, 8192));
    // One that was acknowledged.
    let file = shard.log.files.get_mut(&(start.lsn.0 / LOG.segment_bytes)).unwrap();
    file.bytes[start.lsn.0 as usize % LOG.segment_bytes as usize / 4096 * 4096 + 100] ^= 1;
    let fault = check_log(&shard, start).fault.expect("it was acknowledged");
    assert!(fault.to_string().contains("is damaged: segment"), "{fault}");
}

#[test]
fn damage_to_several_segments_is_named_segment_by_segment() {
    let mut shard = Shard::new(17, 400, None);
    for number in 0..5000_u32 {
        shard
            .change(Change::Put(0, format!("row-{}", number % 500).into_bytes(), 0, vec![number as u8; 1000]))
            .unwrap();
        if number % 20 == 0 {
            shard.engine.log_mut().seal();
            shard.turn_io().unwrap();
        }
    }
    shard.drain_log().unwrap();
    assert_eq!(check_log(&shard, LogStart::default()).fault, None);
    let segments: Vec<u64> = shard.log.files.keys().copied().collect();
    assert!(segments.len() > 4 && segments[0] == 0, "{segments:?}");
    // In the second, twice in the third, and the fourth is gone.
    let mut flip = |segment: u64, at: f64| {
        let flush = shard.log.stable.iter().map(|flush| flush.lsn.0);
        let wanted = segment * LOG.segment_bytes + (at * LOG.segment_bytes as f64) as u64;
        let lsn = flush.filter(|lsn| *lsn >= wanted).min().unwrap();
        shard.log.flip(SegmentId(segment), lsn % LOG.segment_bytes + 60, 1);
        Lsn(lsn)
    };
    let (second, third, _) = (flip(1, 0.5), flip(2, 0.1), flip(2, 0.7));
    shard.log.files.remove(&3);
    let report = check_log(&shard, LogStart::default());
    assert!(matches!(report.fault, Some(Fault::Corrupt { lsn, .. }) if lsn == second), "{report:?}");
    let behind = &report.faults_behind[..];
    let is_named = matches!(behind, [
        Fault::Corrupt { lsn, .. },
        Fault::SegmentAbsent { segment: SegmentId(3), .. }
    ] if *lsn == third);
    assert!(is_named, "{report:?}");
}

#[test]
fn findings_are_listed_up_to_a_bound_and_counted_beyond() {
    let mut shard = Shard::new(19, 3000, None);
    for number in 0..4000_u32 {
        let key = format!("row-{number}").into_bytes();
        shard.change(Change::Put(0, key, 0, vec![number as u8; 2000])).unwrap();
    }
    shard.checkpoint().unwrap();
    let (sound, _) = check_pages(&shard, None);
    let mut damaged = 0;
    for site in 2..sound.sites {
        if (CHECK_FINDINGS_MAX - 1..=CHECK_FINDINGS_MAX + 1).contains(&damaged) {
            let (report, _) = check_pages(&shard, None);
            let left_out = damaged.saturating_sub(CHECK_FINDINGS_MAX);
            assert_eq!((report.findings.len(), report.findings_left_out), (damaged - left_out, left_out as u64));
        }
        if damaged > CHECK_FINDINGS_MAX {
            return;
        }
        // Leaves only, by kind and version, so that what is above them still leads to all.
        let at = site * PAGE_BYTES as u64;
        let image = shard.pages.read(at, PAGE_BYTES);
        if image[16..18] == [1, 1] {
            shard.pages.flip(at + 40, 4);
            damaged += 1;
        }
    }
    panic!("there are {damaged} leaves only");
}

#[test]
fn damage_of_a_log_is_listed_up_to_a_bound_and_then_the_check_says_that_it_ends() {
    for (segments, is_cut_short) in [(LOG_FAULTS_MAX, false), (LOG_FAULTS_MAX + 1, false), (LOG_FAULTS_MAX + 2, true)] {
        let file = |segment| SegmentFile { segment: SegmentId(segment), bytes: LOG.segment_bytes };
        let mut check =
            LogCheck::new(LOG, (0..segments as u64).map(file).collect(), LogStart::default(), Box::new(|_, _| {}));
        while let LogCheckStep::Read { .. } = check.step() {
            check.failed(5);
        }
        let report = check.finish();
        assert!(matches!(report.fault, Some(Fault::Read { segment: SegmentId(0), errno: 5, .. })), "{report:?}");
        let behind = report.faults_behind.len();
        assert_eq!((behind, report.is_cut_short), (LOG_FAULTS_MAX.min(segments - 1), is_cut_short), "{segments}");
    }
}
