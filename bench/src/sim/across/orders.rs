//! The judge of units over any shards: is there an order in which the reference model answers what was answered?
//!
//! A unit takes effect at one moment between its request and its reply, wholly; one whose reply was lost at some moment later, or never. What may be
//! so is kept as a list of *states*, each of which explains all replies so far: rows, which of the units under way have been done, and what those that only
//! look can have seen on the way. A reply is explained by doing units under way in every order that can matter, the answered one last (just-in-time
//! linearization: Lowe, "Testing for linearizability", 2017). Units that have no row in common need not be ordered, and a state that another one leads to
//! by a unit under way says nothing that the other one does not. After a crash the rows of all shards together must be those of one of the states, with
//! some of the units under way done.
//!
//! That a row expires is an event of its own, at a moment behind its deadline: no unit that is asked for later sees it alive, and none that is answered earlier sees it gone. A
//! unit that took several times for its own could see it come, go, and be there for a part of it.

use super::super::checks::{self, Args};
use super::super::reply;
use crate::history::{self, differences};
use crate::model::{self, Change, DATABASES, Row, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The check, as failures show it.
pub const EXPLAINED: &str = "some order of units explains every reply, and what survives";

/// Where more states than this have to be looked at, nobody says what is right until the next crash.
const STATES_MAX: usize = 400;

/// A command, or a transaction, on a database.
#[derive(Debug)]
pub struct Unit {
    pub db: u8,
    pub commands: Vec<Args>,
    pub shape: Shape,
}

/// How the commands of a unit are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// There is one.
    One,
    /// Between MULTI and EXEC.
    Multi,
    /// Between BEGIN and COMMIT.
    Open,
    /// By a script, which answers what they do.
    Script,
}

/// A unit by its number.
pub type UnitId = u64;

/// What a unit may look at or change.
#[derive(Clone, Debug)]
enum Reach {
    Rows(BTreeSet<(u8, Vec<u8>)>),
    /// Databases as a whole.
    All,
}

struct UnderWay {
    unit: Rc<Unit>,
    reach: Reach,
    /// When it was asked for, in Unix milliseconds: to the model it is done then.
    asked_ms: u64,
    is_read: bool,
    /// Nobody waits for its reply any more.
    is_lost: bool,
}

/// What may be so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    rows: Rows,
    /// Units under way that are done, and what they answer; of a lost one nothing.
    done: BTreeMap<UnitId, Vec<u8>>,
    /// What those that only look can have seen since they were asked for.
    looks: BTreeMap<UnitId, BTreeSet<Vec<u8>>>,
}

/// What was asked and answered so far.
#[derive(Default)]
pub struct Orders {
    states: Vec<State>,
    under_way: BTreeMap<UnitId, UnderWay>,
    last: UnitId,
    /// There is too much that may be so.
    is_blind: bool,
    /// The most states at a time, and how often there were too many.
    pub states_max: usize,
    pub unjudged: u64,
}

impl Unit {
    /// Runs it on these rows, at this time: the last reply, which tells all.
    fn run(&self, rows: &mut Rows, now_ms: u64) -> Vec<u8> {
        let mut all = if self.shape == Shape::One { Vec::new() } else { self.array() };
        for args in &self.commands {
            all.extend(model::run(rows, now_ms, self.db, args).reply);
        }
        all
    }

    /// What the replies of all its commands follow.
    pub fn array(&self) -> Vec<u8> {
        format!("*{}\r\n", self.commands.len()).into_bytes()
    }

    fn reach(&self) -> Reach {
        let mut rows = BTreeSet::new();
        for args in &self.commands {
            let number = |at: usize| args.get(at).and_then(|arg| String::from_utf8_lossy(arg).parse::<u8>().ok());
            let mut dbs = vec![self.db];
            match args[0].to_ascii_lowercase().as_slice() {
                b"flushdb" | b"flushall" | b"swapdb" | b"dbsize" => return Reach::All,
                b"move" => dbs.extend(number(2)),
                b"copy" => dbs.extend(number(4)),
                _ => {}
            }
            checks::keys(args).iter().for_each(|at| rows.extend(dbs.iter().map(|db| (*db, args[*at].clone()))));
        }
        Reach::Rows(rows)
    }

