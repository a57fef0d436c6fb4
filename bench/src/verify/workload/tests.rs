//! Workloads on a database that runs one command after the other, which is right; and on one that is not.

use super::*;
use crate::verify::anomaly::Kind;
use crate::verify::window::Verdicts;
use std::collections::{BTreeMap, BTreeSet};

/// What a planted mistake does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    /// EXEC does not see that a watched key has changed.
    WatchMissed,
    /// A crash leaves half of a transaction that is under way.
    HalfAfterCrash,
    /// A crash takes back the last transaction that was answered.
    LostAfterCrash,
    /// DISCARD and a refused EXEC do what was queued.
    Refused,
    /// A reading transaction sees the second half of its keys as they were a while ago.
    Cut,
    /// A transaction that reads a snapshot sees what others change meanwhile.
    Unsteady,
}

#[derive(Default)]
struct Session {
    queued: Option<Vec<Vec<String>>>,
    is_broken: bool,
    watched: BTreeMap<String, u64>,
    snapshot: Option<Rows>,
}

/// Rows, and how often each was changed.
#[derive(Clone, Default)]
struct Rows {
    values: BTreeMap<String, String>,
    changes: BTreeMap<String, u64>,
}

struct Database {
    rows: Rows,
    /// As the rows were before the last transactions.
    before: Vec<Rows>,
    sessions: Vec<Session>,
    mistake: Mistake,
}

impl Rows {
    fn set(&mut self, key: &str, value: Option<String>) {
        *self.changes.entry(key.to_owned()).or_default() += 1;
        match value {
            Some(value) => self.values.insert(key.to_owned(), value),
            None => self.values.remove(key),
        };
    }

    fn run(&mut self, words: &[String]) -> String {
        let bulk = |value: Option<&String>| value.map_or("$-1\r\n".into(), |v| format!("${}\r\n{v}\r\n", v.len()));
        let key = words[1].as_str();
        let old = self.values.get(key).cloned();
        let number = |text: Option<&String>| text.map_or(0, |text| text.parse::<i64>().unwrap());
        match words[0].as_str() {
            "GET" => bulk(old.as_ref()),
            "MGET" => {
                let values: String = words[1..].iter().map(|key| bulk(self.values.get(key))).collect();
                format!("*{}\r\n{values}", words.len() - 1)
            }
            "SET" => {
                self.set(key, Some(words[2].clone()));
                "+OK\r\n".into()
            }
            "GETSET" => {
                self.set(key, Some(words[2].clone()));
                bulk(old.as_ref())
            }
            "SETNX" if old.is_some() => ":0\r\n".into(),
            "SETNX" => {
                self.set(key, Some(words[2].clone()));
                ":1\r\n".into()
            }
            "DEL" => {
                self.set(key, None);
                format!(":{}\r\n", u8::from(old.is_some()))
            }
            "APPEND" => {
                let value = old.unwrap_or_default() + &words[2];
                self.set(key, Some(value.clone()));
                format!(":{}\r\n", value.len())
            }
            "INCR" | "INCRBY" | "DECRBY" => {
                let by = number(words.get(2).or(Some(&"1".to_owned())));
                let value = number(old.as_ref()) + if words[0] == "DECRBY" { -by } else { by };
                self.set(key, Some(value.to_string()));
                format!(":{value}\r\n")
            }
            other => panic!("{other}"),
        }
    }
}

impl Database {
    fn run(&mut self, client: usize, words: Vec<String>) -> String {
        let Database { rows, sessions, mistake, before } = self;
        let session = &mut sessions[client];
        let mistake = *mistake;
        match words[0].as_str() {
            "BEGIN" => {
                session.snapshot = Some(rows.clone());
                "+OK\r\n".into()
            }
            "COMMIT" => {
                assert!(session.snapshot.take().is_some());
                "+OK\r\n".into()
            }
            "WATCH" => {
                let changes = |key: &String| rows.changes.get(key).copied().unwrap_or(0);
                session.watched = words[1..].iter().map(|key| (key.clone(), changes(key))).collect();
                "+OK\r\n".into()
            }
            "MULTI" => {
                *session = Session {
                    queued: Some(Vec::new()),
                    watched: std::mem::take(&mut session.watched),
                    ..Session::default()
                };
                "+OK\r\n".into()
            }
            "DISCARD" | "EXEC" => {
                let Session { queued, is_broken, watched, .. } = std::mem::take(session);
                let (queued, is_exec) = (queued.unwrap(), words[0] == "EXEC");
                let is_touched = watched.iter().any(|(key, seen)| rows.changes.get(key).copied().unwrap_or(0) != *seen);
                if is_exec && is_touched && mistake != Mistake::WatchMissed {
                    return "*-1\r\n".into();
                }
                let is_refused = !is_exec || is_broken;
                if is_refused && mistake != Mistake::Refused {
                    return if is_exec { "-EXECABORT no\r\n".into() } else { "+OK\r\n".into() };
                }
                before.push(rows.clone());
                let is_reading = queued.iter().all(|words| words[0] == "GET");
                let mut replies = String::new();
                for (number, words) in queued.iter().enumerate() {
                    let is_cut = mistake == Mistake::Cut && is_reading && 2 * number >= queued.len();
                    let past = before.len().saturating_sub(9);
                    replies += &if is_cut { before[past].run(words) } else { rows.run(words) };
                }
                match (is_refused, is_exec) {
                    (true, true) => "-EXECABORT no\r\n".into(),
                    (true, false) => "+OK\r\n".into(),
                    (false, _) => format!("*{}\r\n{replies}", queued.len()),
                }
            }
            _ if session.queued.is_some() && words.last().unwrap() == "alone" => {
                session.is_broken = true;
                "-ERR wrong number of arguments\r\n".into()
            }
            _ if session.queued.is_some() => {
                session.queued.as_mut().unwrap().push(words);
                "+QUEUED\r\n".into()
            }
            _ => match &mut session.snapshot {
                Some(snapshot) if mistake != Mistake::Unsteady => snapshot.run(&words),
                _ => rows.run(&words),
            },
        }
    }
}

