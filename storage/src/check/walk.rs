//! The trees: every page from the roots on, each judged by itself and by what its parent says of it.

use super::bits::Bits;
use super::finding::{Finding, KeyBuf, KeyRange, Part, TreeName};
use super::report::TreeReport;
use super::{Flight, Look, PagesCheck, Phase, RowAt, UNREADABLE};
use crate::engine::elements::is_elements;
use crate::limits::{CHECK_LEAVES_MAX, LEVELS_MAX, TREES};
use crate::page::{Key, Kind, Page};
use crate::pagefile::image;
use crate::pagefile::map::{crc_of, site_of};
use crate::pagefile::{Superblock, TreeRoot};
use crate::pool::Frame;
use crate::row::{self, Header};
use crate::tree::{check_bundle, check_heap};
use crate::units::{PageId, Site};
use core::ops::ControlFlow;

/// A page of a tree that is to be looked at, and what is known of it from above.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub page: PageId,
    tree: u8,
    level: u8,
    low: KeyBuf,
    high: Option<KeyBuf>,
    /// Its neighbours of the same parent.
    before: Option<PageId>,
    after: Option<PageId>,
}

/// What is known of the trees so far.
#[derive(Default)]
pub(super) struct Trees {
    roots: Vec<TreeRoot>,
    counts: Vec<Count>,
    /// The last one is looked at next.
    branches: Vec<Node>,
    branches_in_flight: usize,
    leaves: Vec<Node>,
    pub reached: Bits,
    /// Extents that rows refer to, and those whose row has a long key.
    pub referred: Bits,
    pub is_long: Bits,
    /// Findings about leaves whose neighbours are to be asked.
    neighbours: Vec<(usize, bool, PageId)>,
    scratch: Option<Box<[Frame]>>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    pages: u64,
    leaves: u64,
    rows: u64,
    bytes: u64,
    expiring: u64,
    outside: u64,
    /// A part could not be looked at.
    is_cut: bool,
}

/// The number of the tree of deadlines among the trees.
const DEADLINES: usize = TREES;

fn name(tree: u8) -> TreeName {
    if usize::from(tree) == DEADLINES { TreeName::Deadlines } else { TreeName::Rows(tree) }
}

impl Trees {
    /// Whether every page of every tree was looked at.
    pub(super) fn is_whole(&self) -> bool {
        self.counts.iter().all(|count| !count.is_cut)
    }
}

impl PagesCheck {
    pub(super) fn begin_trees(&mut self) -> Phase {
        let superblock = &self.found[0];
        let roots: Vec<TreeRoot> = superblock.rows.iter().chain([&superblock.deadlines]).copied().collect();
        self.trees.counts = vec![Count::default(); roots.len()];
        self.trees.reached = Bits::new(self.maps.pages.len());
        self.trees.referred = Bits::new(self.maps.extents.len() / 2);
        self.trees.is_long = Bits::new(self.maps.extents.len() / 2);
        self.trees.scratch = Some(bytemuck::zeroed_slice_box(1));
        for (root, tree) in roots.iter().zip(0..).filter(|(root, _)| root.levels > 0) {
            let (low, high) = (KeyBuf::default(), None);
            if usize::from(root.levels) > LEVELS_MAX {
                self.note(Finding::at(Part::Tree(name(tree)), None, "it has more levels than a tree can have"));
                self.trees.counts[usize::from(tree)].is_cut = true;
                continue;
            }
            let node = Node { page: root.page(), tree, level: root.levels, low, high, before: None, after: None };
            self.reach(node, None);
        }
        self.trees.roots = roots;
        Phase::Trees
    }

    /// Something leads to a page. `parent` is for saying what.
    fn reach(&mut self, node: Node, parent: Option<PageId>) {
        let index = node.page.0 as usize;
        let count = &mut self.trees.counts[usize::from(node.tree)];
        if !self.maps.is_known(false, index) {
            count.is_cut = true;
            return;
        }
        let trouble = if site_of(self.maps.page(node.page)).0 == 0 {
            "a branch leads to it, and the map does not have it"
        } else if !self.trees.reached.set(index) {
            "two branches lead to it"
        } else {
            if node.level > 1 {
                self.trees.branches.push(node)
            } else {
                self.trees.leaves.push(node)
            }
            return;
        };
        count.is_cut = true;
        let site = parent.map(|parent| site_of(self.maps.page(parent)));
        let finding = self.finding_of(&node, site, trouble);
        self.note(finding);
    }

    /// The next page of a tree that is to be read. Leaves are read when there are many, or nothing else.
    pub(super) fn next_node(&mut self) -> Option<Flight> {
        let trees = &mut self.trees;
        let is_over = trees.branches.is_empty() && trees.branches_in_flight == 0;
        if trees.leaves.len() >= CHECK_LEAVES_MAX || is_over && !trees.leaves.is_empty() {
            let leaves = std::mem::take(&mut trees.leaves);
            let looks = leaves.into_iter().map(|node| (site_of(self.maps.page(node.page)), Look::Node(node)));
            let looks = looks.collect();
            self.read_sorted(looks);
            return self.ready.pop();
        }
        let node = trees.branches.pop()?;
        trees.branches_in_flight += 1;
        Some(Flight::Pages { first: site_of(self.maps.page(node.page)), looks: vec![Look::Node(node)] })
    }