    pub fn shown(&self) -> String {
        let commands: Vec<String> = self.commands.iter().map(checks::shown).collect();
        let shape = if self.shape == Shape::One { String::new() } else { format!("{:?} ", self.shape) };
        format!("{}: {shape}{}", self.db, commands.join("; "))
    }
}

impl Reach {
    fn meets(&self, other: &Reach) -> bool {
        match (self, other) {
            (Reach::Rows(mine), Reach::Rows(others)) => !mine.is_disjoint(others),
            _ => true,
        }
    }

    fn has(&self, row: &(u8, Vec<u8>)) -> bool {
        match self {
            Reach::Rows(rows) => rows.contains(row),
            Reach::All => true,
        }
    }

    /// Rows that have a deadline before this time.
    fn due(&self, rows: &Rows, before_ms: u64) -> Vec<(u8, Rc<[u8]>)> {
        let is_due = |row: &Row| row.expire_ms != 0 && row.expire_ms < before_ms;
        match self {
            Reach::Rows(reached) => {
                let due = reached.iter().filter(|(db, key)| rows.get(*db, key).is_some_and(is_due));
                due.map(|(db, key)| (*db, Rc::from(key.as_slice()))).collect()
            }
            Reach::All => {
                let all = (0..DATABASES).flat_map(|db| rows.iter(db).map(move |(key, row)| (db, key, row)));
                all.filter(|(_, _, row)| is_due(row)).map(|(db, key, _)| (db, key.clone())).collect()
            }
        }
    }

    /// These rows without those whose deadline is before this time.
    fn expire(&self, rows: &mut Rows, before_ms: u64) {
        for (db, key) in self.due(rows, before_ms) {
            rows.apply(&Change::Delete { db, key });
        }
    }

    /// In these rows both are the same.
    fn agree(&self, one: &Rows, other: &Rows) -> bool {
        match self {
            Reach::Rows(rows) => rows.iter().all(|(db, key)| one.get(*db, key) == other.get(*db, key)),
            Reach::All => one.equals(other),
        }
    }
}

impl UnderWay {
    /// Runs it on these rows, of which it sees none that had expired when it was asked for.
    fn run(&self, rows: &mut Rows) -> Vec<u8> {
        self.reach.expire(rows, self.asked_ms);
        self.unit.run(rows, self.asked_ms)
    }
}

impl State {
    fn of(rows: Rows) -> State {
        State { rows, done: BTreeMap::new(), looks: BTreeMap::new() }
    }

    /// Nothing can come of the other one that cannot come of this.
    fn covers(&self, other: &State) -> bool {
        self.done == other.done
            && self.looks.iter().all(|(id, seen)| other.looks.get(id).is_none_or(|other| other.is_subset(seen)))
            && self.rows == other.rows
    }

    /// A unit is over.
    fn end(&mut self, id: UnitId) {
        self.done.remove(&id);
        self.looks.remove(&id);
    }
}

impl Orders {
    /// A unit is asked for.
    pub fn ask(&mut self, unit: Rc<Unit>, asked_ms: u64) -> UnitId {
        self.last += 1;
        let is_read = !unit.commands.iter().any(checks::is_write);
        let under_way = UnderWay { reach: unit.reach(), asked_ms, is_read, is_lost: false, unit };
        for state in self.states.iter_mut().filter(|_| is_read) {
            let seen = under_way.run(&mut state.rows.clone());
            state.looks.insert(self.last, BTreeSet::from([seen]));
        }
        self.under_way.insert(self.last, under_way);
        self.last
    }

    /// Nobody will be told what has become of it.
    pub fn lose(&mut self, id: UnitId) {
        let Some(lost) = self.under_way.get_mut(&id) else { return };
        lost.is_lost = true;
        if lost.is_read {
            self.end(id);
        } else {
            self.states.iter_mut().filter_map(|state| state.done.get_mut(&id)).for_each(Vec::clear);
            self.forget_done();
        }
    }