/// A request taken apart.
fn commands(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut lines = str::from_utf8(bytes).unwrap().split("\r\n");
    let mut commands = Vec::new();
    while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
        commands.push((0..count.parse().unwrap()).map(|_| lines.nth(1).unwrap().to_owned()).collect());
    }
    commands
}

const CLIENTS: u32 = 8;

/// A client's request, of which so many commands were run.
#[derive(Default)]
struct Asked {
    commands: Vec<Vec<String>>,
    replies: String,
    next: usize,
    is_busy: bool,
}

struct World {
    database: Database,
    asked: Vec<Asked>,
    now: u64,
    rng: fastrand::Rng,
    /// The last transaction that was answered: the rows before it.
    answered: Option<Rows>,
}

impl World {
    fn ask(&mut self, client: usize, request: &Request) {
        let commands = commands(&request.bytes);
        assert_eq!(commands.len(), request.replies);
        self.asked[client] = Asked { commands, is_busy: true, ..Asked::default() };
    }

    /// Runs a command of a client, and hands over the replies once they are all there.
    fn step(&mut self, workload: &mut dyn Workload, client: usize) {
        let asked = &mut self.asked[client];
        let words = asked.commands[asked.next].clone();
        let rows = self.database.rows.clone();
        let is_write = matches!(words[0].as_str(), "EXEC" | "APPEND" | "SET" | "GETSET");
        asked.replies += &self.database.run(client, words);
        asked.next += 1;
        self.now += 1;
        if asked.next < asked.commands.len() {
            return;
        }
        let bytes = std::mem::take(&mut asked.replies).into_bytes();
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Some(len) = crate::sim::reply::frame_len(rest).ok().flatten().filter(|_| !rest.is_empty()) {
            frames.push(crate::sim::reply::parse(rest).unwrap());
            rest = &rest[len..];
        }
        let mut next = Request::default();
        workload.on_replies(client as u32, self.now, &frames, &mut next).unwrap();
        self.asked[client].is_busy = false;
        if is_write && rows.values != self.database.rows.values {
            self.answered = Some(rows);
        }
        if next.replies > 0 {
            self.ask(client, &next);
        }
    }

    fn crash(&mut self, workload: &mut dyn Workload) {
        for client in 0..CLIENTS as usize {
            let asked = std::mem::take(&mut self.asked[client]);
            if !asked.is_busy {
                continue;
            }
            // What was under way happens, or not, or half. Of transactions that were sent at once some have happened.
            let is_end = |words: &Vec<String>| words[0] == "EXEC";
            let begin = asked.commands[..asked.next].iter().rposition(is_end).map_or(0, |end| end + 1);
            let queued: Vec<&Vec<String>> =
                asked.commands[begin..].iter().filter(|words| !matches!(words[0].as_str(), "MULTI" | "EXEC")).collect();
            let is_transaction =
                asked.commands.last().unwrap()[0] == "EXEC" && self.database.sessions[client].watched.is_empty();
            let is_broken = asked.commands.iter().any(|words| words.last().unwrap() == "alone");
            let count = match self.database.mistake {
                Mistake::HalfAfterCrash => queued.len().div_ceil(2),
                _ if self.rng.bool() => queued.len(),
                _ => 0,
            };
            if is_transaction && !is_broken {
                queued[..count].iter().for_each(|words| drop(self.database.rows.run(words)));
            }
            workload.on_lost(client as u32);
        }
        self.database.sessions = (0..CLIENTS).map(|_| Session::default()).collect();
        if let (Mistake::LostAfterCrash, Some(rows)) = (self.database.mistake, self.answered.take()) {
            self.database.rows = rows;
        }
    }
}

