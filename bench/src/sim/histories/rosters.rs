//! A database in which each client has one key, or none, under names that never come back, and now and then two more beside it. It changes them in
//! transactions. In a snapshot all keys are asked for in every way there is, over several requests: all answers are of one moment, which is
//! behind what was acknowledged before BEGIN, and in which of each transaction all is there or nothing.

use crate::sim::reply::Frame;
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::Outcome;
use crate::verify::workload::{Request, Tally, Workload, once};
use fastrand::Rng;
use std::collections::BTreeSet;

const DATABASE: u8 = 7;

/// The key of a place is named after its version: 0 is none. Odd versions have two more.
type Version = u64;

/// What one client after another writes to. Who does not know what has become of a change goes to another one.
#[derive(Default)]
struct Place {
    last: Version,
    /// Those that it may have.
    possible: BTreeSet<Version>,
}

/// All places and those who use them.
pub struct Rosters {
    rng: Rng,
    places: Vec<Place>,
    /// By client: its place.
    own: Vec<usize>,
    under_way: Vec<Option<Doing>>,
    /// How often it is still to be read in the end.
    last: u32,
    wrong: Vec<Anomaly>,
    tally: Tally,
}

#[derive(Clone)]
enum Doing {
    Writing(Version),
    RollingBack,
    Looking(Look),
    /// Its snapshot has ended.
    Leaving {
        is_last: bool,
    },
}

/// A snapshot.
#[derive(Clone, Default)]
struct Look {
    is_last: bool,
    /// What each place may have had at its moment.
    allowed: Vec<BTreeSet<Version>>,
    /// BEGIN is answered: what is begun later is not in it.
    is_begun: bool,
    size: i64,
    keys: BTreeSet<String>,
    scanned: Vec<String>,
    is_scanned: bool,
}

fn name(place: usize, version: Version) -> String {
    // Names that differ only at their end would often be of one shard.
    format!("{version}:r:{place}")
}

fn beside(place: usize) -> [String; 2] {
    ["a", "b"].map(|which| format!("{which}:x:{place}"))
}

/// All keys of a place.
fn keys_of(place: usize, version: Version) -> BTreeSet<String> {
    let beside = if version % 2 == 1 { beside(place).to_vec() } else { Vec::new() };
    (version > 0).then(|| name(place, version)).into_iter().chain(beside).collect()
}

fn place_of(key: &str) -> Option<usize> {
    key.rsplit(':').next()?.parse().ok()
}