    pub(super) fn on_node(&mut self, node: Node, image: Result<&[u8], i32>) {
        self.report.images += 1;
        self.trees.branches_in_flight -= usize::from(node.level > 1);
        let word = self.maps.page(node.page);
        let verified = image.map_err(|errno| (UNREADABLE, Some(errno))).and_then(|image| {
            let verified = image::verify(image, self.config.salt, node.page.0, crc_of(word));
            verified.map(|()| image).map_err(|what| (what, None))
        });
        let (what, errno) = match verified {
            Ok(image) => {
                let mut scratch = self.trees.scratch.take().expect("it is put back below");
                bytemuck::cast_slice_mut::<Frame, u8>(&mut scratch).copy_from_slice(image);
                let judged = self.judge(&node, &scratch[0].page);
                self.trees.scratch = Some(scratch);
                match judged {
                    Ok(()) => return,
                    Err(what) => (what, None),
                }
            }
            Err(trouble) => trouble,
        };
        self.trees.counts[usize::from(node.tree)].is_cut = true;
        let finding = Finding { errno, ..self.finding_of(&node, Some(site_of(word)), what) };
        let at = self.report.findings.len();
        self.note(finding);
        if self.report.findings.len() > at && node.level == 1 {
            let both = [(true, node.before), (false, node.after)];
            let asked = both.into_iter().filter_map(|(is_before, page)| Some((at, is_before, page?)));
            self.trees.neighbours.extend(asked);
        }
    }

    fn finding_of(&self, node: &Node, site: Option<Site>, what: &'static str) -> Finding {
        let part = Part::Page { tree: Some(name(node.tree)), page: node.page };
        let range = KeyRange { low: node.low.clone(), high: node.high.clone(), before: None, after: None };
        Finding { range: Some(Box::new(range)), ..Finding::at(part, site, what) }
    }

