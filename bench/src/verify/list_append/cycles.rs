//! Cycles of dependencies: whether there are any (strongly connected components, after Tarjan, without recursion), and of each component a
//! small one with its name. What is worse is looked for first: cycles of writes, then those with reads, then those with one read that
//! missed a write, then all others; first without the order of time, then with it.

use super::graph::{Edge, Edges, Graph, end};
use crate::verify::anomaly::Kind;
use crate::verify::limits::{ANOMALIES_MAX, CYCLE_STEPS_MAX};
use std::collections::{HashMap, VecDeque};

/// One transaction before another. The edge is never [`Edge::Free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: u32,
    pub to: u32,
    pub edge: Edge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub kind: Kind,
    pub steps: Vec<Step>,
}

/// Where a cycle is looked for from, in a component.
const STARTS_MAX: usize = 64;

/// A cycle of each of the smallest components.
pub fn find(graph: &Graph) -> Vec<Cycle> {
    let mut components = components(graph, Edges::WW_WR_RW.with_time());
    components.sort_by_key(Vec::len);
    components.truncate(ANOMALIES_MAX);
    components.into_iter().map(|nodes| Part::of(graph, nodes).worst()).collect()
}

/// The strongly connected components of the graph with these edges, but for those of one node.
fn components(graph: &Graph, edges: Edges) -> Vec<Vec<u32>> {
    const UNSEEN: u32 = 0;
    let nodes = graph.nodes() as usize;
    // When a node was met, from 1 on, and the earliest that it leads to; what is in a component already leads nowhere.
    let (mut met, mut low) = (vec![UNSEEN; nodes], vec![UNSEEN; nodes]);
    let (mut clock, mut open, mut found) = (0, Vec::new(), Vec::new());
    // A node, and the number of its edge that is next.
    let mut path: Vec<(u32, u32)> = Vec::new();
    for root in 0..nodes as u32 {
        if met[root as usize] != UNSEEN {
            continue;
        }
        path.push((root, 0));
        while let Some((node, number)) = path.last_mut() {
            let at = *node as usize;
            if *number == 0 && met[at] == UNSEEN {
                clock += 1;
                (met[at], low[at]) = (clock, clock);
                open.push(at as u32);
            }
            if *number < graph.degree(*node) {
                let (to, edge) = graph.edge(*node, *number);
                *number += 1;
                if edges.has(edge) {
                    match met[to as usize] {
                        UNSEEN => path.push((to, 0)),
                        _ => low[at] = low[at].min(low[to as usize]),
                    }
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[*parent as usize] = low[*parent as usize].min(low[at]);
            }
            if low[at] == met[at] {
                let begin = open.iter().rposition(|node| *node as usize == at).expect("a node that was met is open");
                open[begin..].iter().for_each(|node| low[*node as usize] = u32::MAX);
                if open.len() - begin > 1 {
                    found.push(open[begin..].to_vec());
                }
                open.truncate(begin);
            }
        }
    }
    found
}

/// A component by itself, with numbers of its own.
struct Part {
    graph: Graph,
    /// By number: the node of the whole graph.
    nodes: Vec<u32>,
    steps_left: u64,
}

impl Part {
    fn of(whole: &Graph, mut nodes: Vec<u32>) -> Part {
        // Transactions stay before barriers.
        nodes.sort_unstable();
        let numbers: HashMap<u32, u32> =
            nodes.iter().enumerate().map(|(number, node)| (*node, number as u32)).collect();
        let mut list = Vec::new();
        for (number, &node) in nodes.iter().enumerate() {
            let inner = whole.edges(node).filter_map(|(to, edge)| Some(end(*numbers.get(&to)?, edge)));
            list.extend(inner.map(|end| (number as u32, end)));
        }
        let txns = nodes.partition_point(|node| *node < whole.txns);
        let graph = Graph::from_list(txns as u32, nodes.len() as u32, &list);
        Part { graph, nodes, steps_left: CYCLE_STEPS_MAX }
    }

    fn worst(mut self) -> Cycle {
        for is_timed in [false, true] {
            let timed = |edges: Edges| if is_timed { edges.with_time() } else { edges };
            let found = self
                .smallest(timed(Edges::WW))
                .or_else(|| self.smallest(timed(Edges::WW_WR)))
                .or_else(|| self.single(timed(Edges::WW_WR)))
                .or_else(|| self.smallest(timed(Edges::WW_WR_RW)));
            if let Some(path) = found {
                return self.named(&path);
            }
        }
        unreachable!("a component has a cycle")
    }

    /// The smallest cycle of these edges that a bounded search finds; `None` if there is none at all.
    fn smallest(&mut self, edges: Edges) -> Option<Vec<(u32, Edge)>> {
        let component = components(&self.graph, edges).into_iter().min_by_key(Vec::len)?;
        let txns = self.graph.txns;
        let starts = component.iter().copied().filter(|node| *node < txns);
        let mut best: Option<Vec<(u32, Edge)>> = None;
        for start in starts.take(STARTS_MAX) {
            if best.is_some() && self.steps_left == 0 {
                break;
            }
            let path = self.path(start, start, edges).expect("a node of a component is on a cycle");
            if best.as_ref().is_none_or(|best| self.txns_of(&path) < self.txns_of(best)) {
                best = Some(path);
            }
        }
        best
    }

    /// The smallest cycle of one rw edge and these.
    fn single(&mut self, edges: Edges) -> Option<Vec<(u32, Edge)>> {
        let mut best: Option<Vec<(u32, Edge)>> = None;
        for from in 0..self.graph.txns {
            let missed: Vec<u32> =
                self.graph.edges(from).filter(|(_, edge)| *edge == Edge::Rw).map(|(to, _)| to).collect();
            for to in missed {
                if self.steps_left == 0 {
                    return best;
                }
                let Some(mut path) = self.path(to, from, edges) else { continue };
                path.push((to, Edge::Rw));
                if best.as_ref().is_none_or(|best| self.txns_of(&path) < self.txns_of(best)) {
                    best = Some(path);
                }
            }
        }
        best
    }

    fn txns_of(&self, path: &[(u32, Edge)]) -> usize {
        path.iter().filter(|(node, _)| *node < self.graph.txns).count()
    }

    /// The way with the fewest transactions, of at least one edge: each node that it comes to, with the edge that leads there.
    fn path(&mut self, from: u32, to: u32, edges: Edges) -> Option<Vec<(u32, Edge)>> {
        // By node: how far it is, and the node and edge before it.
        let mut before: Vec<Option<(u32, u32, Edge)>> = vec![None; self.nodes.len()];
        let mut next = VecDeque::from([(from, 0_u32)]);
        while let Some((node, far)) = next.pop_front() {
            if before[node as usize].is_some_and(|(known, ..)| known < far) {
                continue;
            }
            self.steps_left = self.steps_left.saturating_sub(1);
            for (end, edge) in self.graph.edges(node).filter(|(_, edge)| edges.has(*edge)) {
                let is_txn = end < self.graph.txns;
                let far = far + u32::from(is_txn);
                if before[end as usize].is_some_and(|(known, ..)| known <= far) {
                    continue;
                }
                before[end as usize] = Some((far, node, edge));
                if is_txn { next.push_back((end, far)) } else { next.push_front((end, far)) }
            }
        }
        let mut path = Vec::new();
        let mut at = to;
        loop {
            let (_, node, edge) = before[at as usize]?;
            path.push((at, edge));
            at = node;
            if at == from {
                break;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The cycle that goes through these nodes, the last one of which it begins with.
    fn named(&self, path: &[(u32, Edge)]) -> Cycle {
        let is_txn = |node: u32| node < self.graph.txns;
        let begin = path.iter().position(|(node, _)| is_txn(*node)).expect("barriers alone make no cycle");
        let around = path[begin + 1..].iter().chain(&path[..=begin]);
        let mut steps: Vec<Step> = Vec::new();
        let mut from = path[begin].0;
        for &(node, edge) in around.filter(|(node, _)| is_txn(*node)) {
            // What comes to a transaction from a barrier came to the barrier by time.
            let edge = if edge == Edge::Free { Edge::Rt } else { edge };
            steps.push(Step { from: self.nodes[from as usize], to: self.nodes[node as usize], edge });
            from = node;
        }
        let count = |edge: Edge| steps.iter().filter(|step| step.edge == edge).count();
        let is_timed = count(Edge::Rt) > 0;
        let kind = match (count(Edge::Rw), count(Edge::Wr), is_timed) {
            (0, 0, false) => Kind::G0,
            (0, 0, true) => Kind::G0Realtime,
            (0, _, false) => Kind::G1c,
            (0, _, true) => Kind::G1cRealtime,
            (1, _, false) => Kind::GSingle,
            (1, _, true) => Kind::GSingleRealtime,
            (_, _, false) => Kind::G2,
            (_, _, true) => Kind::G2Realtime,
        };
        Cycle { kind, steps }
    }
}