    /// A unit was done in part: nobody says what is right until the next crash.
    pub fn give_up(&mut self) {
        self.unjudged += u64::from(!std::mem::replace(&mut self.is_blind, true));
        self.states.clear();
    }

    /// Units whose replies are lost, and of which it is open whether they are done.
    pub fn lost(&self) -> usize {
        self.under_way.values().filter(|unit| unit.is_lost).count()
    }

    /// A unit is answered.
    pub fn answer(&mut self, id: UnitId, said: &[u8], now_ms: u64) -> Result<(), String> {
        let mut after = Vec::new();
        for state in std::mem::take(&mut self.states) {
            match state.done.get(&id).map(|expected| expected == said) {
                Some(true) => keep(&mut after, state),
                Some(false) => {}
                None => self.explain(state, id, said, now_ms, &mut after),
            }
        }
        if after.is_empty() && !self.is_blind {
            return Err(self.unexplained(id, said));
        }
        self.states_max = self.states_max.max(after.len());
        self.states = if self.is_blind { Vec::new() } else { after };
        self.end(id);
        self.forget_done();
        self.forget_due(now_ms);
        self.thin();
        Ok(())
    }

    /// A unit is refused: it was never done.
    pub fn refuse(&mut self, id: UnitId, said: &[u8]) -> Result<(), String> {
        self.states.retain(|state| !state.done.contains_key(&id));
        if self.states.is_empty() && !self.is_blind {
            return Err(self.unexplained(id, said));
        }
        self.end(id);
        self.thin();
        Ok(())
    }

    /// The states in which the unit is done, and answers what it has answered.
    fn explain(&mut self, state: State, id: UnitId, said: &[u8], now_ms: u64, after: &mut Vec<State>) {
        let related = self.related(id, &state);
        let reaches: Vec<Reach> = related.iter().chain([&id]).map(|id| self.under_way[id].reach.clone()).collect();
        let is_read = self.under_way[&id].is_read;
        let (mut seen, mut next) = (vec![state], 0);
        while let Some(state) = seen.get(next).cloned() {
            next += 1;
            if self.is_blind || seen.len() + after.len() > STATES_MAX {
                self.give_up();
                return;
            }
            if is_read && state.looks[&id].contains(said) {
                // What comes then may come later.
                keep(after, state);
                continue;
            }
            if !is_read && let Some(done) = self.next(&state, id).filter(|done| done.done[&id] == said) {
                keep(after, done);
            }
            related.iter().filter_map(|other| self.next(&state, *other)).for_each(|state| keep(&mut seen, state));
            self.expired(&state, &reaches, now_ms).into_iter().for_each(|state| keep(&mut seen, state));
        }
    }

    /// The states with one row less, of those that some reach, for it has expired by now.
    fn expired(&self, state: &State, reaches: &[Reach], now_ms: u64) -> Vec<State> {
        // At its deadline a row lives, but who gives it that deadline then removes it.
        let due: BTreeSet<(u8, Rc<[u8]>)> =
            reaches.iter().flat_map(|reach| reach.due(&state.rows, now_ms + 1)).collect();
        let without = |(db, key): (u8, Rc<[u8]>)| {
            let mut state = state.clone();
            let reach = Reach::Rows(BTreeSet::from([(db, key.to_vec())]));
            state.rows.apply(&Change::Delete { db, key });
            self.look(&mut state, &reach);
            state
        };
        due.into_iter().map(without).collect()
    }

    /// Rows whose deadline everybody under way was asked behind.
    fn forget_due(&mut self, now_ms: u64) {
        let before_ms = self.under_way.values().map(|one| one.asked_ms).fold(now_ms, u64::min);
        for mut state in std::mem::take(&mut self.states) {
            Reach::All.expire(&mut state.rows, before_ms);
            keep(&mut self.states, state);
        }
    }