/// Clients whose commands come in any order, with crashes.
fn drive(mut workload: Box<dyn Workload>, seed: u64, mistake: Mistake) -> Box<dyn Workload> {
    let sessions = (0..CLIENTS).map(|_| Session::default()).collect();
    let database = Database { rows: Rows::default(), before: Vec::new(), sessions, mistake };
    let asked = (0..CLIENTS).map(|_| Asked::default()).collect();
    let mut world = World { database, asked, now: 0, rng: fastrand::Rng::with_seed(seed), answered: None };
    let mut request = Request::default();
    workload.prepare(&mut request);
    for words in commands(&request.bytes) {
        world.database.run(0, words);
    }
    for _ in 0..12_000 {
        let client = world.rng.usize(..CLIENTS as usize);
        world.now += 1;
        if world.asked[client].is_busy {
            world.step(workload.as_mut(), client);
        } else {
            let mut request = Request::default();
            workload.begin(client as u32, world.now, &mut request);
            world.ask(client, &request);
        }
        if world.rng.u16(..1000) == 0 {
            world.crash(workload.as_mut());
        }
    }
    world.crash(workload.as_mut());
    world.now += 1;
    let mut request = Request::default();
    while workload.begin_last(0, world.now, &mut request) {
        world.ask(0, &request);
        request.clear();
        while world.asked[0].is_busy {
            world.step(workload.as_mut(), 0);
        }
        world.now += 1;
    }
    workload
}

fn all(seed: u64) -> [Box<dyn Workload>; 4] {
    [
        Box::new(Lists::new(seed, CLIENTS, 5, 2)),
        Box::new(Registers::new(seed, CLIENTS, 3)),
        Box::new(Bank::new(seed, CLIENTS, 6, 2)),
        Box::new(Pairs::new(seed, CLIENTS, 2)),
    ]
}

#[test]
fn a_right_database_passes() {
    for seed in 0..6 {
        for workload in all(seed) {
            let workload = drive(workload, seed, Mistake::None);
            let found = workload.check();
            assert!(found.is_empty(), "seed {seed}, {}: {}", workload.name(), found[0]);
            let tally = workload.tally();
            let is_refusing = workload.name() != "register";
            assert!(tally.committed > 500 && tally.unknown > 5 && is_refusing == (tally.aborted > 10), "{tally:?}");
            assert_eq!(is_refusing, tally.across > 50, "{tally:?}");
        }
    }
}

#[test]
fn each_mistake_is_found_by_those_who_can_see_it() {
    let mistakes: [(Mistake, &[&str]); 6] = [
        (Mistake::WatchMissed, &["list-append", "bank", "write-skew"]),
        (Mistake::HalfAfterCrash, &["list-append", "bank"]),
        (Mistake::LostAfterCrash, &["list-append", "bank", "write-skew"]),
        (Mistake::Refused, &["list-append"]),
        (Mistake::Cut, &["list-append", "bank", "write-skew"]),
        (Mistake::Unsteady, &["list-append", "bank"]),
    ];
    for (mistake, finders) in mistakes {
        let mut found: BTreeMap<&str, BTreeSet<Kind>> = BTreeMap::new();
        for seed in 0..4 {
            for workload in all(seed) {
                let workload = drive(workload, seed, mistake);
                found.entry(workload.name()).or_default().extend(workload.check().iter().map(|anomaly| anomaly.kind));
            }
        }
        println!("{mistake:?}: {found:?}");
        let blind: Vec<&&str> = finders.iter().filter(|name| found[**name].is_empty()).collect();
        assert!(blind.is_empty(), "{mistake:?} is not seen by {blind:?}: {found:?}");
        // Single commands know nothing of transactions.
        let is_about_all = mistake == Mistake::LostAfterCrash;
        assert!(is_about_all || found["register"].is_empty(), "{mistake:?}: {found:?}");
    }
}

#[test]
fn a_mistake_is_found_in_whichever_window_it_happens() {
    for wrong in 0..3 {
        let mut verdicts = Verdicts::default();
        for window in 0..3 {
            assert_eq!(verdicts.is_sound(), window <= wrong, "window {window}");
            let mistake = if window == wrong { Mistake::LostAfterCrash } else { Mistake::None };
            let workloads: Vec<_> = all(window).into_iter().map(|workload| drive(workload, window, mistake)).collect();
            verdicts.judge(window, &workloads);
        }
        assert!(!verdicts.is_sound(), "window {wrong}");
        for verdict in &verdicts.of {
            assert!(verdict.found.iter().all(|(window, _)| *window == wrong), "{:?}", verdict.found);
            assert!(verdict.tally.committed > 1500, "{:?}", verdict.tally);
        }
        // What a window has left is judged beside that.
        verdicts.outlast(wrong, Vec::new());
        assert!(verdicts.left.is_empty());
        verdicts.outlast(wrong, vec!["k: it is gone".to_owned()]);
        assert!(matches!(&verdicts.left[..], [(window, found)] if *window == wrong && found.kind == Kind::Lost));
    }
}
