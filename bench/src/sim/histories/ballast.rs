//! Rows that nobody needs, so many that a small memory does not hold them: with them about, those of the other workloads are now and then
//! on disk when they are asked for, also in the middle of a transaction.

use crate::sim::reply::Frame;
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::workload::{Request, Tally, Workload};
use fastrand::Rng;

const ROWS: u32 = 700;
const ROW_BYTES: usize = 1800;

/// The rows, written at first and read from then on.
pub struct Ballast {
    rng: Rng,
    /// By client: the rows that it reads.
    under_way: Vec<Vec<u32>>,
    wrong: Option<String>,
    tally: Tally,
}

fn value(row: u32) -> String {
    format!("{row:0>ROW_BYTES$}")
}

impl Ballast {
    pub fn new(seed: u64, clients: u32) -> Ballast {
        let under_way = (0..clients).map(|_| Vec::new()).collect();
        Ballast { rng: Rng::with_seed(seed), under_way, wrong: None, tally: Tally::default() }
    }
}

impl Workload for Ballast {
    fn name(&self) -> &'static str {
        "ballast"
    }

    fn prepare(&self, request: &mut Request) {
        (0..ROWS).for_each(|row| request.say(&format!("SET ballast:{row} {}", value(row))));
    }

    fn begin(&mut self, client: u32, _: u64, request: &mut Request) {
        let rows: Vec<u32> = (0..self.rng.usize(1..12)).map(|_| self.rng.u32(..ROWS)).collect();
        let keys: Vec<String> = rows.iter().map(|row| format!("ballast:{row}")).collect();
        request.say(&format!("MGET {}", keys.join(" ")));
        self.under_way[client as usize] = rows;
    }

    fn begin_last(&mut self, _: u32, _: u64, _: &mut Request) -> bool {
        false
    }

    fn on_replies(&mut self, client: u32, _: u64, replies: &[Frame], _: &mut Request) -> Result<(), String> {
        let [Frame::Array(values)] = replies else { return Err(format!("MGET: {replies:?}")) };
        for (row, found) in std::mem::take(&mut self.under_way[client as usize]).into_iter().zip(values) {
            match found {
                Frame::Bulk(bytes) if *bytes == value(row).as_bytes() => {}
                Frame::Line(line) => return Err(format!("MGET: {}", line.escape_ascii())),
                _ => self.wrong = Some(format!("row {row} is not what was written once")),
            }
        }
        self.tally.committed += 1;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        self.under_way[client as usize].clear();
        self.tally.unknown += 1;
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        let wrong = self.wrong.iter();
        wrong.map(|what| Anomaly { kind: Kind::Lost, what: what.clone(), witness: Vec::new() }).collect()
    }
}