    /// The state with one more unit done, if it is not.
    fn next(&self, state: &State, id: UnitId) -> Option<State> {
        let one = &self.under_way[&id];
        if state.done.contains_key(&id) {
            return None;
        }
        let mut state = state.clone();
        let said = one.run(&mut state.rows);
        state.done.insert(id, if one.is_lost { Vec::new() } else { said });
        self.look(&mut state, &one.reach);
        Some(state)
    }

    /// These rows have changed: those that only look may see them now.
    fn look(&self, state: &mut State, reach: &Reach) {
        for (look, seen) in &mut state.looks {
            let look = &self.under_way[look];
            if look.reach.meets(reach) {
                seen.insert(look.run(&mut state.rows.clone()));
            }
        }
    }

    /// Units that change rows, are not done in this state and may matter to this one: it has a row in common with them, or with others that have. Who only
    /// looks at rows of two sees in which order they are done.
    fn related(&self, id: UnitId, state: &State) -> Vec<UnitId> {
        let is_open = |other: &UnitId| *other != id && !state.done.contains_key(other);
        let mut others: Vec<UnitId> = self.under_way.keys().copied().filter(is_open).collect();
        let (mut related, mut next) = (vec![id], 0);
        while let Some(one) = related.get(next).map(|id| &self.under_way[id].reach) {
            related.extend(others.extract_if(.., |other| one.meets(&self.under_way[other].reach)));
            next += 1;
        }
        related.retain(|other| *other != id && !self.under_way[other].is_read);
        related
    }

    fn end(&mut self, id: UnitId) {
        self.under_way.remove(&id);
        for mut state in std::mem::take(&mut self.states) {
            state.end(id);
            keep(&mut self.states, state);
        }
    }

    /// Lost units that are done whatever is so are no longer under way.
    fn forget_done(&mut self) {
        let is_over = |id: &UnitId| self.states.iter().all(|state| state.done.contains_key(id));
        let lost = self.under_way.iter().filter(|(_, one)| one.is_lost).map(|(id, _)| *id);
        lost.filter(is_over).collect::<Vec<_>>().into_iter().for_each(|id| self.end(id));
    }

    /// States that others lead to go.
    fn thin(&mut self) {
        if self.states.len() < 2 {
            return;
        }
        let mut states = std::mem::take(&mut self.states);
        let mut is_led_to = vec![false; states.len()];
        for state in &states {
            for next in
                self.under_way.iter().filter(|(_, one)| !one.is_read).filter_map(|(id, _)| self.next(state, *id))
            {
                for (other, is_led_to) in states.iter().zip(&mut is_led_to).filter(|(_, is_led_to)| !**is_led_to) {
                    *is_led_to = next.covers(other);
                }
            }
        }
        let mut is_led_to = is_led_to.into_iter();
        states.retain(|_| !is_led_to.next().expect("there is one for each"));
        self.states = states;
    }

    /// Rows that are not known, by database.
    pub fn doubts(&self) -> BTreeSet<(u8, Vec<u8>)> {
        let Some((first, others)) = self.states.split_first() else { return BTreeSet::new() };
        others.iter().flat_map(|other| differences(&first.rows, &other.rows)).collect()
    }

    /// How much may be so.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// A start has found these rows: from now on they are what is so.
    pub fn survive(&mut self, mut survivors: Rows, now_ms: u64) -> Result<(), String> {
        Reach::All.expire(&mut survivors, now_ms);
        let ids: Vec<UnitId> = self.under_way.keys().copied().collect();
        ids.into_iter().for_each(|id| self.lose(id));
        let mut ways = self.states.iter().map(|state| self.leads_to(state, &survivors, now_ms));
        let is_right = ways.try_fold(Some(false), |all, one| match one {
            Some(true) => Err(()),
            Some(false) => Ok(all),
            None => Ok(None),
        });
        match is_right {
            _ if self.is_blind || self.last == 0 => {}
            Err(()) => {}
            Ok(None) => self.unjudged += 1,
            Ok(Some(_)) => return Err(self.unexplained_survivors(&survivors)),
        }
        self.states = vec![State::of(survivors)];
        self.under_way.clear();
        self.is_blind = false;
        Ok(())
    }