    /// Whether a page whose image is sound is what it has to be. Goes on to what it leads to.
    fn judge(&mut self, node: &Node, page: &Page) -> Result<(), &'static str> {
        let is_counted = usize::from(node.tree) != DEADLINES && is_elements(node.tree);
        let kind = match (node.level, is_counted) {
            (1, _) => Kind::Leaf,
            (_, false) => Kind::Branch,
            (_, true) => Kind::Counted,
        };
        ensure(page.kind() == Some(kind), "it is of the wrong kind for its level")?;
        ensure(page.count() > 0, "it is empty")?;
        check_heap(page)?;
        let (low, high) = (node.low.key(), node.high.as_ref().map(KeyBuf::key));
        for index in 0..page.count() {
            let key = page.key(index);
            let is_open = kind != Kind::Leaf && index == 0;
            ensure(!is_open || key == Key::MIN, "its first separator is not (0, empty)")?;
            ensure(index == 0 || page.key(index - 1) < key, "its keys do not ascend")?;
            ensure(is_open || low <= key, "it has a key below its parent's separator")?;
            ensure(high.is_none_or(|high| key < high), "it has a key beyond its parent's next separator")?;
        }
        let count = &mut self.trees.counts[usize::from(node.tree)];
        count.pages += 1;
        if kind == Kind::Leaf {
            count.leaves += 1;
            return self.judge_rows(node, page);
        }
        for index in (0..page.count()).rev() {
            let low = if index == 0 { node.low.clone() } else { KeyBuf::new(page.key(index)) };
            let is_last = index + 1 == page.count();
            let high = if is_last { node.high.clone() } else { Some(KeyBuf::new(page.key(index + 1))) };
            let before = (index > 0).then(|| page.child(index - 1));
            let after = (!is_last).then(|| page.child(index + 1));
            let child =
                Node { page: page.child(index), tree: node.tree, level: node.level - 1, low, high, before, after };
            self.reach(child, Some(node.page));
        }
        Ok(())
    }

    fn judge_rows(&mut self, node: &Node, page: &Page) -> Result<(), &'static str> {
        let mut found = Ok(());
        for index in 0..page.count() {
            let (key, payload) = (page.key(index), page.payload(index));
            let count = &mut self.trees.counts[usize::from(node.tree)];
            count.rows += page.slot(index).rows() as u64;
            count.bytes += crate::tree::row_bytes(key.tail.len(), payload.len()) as u64;
            let judged = if usize::from(node.tree) == DEADLINES {
                ensure(payload.is_empty() && key.tail.len() == 9, "an entry of the deadlines is not one")
            } else {
                self.judge_entry(node, page, index)
            };
            found = found.and(judged);
        }
        found
    }

    /// Judges the rows of an entry of a leaf.
    fn judge_entry(&mut self, node: &Node, page: &Page, index: usize) -> Result<(), &'static str> {
        let is_counted = is_elements(node.tree);
        ensure(is_counted || page.slot(index).bundled() == 0, "it has a bundle")?;
        let next = (index + 1 < page.count()).then(|| page.key(index + 1));
        check_bundle(page, index, next.or(node.high.as_ref().map(KeyBuf::key)))?;
        let mut found = Ok(());
        _ = page.visit_entry(index, 0, |key, payload| {
            found = found.and(self.judge_row(node.tree, key, payload));
            ControlFlow::Continue(())
        });
        found
    }

    fn judge_row(&mut self, tree: u8, key: Key<'_>, payload: &[u8]) -> Result<(), &'static str> {
        ensure(!payload.is_empty(), "a row has no header")?;
        let (header, rest) = Header::decode(payload);
        ensure(header.bytes() + rest.len() == payload.len(), "a row's header is cut off")?;
        let count = &mut self.trees.counts[usize::from(tree)];
        count.expiring += u64::from(header.expire_ms != 0);
        count.outside += u64::from(header.is_outside);
        let is_long = row::is_long(key.tail);
        let (tail, value) = ((!is_long).then_some(key.tail), (!header.is_outside).then_some(rest));
        let row = RowAt { db: tree, head: key.head, key: tail, value };
        ensure((self.is_place)(row), "a row's key belongs elsewhere")?;
        if !header.is_outside {
            return ensure(!is_long, "a row with a long key has no extent");
        }
        ensure(rest.len() == 4, "a row names no extent")?;
        let extent = row::extent_of(rest);
        let at = extent.0 as usize;
        if !self.maps.is_known(true, 2 * at) {
            return Ok(());
        }
        ensure(self.extent_word(extent) != 0, "a row's extent is not in the map")?;
        ensure(self.trees.referred.set(at), "two rows have the same extent")?;
        if is_long {
            self.trees.is_long.set(at);
        }
        Ok(())
    }

    /// Compares what was counted with what the superblock says.
    pub(super) fn compare_counts(&mut self) {
        let Some(Superblock { expiring, outside, .. }) = self.found.first().cloned() else { return };
        for at in 0..self.trees.counts.len() {
            let (count, root, tree) = (self.trees.counts[at], self.trees.roots[at], name(at as u8));
            let said = |counts: &[u64]| counts.get(at).copied().unwrap_or(0);
            let pairs = [
                (root.pages, count.pages, "its pages are not as many as the superblock says"),
                (root.rows, count.rows, "its rows are not as many as the superblock says"),
                (root.bytes, count.bytes, "its rows are not as long as the superblock says"),
                (said(&expiring), count.expiring, "rows that expire are not as many as the superblock says"),
                (said(&outside), count.outside, "rows with extents are not as many as the superblock says"),
            ];
            for (said, counted, what) in pairs {
                if said != counted && !count.is_cut {
                    let counts = Some((said, counted));
                    self.note(Finding { counts, ..Finding::at(Part::Tree(tree), None, what) });
                }
            }
            if root.levels > 0 {
                let Count { pages, leaves, rows, bytes, expiring, outside, .. } = count;
                let levels = root.levels;
                self.report.trees.push(TreeReport { tree, levels, pages, leaves, rows, bytes, expiring, outside });
            }
        }
    }

    /// The neighbours of damaged leaves are asked for the keys that are next to the damage.
    pub(super) fn begin_neighbours(&mut self) -> Phase {
        let asked = std::mem::take(&mut self.trees.neighbours);
        let asked = asked.into_iter().filter(|(_, _, page)| site_of(self.maps.page(*page)).0 != 0);
        self.ready = asked.map(|(finding, is_before, page)| Flight::Neighbour { finding, is_before, page }).collect();
        Phase::Neighbours
    }

    pub(super) fn on_neighbour(&mut self, at: usize, is_before: bool, page: PageId, image: Result<&[u8], i32>) {
        let crc = crc_of(self.maps.page(page));
        let Some(image) = image.ok().filter(|image| image::verify(image, self.config.salt, page.0, crc).is_ok()) else {
            return;
        };
        let mut scratch = self.trees.scratch.take().expect("it is put back below");
        bytemuck::cast_slice_mut::<Frame, u8>(&mut scratch).copy_from_slice(image);
        let leaf = &scratch[0].page;
        if leaf.kind() == Some(Kind::Leaf) && leaf.count() > 0 && check_heap(leaf).is_ok() {
            let index = if is_before { leaf.count() - 1 } else { 0 };
            let key = Some(KeyBuf::new(leaf.key(index)));
            if let Some(range) = &mut self.report.findings[at].range {
                *(if is_before { &mut range.before } else { &mut range.after }) = key;
            }
        }
        self.trees.scratch = Some(scratch);
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}
