//! Which worker has too much to do, and which one has time: looked up a few times a second on a thread of its own.
//!
//! What counts is how busy each core is, whoever keeps it so: connections, the disk's interrupts, another program. A worker cannot tell that from inside.
//! Where one core is full and another is not, some of the full one's connections go there. `docs/decisions/0046-connections-move.md`.

use crate::limits::{BALANCE_BUSY_PERMILLE, BALANCE_GAP_PERMILLE, BALANCE_MS};
use crate::mesh::{Inbox, Letter};
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Balances until it is dropped.
pub struct Balancer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// For workers with these inboxes, each on its CPU.
    pub fn start(inboxes: Vec<Arc<Inbox>>, cpus: Vec<usize>) -> Balancer {
        let (stop, stopped) = channel();
        let is_needed = cpus_differ(&cpus);
        let balance = move || {
            let mut policy = Policy::default();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(BALANCE_MS)) {
                // What cannot be read leaves connections where they are.
                let times = times_of(&fs::read_to_string("/proc/stat").unwrap_or_default(), &cpus);
                if let Some(Share { from, to, permille }) = policy.look(times) {
                    inboxes[from].post(Letter::Share { to: to as u16, permille });
                }
            }
        };
        let thread =
            is_needed.then(|| std::thread::Builder::new().name("cairn-balance".into()).spawn(balance).ok()).flatten();
        Balancer { stop: Some(stop), thread }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic; and at the end nobody would care.
            let _ = thread.join();
        }
    }
}

/// Whether there is anywhere to go.
fn cpus_differ(cpus: &[usize]) -> bool {
    cpus.iter().any(|cpu| *cpu != cpus[0])
}

/// So much of its busy connections goes from one worker to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    from: usize,
    to: usize,
    permille: u16,
}

/// A core's time since the start, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    busy: u64,
    all: u64,
}

/// The times of some CPUs, in their order (proc(5), `/proc/stat`). Empty if one of them is not there.
fn times_of(stat: &str, cpus: &[usize]) -> Vec<Times> {
    let of = |cpu: &usize| {
        let name = format!("cpu{cpu} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
        let ticks: Vec<u64> = line.split_whitespace().take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let all = ticks.iter().sum::<u64>();
        Some(Times { busy: all - ticks.get(3)? - ticks.get(4)?, all })
    };
    cpus.iter().map(of).collect::<Option<_>>().unwrap_or_default()
}

/// What is known from one look to the next.
#[derive(Debug, Default)]
struct Policy {
    before: Vec<Times>,
    /// From which worker to which one it would have been better last time.
    wanted: Option<(usize, usize)>,
}

impl Policy {
    /// What is to go, if the same was so at the last look.
    fn look(&mut self, times: Vec<Times>) -> Option<Share> {
        let before = std::mem::replace(&mut self.before, times);
        if before.len() != self.before.len() {
            return None;
        }
        let busy: Vec<u64> =
            before.iter().zip(&self.before).map(|(before, now)| busy_permille(*before, *now)).collect();
        let share = share_of(&busy);
        let wanted = share.map(|share| (share.from, share.to));
        // After connections have gone their new places are looked at twice, too.
        let is_new = std::mem::replace(&mut self.wanted, wanted) != wanted;
        if is_new {
            return None;
        }
        self.wanted = None;
        share
    }
}

fn busy_permille(before: Times, now: Times) -> u64 {
    let all = now.all.saturating_sub(before.all);
    (now.busy.saturating_sub(before.busy) * 1000).checked_div(all).unwrap_or(0)
}

/// From the busiest to the idlest, if that one is full and this one has room.
fn share_of(busy: &[u64]) -> Option<Share> {
    let (from, most) = busy.iter().copied().enumerate().max_by_key(|(_, busy)| *busy)?;
    let (to, least) = busy.iter().copied().enumerate().min_by_key(|(_, busy)| *busy)?;
    let is_worth_it = most >= BALANCE_BUSY_PERMILLE && most - least >= BALANCE_GAP_PERMILLE;
    // Half of what is between them makes them even.
    is_worth_it.then(|| Share { from, to, permille: ((most - least) * 1000 / (2 * most)) as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_a_core_has_room() {
        let (full, gap) = (BALANCE_BUSY_PERMILLE, BALANCE_GAP_PERMILLE);
        for (busy, expect) in [
            (vec![], None),
            (vec![1000], None),
            (vec![1000, 1000], None),
            (vec![full - 1, 0], None),
            (vec![full, full - gap + 1], None),
            (vec![full, full - gap], Some((0, 1))),
            (vec![full, full - gap - 1], Some((0, 1))),
            (vec![full + 1, 0], Some((0, 1))),
            (vec![500, 1000, 20, 300], Some((1, 2))),
        ] {
            let share = share_of(&busy);
            assert_eq!(share.map(|share| (share.from, share.to)), expect, "{busy:?}");
            assert!(share.is_none_or(|share| share.permille <= 500), "{busy:?}");
        }
        assert_eq!(share_of(&[1000, 500]).map(|share| share.permille), Some(250));
    }

    #[test]
    fn it_has_to_be_so_twice() {
        let at =
            |busy: &[u64], ticks: u64| busy.iter().map(|busy| Times { busy: *busy, all: ticks }).collect::<Vec<_>>();
        let mut policy = Policy::default();
        assert_eq!(policy.look(at(&[0, 0], 0)), None, "nothing is known");
        assert_eq!(policy.look(at(&[20, 0], 20)), None, "once");
        let share = policy.look(at(&[40, 0], 40)).unwrap();
        assert_eq!((share.from, share.to, share.permille), (0, 1, 500));
        assert_eq!(policy.look(at(&[60, 0], 60)), None, "it is looked at anew");
        assert_eq!(policy.look(at(&[60, 20], 80)), None, "the other way round now");
        assert_eq!(policy.look(at(&[60, 40], 100)).unwrap().from, 1);
        assert_eq!(policy.look(Vec::new()), None, "nothing could be read");
        assert_eq!(policy.look(at(&[80, 40], 120)), None);
    }

    #[test]
    fn times_are_those_of_the_cpus() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 100 100\ncpu1 1 1 1 1 1 1 1 1 0 0\ncpu10 2 0 0 2 0 0 0 0 0 0\nintr 1\n";
        let times = |busy, all| Times { busy, all };
        assert_eq!(times_of(stat, &[10, 0]), [times(2, 4), times(27, 72)]);
        assert_eq!(times_of(stat, &[0, 2]), [], "there is no such CPU");
        assert_eq!(times_of("", &[0]), []);
        assert!(!cpus_differ(&[]) && !cpus_differ(&[3, 3]) && cpus_differ(&[3, 4]));
    }
}