    /// Whether these rows are those of a state, with some of the units under way done. `None`: there are too many ways.
    fn leads_to(&self, state: &State, survivors: &Rows, now_ms: u64) -> Option<bool> {
        let left_of = |rows: &Rows| {
            let mut rows = rows.clone();
            Reach::All.expire(&mut rows, now_ms);
            rows
        };
        let mut left: BTreeSet<UnitId> = self.under_way.keys().copied().collect();
        left.retain(|id| !state.done.contains_key(id));
        // Rows that no unit under way reaches.
        let mut outside = differences(&left_of(&state.rows), survivors);
        while let Some(id) = left.pop_first() {
            let mut together = self.related(id, state);
            together.push(id);
            together.iter().for_each(|id| _ = left.remove(id));
            let reaches: Vec<Reach> = together.iter().map(|id| self.under_way[id].reach.clone()).collect();
            outside.retain(|row| !reaches.iter().any(|reach| reach.has(row)));
            let (mut seen, mut next) = (vec![state.clone()], 0);
            loop {
                let state = match seen.get(next) {
                    Some(state) => state.clone(),
                    None => return Some(false),
                };
                let rows = left_of(&state.rows);
                if reaches.iter().all(|reach| reach.agree(&rows, survivors)) {
                    break;
                }
                if seen.len() > STATES_MAX {
                    return None;
                }
                next += 1;
                together.iter().filter_map(|id| self.next(&state, *id)).for_each(|state| keep(&mut seen, state));
                self.expired(&state, &reaches, now_ms).into_iter().for_each(|state| keep(&mut seen, state));
            }
        }
        Some(outside.is_empty())
    }

    fn unexplained(&self, id: UnitId, said: &[u8]) -> String {
        let one = &self.under_way[&id];
        let mut text = format!("{EXPLAINED}: {} answers {}", one.unit.shown(), reply::shown(said));
        for other in self.under_way.iter().filter(|(other, _)| **other != id).map(|(_, other)| other) {
            text += &format!("\n  under way: {}{}", other.unit.shown(), if other.is_lost { " (lost)" } else { "" });
        }
        text
    }

    fn unexplained_survivors(&self, survivors: &Rows) -> String {
        let mut text = format!("{EXPLAINED}: nothing explains what survived");
        let nearest = self.states.iter().min_by_key(|state| differences(&state.rows, survivors).len());
        let rows = nearest.map(|state| state.rows.clone()).unwrap_or_default();
        for (db, key) in differences(&rows, survivors).iter().take(6) {
            let (found, expected) = (history::shown(survivors, *db, key), history::shown(&rows, *db, key));
            text += &format!("\n  {db}/{}: survived {found}; was {expected}", key.escape_ascii());
        }
        for one in self.under_way.values() {
            text += &format!("\n  under way: {}", one.unit.shown());
        }
        text
    }
}

