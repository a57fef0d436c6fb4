//! The dependencies of a history, as few edges as say everything, and in the order of time few nodes more: who ended stands before
//! a *barrier*, barriers stand in a chain, and who begins stands behind the last barrier. So the order of time has a number of edges that
//! is linear in the transactions.

use super::versions::{NONE, Versions};
use super::{ListHistory, Op};
use crate::verify::span::Span;

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Edge {
    Ww = 0,
    Wr = 1,
    Rw = 2,
    /// From a transaction to the barrier behind its end.
    Rt = 3,
    /// From a barrier to the next one, or to a transaction that began behind it.
    Free = 4,
}

/// Some kinds of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges(u8);

impl Edges {
    pub const WW: Edges = Edges(1 | Edges::FREE);
    pub const WW_WR: Edges = Edges(0b11 | Edges::FREE);
    pub const WW_WR_RW: Edges = Edges(0b111 | Edges::FREE);
    /// No way leads to a barrier without an edge of time, so those behind barriers never hurt.
    const FREE: u8 = 1 << Edge::Free as u8;

    pub const fn with_time(self) -> Edges {
        Edges(self.0 | 1 << Edge::Rt as u8)
    }

    pub fn has(self, edge: Edge) -> bool {
        self.0 & 1 << edge as u8 != 0
    }
}

const EDGES: [Edge; 5] = [Edge::Ww, Edge::Wr, Edge::Rw, Edge::Rt, Edge::Free];
const EDGE_BITS: u32 = 3;

/// Edges by the node where they begin.
pub struct Graph {
    /// Nodes below are transactions, the others barriers.
    pub txns: u32,
    begins: Vec<u32>,
    /// The node where it ends, above its kind.
    ends: Vec<u32>,
}

impl Graph {
    pub fn nodes(&self) -> u32 {
        self.begins.len() as u32 - 1
    }

    pub fn degree(&self, node: u32) -> u32 {
        self.begins[node as usize + 1] - self.begins[node as usize]
    }

    /// The edge of `node` with this number.
    #[inline]
    pub fn edge(&self, node: u32, number: u32) -> (u32, Edge) {
        let end = self.ends[(self.begins[node as usize] + number) as usize];
        (end >> EDGE_BITS, EDGES[(end & ((1 << EDGE_BITS) - 1)) as usize])
    }

    pub fn edges(&self, node: u32) -> impl Iterator<Item = (u32, Edge)> {
        (0..self.degree(node)).map(move |number| self.edge(node, number))
    }

    pub fn from_list(txns: u32, nodes: u32, list: &[(u32, u32)]) -> Graph {
        assert!(nodes < 1 << (32 - EDGE_BITS), "a history has fewer than 2^28 transactions");
        let mut begins = vec![0_u32; nodes as usize + 1];
        list.iter().for_each(|(from, _)| begins[*from as usize + 1] += 1);
        for node in 0..nodes as usize {
            begins[node + 1] += begins[node];
        }
        let mut places = begins.clone();
        let mut ends = vec![0; list.len()];
        for &(from, end) in list {
            let place = &mut places[from as usize];
            ends[*place as usize] = end;
            *place += 1;
        }
        Graph { txns, begins, ends }
    }
}

/// Where an edge ends, with its kind.
pub fn end(node: u32, edge: Edge) -> u32 {
    node << EDGE_BITS | edge as u32
}

/// The dependencies of a history.
pub fn of(history: &ListHistory, versions: &Versions) -> Graph {
    let mut list = Vec::new();
    writes(history, versions, &mut list);
    reads(history, versions, &mut list);
    let nodes = time(history, versions, &mut list);
    Graph::from_list(history.txns.len() as u32, nodes, &list)
}

/// Who appended to a key, and was not seen there though it happened: behind all that was seen.
fn unseen(history: &ListHistory, versions: &Versions) -> Vec<(u32, u32)> {
    let mut unseen = Vec::new();
    for txn in (0..history.txns.len() as u32).filter(|txn| versions.is_real[*txn as usize]) {
        for (key, element) in history.appends(txn) {
            if versions.position[element as usize] == NONE {
                unseen.push((key, txn));
            }
        }
    }
    unseen.sort_unstable();
    unseen.dedup();
    unseen
}

fn of_key(unseen: &[(u32, u32)], key: u32) -> &[(u32, u32)] {
    let begin = unseen.partition_point(|(of, _)| *of < key);
    let len = unseen[begin..].partition_point(|(of, _)| *of == key);
    &unseen[begin..begin + len]
}

fn writes(history: &ListHistory, versions: &Versions, list: &mut Vec<(u32, u32)>) {
    let unseen = unseen(history, versions);
    for (key, order) in versions.order.iter().enumerate() {
        for pair in order.windows(2) {
            let (from, to) = (versions.writer(pair[0]), versions.writer(pair[1]));
            if from != to && from != NONE && to != NONE {
                list.push((from, end(to, Edge::Ww)));
            }
        }
        let last = order.last().map_or(NONE, |last| versions.writer(*last));
        for &(_, to) in of_key(&unseen, key as u32).iter().filter(|(_, to)| last != NONE && *to != last) {
            list.push((last, end(to, Edge::Ww)));
        }
    }
    for (txn, key, read) in history.reads() {
        if read.len() == versions.order[key as usize].len() && versions.order[key as usize].starts_with(read) {
            for &(_, to) in of_key(&unseen, key).iter().filter(|(_, to)| *to != txn) {
                list.push((txn, end(to, Edge::Rw)));
            }
        }
    }
}

fn reads(history: &ListHistory, versions: &Versions, list: &mut Vec<(u32, u32)>) {
    for txn in 0..history.txns.len() as u32 {
        for op in history.ops(txn) {
            let Op::Read { key, begin, len } = *op else { continue };
            let (order, read) = (versions.order[key as usize], history.list(begin, len));
            if !order.starts_with(read) {
                continue;
            }
            let from = read.last().map_or(NONE, |last| versions.writer(*last));
            if from != NONE && from != txn {
                list.push((from, end(txn, Edge::Wr)));
            }
            let to = order.get(read.len()).map_or(NONE, |next| versions.writer(*next));
            if to != NONE && to != txn {
                list.push((txn, end(to, Edge::Rw)));
            }
        }
    }
}

/// The order of time. The number of all nodes.
fn time(history: &ListHistory, versions: &Versions, list: &mut Vec<(u32, u32)>) -> u32 {
    let is_real = |txn: &u32| versions.is_real[*txn as usize];
    let span = |txn: u32| &history.txns[txn as usize].span;
    let mut begun: Vec<u32> = (0..history.txns.len() as u32).filter(is_real).collect();
    let mut ended: Vec<u32> = begun.iter().copied().filter(|txn| span(*txn).completed != Span::OPEN).collect();
    begun.sort_unstable_by_key(|txn| span(*txn).invoked);
    ended.sort_unstable_by_key(|txn| span(*txn).completed);
    let first = history.txns.len() as u32;
    let mut barriers = first;
    let mut ended = ended.into_iter().peekable();
    for txn in begun {
        let invoked = span(txn).invoked;
        let mut is_new = true;
        while let Some(before) = ended.next_if(|before| span(*before).completed < invoked) {
            if is_new && barriers > first {
                list.push((barriers - 1, end(barriers, Edge::Free)));
            }
            barriers += u32::from(is_new);
            is_new = false;
            list.push((before, end(barriers - 1, Edge::Rt)));
        }
        if barriers > first {
            list.push((barriers - 1, end(txn, Edge::Free)));
        }
    }
    barriers
}