fn text(frame: &Frame) -> Result<String, String> {
    match frame {
        Frame::Bulk(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(format!("rosters: no key: {other:?}")),
    }
}

fn texts(frame: &Frame) -> Result<Vec<String>, String> {
    match frame {
        Frame::Array(frames) => frames.iter().map(text).collect(),
        other => Err(format!("rosters: no keys: {other:?}")),
    }
}

impl Rosters {
    pub fn new(seed: u64, clients: u32) -> Rosters {
        let clients = clients as usize;
        Rosters {
            rng: Rng::with_seed(seed),
            places: (0..clients).map(|_| Place { last: 0, possible: BTreeSet::from([0]) }).collect(),
            own: (0..clients).collect(),
            under_way: vec![None; clients],
            last: 4,
            wrong: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn write(&mut self, client: usize, request: &mut Request) {
        let at = self.own[client];
        let place = &mut self.places[at];
        let before = *place.possible.first().expect("a place has one version at least");
        place.last += 1 + self.rng.u64(..2);
        let version = place.last;
        let rolls_back = self.rng.u8(..6) == 0;
        // A disk that has failed may keep one of its commands from being done.
        request.say("MULTI ROLLBACK");
        request.say(&format!("SELECT {DATABASE}"));
        let [one, other] = beside(at);
        match self.rng.u8(..3) {
            0 if before > 0 => request.say(&format!("RENAME {} {}", name(at, before), name(at, version))),
            1 => {
                request.say(&format!("SET {} 1", name(at, version)));
                request.say(&format!("DEL {}", name(at, before)));
            }
            _ => {
                request.say(&format!("UNLINK {}", name(at, before)));
                request.say(&format!("RPUSH {} 1 2", name(at, version)));
            }
        }
        match version % 2 {
            0 => request.say(&format!("DEL {one} {other}")),
            _ => request.say(&format!("MSET {one} a {other} b")),
        }
        if rolls_back {
            request.say(&format!("HGET {} f", name(at, version)));
        }
        request.say("SELECT 0");
        request.say("EXEC");
        if rolls_back {
            self.under_way[client] = Some(Doing::RollingBack);
            return;
        }
        self.under_way[client] = Some(Doing::Writing(version));
        for doing in self.under_way.iter_mut().flatten() {
            if let Doing::Looking(look) = doing
                && !look.is_begun
            {
                look.allowed[at].insert(version);
            }
        }
    }

    fn look(&mut self, client: u32, is_last: bool, request: &mut Request) {
        let mut allowed: Vec<BTreeSet<Version>> = self.places.iter().map(|place| place.possible.clone()).collect();
        for (writer, doing) in self.under_way.iter().enumerate() {
            if let Some(Doing::Writing(version)) = doing {
                allowed[self.own[writer]].insert(*version);
            }
        }
        request.say("BEGIN READ ONLY");
        request.say(&format!("SELECT {DATABASE}"));
        request.say("DBSIZE");
        request.say("KEYS *");
        self.scan("0", request);
        let look = Look { is_last, allowed, ..Look::default() };
        self.under_way[client as usize] = Some(Doing::Looking(look));
    }

    fn scan(&mut self, cursor: &str, request: &mut Request) {
        let count = 1 + self.rng.u8(..4);
        request.say(&format!("SCAN {cursor} COUNT {count}"));
    }

    fn find(&mut self, kind: Kind, what: String, look: &Look) {
        let witness =
            vec![format!("DBSIZE {}", look.size), format!("KEYS {:?}", look.keys), format!("SCAN {:?}", look.scanned)];
        self.wrong.push(Anomaly { kind, what, witness });
    }

    /// All has been read.
    fn judge(&mut self, look: &Look) {
        if look.size != look.keys.len() as i64 {
            self.find(Kind::Torn, "DBSIZE and KEYS of a snapshot differ".into(), look);
        }
        let scanned: BTreeSet<String> = look.scanned.iter().cloned().collect();
        if scanned.len() < look.scanned.len() {
            self.find(Kind::Duplicate, "SCAN of a snapshot answers a key twice".into(), look);
        }
        if scanned != look.keys {
            self.find(Kind::Torn, "SCAN and KEYS of a snapshot differ".into(), look);
        }
        if look.keys.iter().any(|key| place_of(key).is_none_or(|place| place >= look.allowed.len())) {
            self.find(Kind::Phantom, "a key that nobody can have made when the snapshot began".into(), look);
        }
        for (at, allowed) in look.allowed.iter().enumerate() {
            let found: BTreeSet<String> = look.keys.iter().filter(|key| place_of(key) == Some(at)).cloned().collect();
            if !allowed.iter().any(|version| keys_of(at, *version) == found) {
                self.find(Kind::Torn, format!("place {at} has {found:?}, and may have the versions {allowed:?}"), look);
            }
        }
        self.end(Outcome::Committed);
    }

    fn end(&mut self, outcome: Outcome) {
        self.tally.across += 1;
        self.tally.note(outcome);
    }

    /// Replies within a snapshot.
    fn go_on(&mut self, client: usize, mut look: Look, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let is_begun = !std::mem::replace(&mut look.is_begun, true);
        if once::is_too_old(replies) {
            // COMMIT ends it too.
            let is_over = look.is_scanned || is_begun && once::is_too_old(&replies[..1]);
            if !is_over {
                request.say("ROLLBACK");
            }
            request.say("SELECT 0");
            self.under_way[client] = Some(Doing::Leaving { is_last: look.is_last });
            return Ok(());
        }
        let unexpected = |frame: &Frame| Err(format!("rosters: {frame:?}"));
        let replies = match replies {
            [Frame::Line(b"+OK"), Frame::Line(b"+OK"), Frame::Integer(size), keys, scanned @ ..] if is_begun => {
                look.size = *size;
                let keys = texts(keys)?;
                let count = keys.len();
                look.keys = keys.into_iter().collect();
                if look.keys.len() < count {
                    self.find(Kind::Duplicate, "KEYS of a snapshot answers a key twice".into(), &look);
                }
                scanned
            }
            replies if !is_begun => replies,
            replies => return unexpected(&replies[0]),
        };
        if look.is_scanned {
            let [random, Frame::Integer(size), Frame::Line(b"+OK"), Frame::Line(b"+OK")] = replies else {
                return unexpected(&replies[0]);
            };
            let is_there = match random {
                Frame::Null => look.keys.is_empty(),
                random => look.keys.contains(&text(random)?),
            };
            if !is_there || *size != look.size {
                self.find(Kind::Torn, format!("RANDOMKEY answers {random:?}, DBSIZE {size}"), &look);
            }
            self.under_way[client] = None;
            self.judge(&look);
            return Ok(());
        }
        let [Frame::Array(frames)] = replies else { return unexpected(&replies[0]) };
        let [cursor, keys] = &frames[..] else { return unexpected(&replies[0]) };
        look.scanned.extend(texts(keys)?);
        match &text(cursor)?[..] {
            "0" => {
                look.is_scanned = true;
                ["RANDOMKEY", "DBSIZE", "COMMIT", "SELECT 0"].iter().for_each(|line| request.say(line));
            }
            cursor => self.scan(cursor, request),
        }
        self.under_way[client] = Some(Doing::Looking(look));
        Ok(())
    }
}

impl Workload for Rosters {
    fn name(&self) -> &'static str {
        "rosters"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, _: u64, request: &mut Request) {
        match self.rng.u8(..3) {
            0 => self.look(client, false, request),
            _ => self.write(client as usize, request),
        }
    }

    fn begin_last(&mut self, client: u32, _: u64, request: &mut Request) -> bool {
        if self.last == 0 {
            return false;
        }
        self.last -= 1;
        self.look(client, true, request);
        true
    }

    fn on_replies(&mut self, client: u32, _: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let client = client as usize;
        let doing = self.under_way[client].clone().expect("a client that is answered has asked");
        let (last, before) = replies.split_last().expect("something was asked");
        match doing {
            Doing::Looking(look) => return self.go_on(client, look, replies, request),
            Doing::Writing(version) => match last {
                Frame::Array(frames)
                    if frames.iter().all(|frame| matches!(frame, Frame::Line(b"+OK") | Frame::Integer(_))) =>
                {
                    self.places[self.own[client]].possible = BTreeSet::from([version]);
                    self.end(Outcome::Committed);
                }
                wrong => return Err(format!("rosters: {wrong:?}")),
            },
            Doing::RollingBack if matches!(last, Frame::Line(line) if line.starts_with(b"-EXECABORT ")) => {
                self.end(Outcome::Aborted);
            }
            Doing::Leaving { is_last } if before.iter().chain([last]).all(|frame| *frame == Frame::Line(b"+OK")) => {
                self.last += u32::from(is_last);
                self.end(Outcome::Aborted);
            }
            Doing::RollingBack | Doing::Leaving { .. } => return Err(format!("rosters: {last:?}")),
        }
        self.under_way[client] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let client = client as usize;
        match self.under_way[client].take() {
            Some(Doing::Writing(version)) => {
                // It may be done later, whatever somebody does there until then.
                self.places[self.own[client]].possible.insert(version);
                self.own[client] = self.places.len();
                self.places.push(Place { last: 0, possible: BTreeSet::from([0]) });
                for doing in self.under_way.iter_mut().flatten() {
                    if let Doing::Looking(look) = doing
                        && !look.is_begun
                    {
                        look.allowed.push(BTreeSet::from([0]));
                    }
                }
                self.end(Outcome::Unknown);
            }
            Some(Doing::Looking(Look { is_last: true, .. }) | Doing::Leaving { is_last: true }) => self.last += 1,
            _ => {}
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.wrong.clone()
    }
}