fn keep(states: &mut Vec<State>, state: State) {
    if !states.iter().any(|other| other.covers(&state)) {
        states.push(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Rc<Unit> {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let commands: Vec<Args> = text.split("; ").map(words).collect();
        let shape = if commands.len() > 1 { Shape::Multi } else { Shape::One };
        Rc::new(Unit { db: 0, commands, shape })
    }

    fn orders() -> Orders {
        let mut orders = Orders::default();
        orders.survive(Rows::default(), 1000).unwrap();
        orders
    }

    fn rows(commands: &[&str]) -> Rows {
        let mut rows = Rows::default();
        commands.iter().for_each(|command| drop(unit(command).run(&mut rows, 1000)));
        rows
    }

    /// Asked for one after the other, with nothing under way but these.
    fn check(lines: &[(&str, &str)]) -> Result<(), String> {
        let mut orders = orders();
        let ids: Vec<UnitId> = lines.iter().map(|(line, _)| orders.ask(unit(line), 1000)).collect();
        let said = lines.iter().map(|(_, said)| format!("{said}\r\n").replace(' ', "\r\n"));
        ids.into_iter().zip(said).try_for_each(|(id, said)| orders.answer(id, said.as_bytes(), 1000))
    }

    #[test]
    fn some_order_explains_what_was_answered() {
        // All of them at once: a look may come before, between and behind.
        for seen in ["$-1", "$1 1", "$1 2"] {
            assert!(check(&[("SET a 1", "+OK"), ("SET a 2", "+OK"), ("GET a", seen)]).is_ok(), "{seen}");
        }
        assert!(check(&[("SET a 1", "+OK"), ("GET a", "$1 3")]).is_err());
        // What a look has seen stays seen, by others too.
        assert!(check(&[("SET a 1", "+OK"), ("GET a", "$1 1"), ("GET a", "$-1")]).is_ok());
        assert!(check(&[("MSET a 1 b 1", "+OK"), ("GET a; GET b", "*2 $1 1 $-1")]).is_err());
    }

    #[test]
    fn what_was_answered_is_over() {
        let mut orders = orders();
        let set = orders.ask(unit("SET a 1"), 1000);
        orders.answer(set, b"+OK\r\n", 1000).unwrap();
        let get = orders.ask(unit("GET a"), 1000);
        assert!(orders.answer(get, b"$-1\r\n", 1000).is_err());
    }

    #[test]
    fn a_row_expires_once_and_for_all() {
        // Asked for at 1000 and 1004, answered at 1010. What lives to 1005 may be there for the one and not for the other, but not the other way round.
        let answered = |first: &str, second: &str| {
            let mut orders = orders();
            let set = orders.ask(unit("MSET a 1 b 1; PEXPIREAT a 1005"), 1000);
            orders.answer(set, b"*2\r\n+OK\r\n:1\r\n", 1000).unwrap();
            let ids = [orders.ask(unit("GET a; GET a"), 1000), orders.ask(unit("COPY a c"), 1004)];
            let said = |text: &str| format!("{text}\r\n").replace(' ', "\r\n");
            let first = orders.answer(ids[0], said(first).as_bytes(), 1010);
            let second = orders.answer(ids[1], said(second).as_bytes(), 1010);
            let later = orders.ask(unit("GET a"), 1006);
            first.and(second).and(orders.answer(later, b"$-1\r\n", 1011)).is_ok()
        };
        for (first, second) in
            [("*2 $1 1 $1 1", ":1"), ("*2 $1 1 $1 1", ":0"), ("*2 $-1 $-1", ":0"), ("*2 $-1 $-1", ":1")]
        {
            assert!(answered(first, second), "{first} {second}");
        }
        assert!(!answered("*2 $1 1 $-1", ":1"));
        let mut orders = orders();
        let set = orders.ask(unit("SET a 1; PEXPIREAT a 1005"), 1000);
        orders.answer(set, b"*2\r\n+OK\r\n:1\r\n", 1000).unwrap();
        let get = orders.ask(unit("GET a"), 1000);
        assert!(orders.answer(get, b"$-1\r\n", 1004).is_err(), "it lives by then");
        let mut rows = rows(&["SET a 1; PEXPIREAT a 1005"]);
        assert!(self::orders().survive(rows.clone(), 1006).is_ok(), "it is gone, or will be");
        Reach::All.expire(&mut rows, 1006);
        assert!(rows.is_empty(0));
    }

    #[test]
    fn what_survives_is_whole_and_has_what_was_answered() {
        let after = |answered: bool, survivors: &[&str]| {
            let mut orders = orders();
            let ids = [orders.ask(unit("MSET a 1 b 1"), 1000), orders.ask(unit("RENAME a c"), 1000)];
            if answered {
                orders.answer(ids[0], b"+OK\r\n", 1000).unwrap();
            }
            orders.survive(rows(survivors), 1000).is_ok()
        };
        assert!(after(false, &[]) && !after(true, &[]));
        assert!(after(false, &["MSET a 1 b 1"]) && after(true, &["MSET c 1 b 1"]));
        // A half of the one, and of the other.
        assert!(!after(false, &["SET b 1"]) && !after(true, &["MSET a 1 b 1 c 1"]));
    }
}
