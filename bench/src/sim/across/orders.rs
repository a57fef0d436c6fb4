//! The judge of units over any shards: is there an order in which the reference model answers what was answered?
//!
//! A unit takes effect at one moment between its request and its reply, wholly; one whose reply was lost at some moment later, or never. What may be
//! so is kept as a list of *states*, each of which explains all replies so far: rows, which of the units under way have been done, and what those that only
//! look can have seen on the way. A reply is explained by doing units under way in every order that can matter, the answered one last (just-in-time
//! linearization: Lowe, "Testing for linearizability", 2017). Units that have no row in common need not be ordered, and a state that another one leads to
//! by a unit under way says nothing that the other one does not. After a crash the rows of all shards together must be those of one of the states, with
//! some of the units under way done.

use super::super::checks::{self, Args};
use super::super::reply;
use crate::history::{self, differences};
use crate::model::{self, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The check, as failures show it.
pub const EXPLAINED: &str = "some order of units explains every reply, and what survives";

/// To the model it is always this time: deadlines are long past or far away.
const NOW_MS: u64 = 1_000_000_000;

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
    /// Runs it on these rows: the last reply, which tells all.
    fn run(&self, rows: &mut Rows) -> Vec<u8> {
        let mut all = if self.shape == Shape::One { Vec::new() } else { self.array() };
        for args in &self.commands {
            all.extend(model::run(rows, NOW_MS, self.db, args).reply);
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

    /// In these rows both are the same.
    fn agree(&self, one: &Rows, other: &Rows) -> bool {
        match self {
            Reach::Rows(rows) => rows.iter().all(|(db, key)| one.get(*db, key) == other.get(*db, key)),
            Reach::All => one.equals(other),
        }
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
    pub fn ask(&mut self, unit: Rc<Unit>) -> UnitId {
        self.last += 1;
        let is_read = !unit.commands.iter().any(checks::is_write);
        for state in self.states.iter_mut().filter(|_| is_read) {
            let seen = unit.run(&mut state.rows.clone());
            state.looks.insert(self.last, BTreeSet::from([seen]));
        }
        let under_way = UnderWay { reach: unit.reach(), is_read, is_lost: false, unit };
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
    pub fn answer(&mut self, id: UnitId, said: &[u8]) -> Result<(), String> {
        let mut after = Vec::new();
        for state in std::mem::take(&mut self.states) {
            match state.done.get(&id).map(|expected| expected == said) {
                Some(true) => keep(&mut after, state),
                Some(false) => {}
                None => self.explain(state, id, said, &mut after),
            }
        }
        if after.is_empty() && !self.is_blind {
            return Err(self.unexplained(id, said));
        }
        self.states_max = self.states_max.max(after.len());
        self.states = if self.is_blind { Vec::new() } else { after };
        self.end(id);
        self.forget_done();
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
    fn explain(&mut self, state: State, id: UnitId, said: &[u8], after: &mut Vec<State>) {
        let related = self.related(id, &state);
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
        }
    }

    /// The state with one more unit done, if it is not.
    fn next(&self, state: &State, id: UnitId) -> Option<State> {
        let UnderWay { unit, is_lost, reach, .. } = &self.under_way[&id];
        if state.done.contains_key(&id) {
            return None;
        }
        let mut state = state.clone();
        let said = unit.run(&mut state.rows);
        state.done.insert(id, if *is_lost { Vec::new() } else { said });
        for (look, seen) in &mut state.looks {
            let look = &self.under_way[look];
            if look.reach.meets(reach) {
                seen.insert(look.unit.run(&mut state.rows.clone()));
            }
        }
        Some(state)
    }

    /// Units that change rows, are not done in this state and may matter to this one: it has a row in common with them, or with others that have.
    fn related(&self, id: UnitId, state: &State) -> Vec<UnitId> {
        let is_open =
            |(other, one): &(&UnitId, &UnderWay)| **other != id && !one.is_read && !state.done.contains_key(other);
        let mut others: Vec<UnitId> = self.under_way.iter().filter(is_open).map(|(other, _)| *other).collect();
        let (mut related, mut next) = (vec![id], 0);
        while let Some(one) = related.get(next).map(|id| &self.under_way[id].reach) {
            related.extend(others.extract_if(.., |other| one.meets(&self.under_way[other].reach)));
            next += 1;
        }
        related.split_off(1)
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
    pub fn survive(&mut self, survivors: Rows) -> Result<(), String> {
        let ids: Vec<UnitId> = self.under_way.keys().copied().collect();
        ids.into_iter().for_each(|id| self.lose(id));
        let mut ways = self.states.iter().map(|state| self.leads_to(state, &survivors));
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
    fn leads_to(&self, state: &State, survivors: &Rows) -> Option<bool> {
        let mut left: BTreeSet<UnitId> = self.under_way.keys().copied().collect();
        left.retain(|id| !state.done.contains_key(id));
        // Rows that no unit under way reaches.
        let mut outside = differences(&state.rows, survivors);
        while let Some(id) = left.pop_first() {
            let mut together = self.related(id, state);
            together.push(id);
            together.iter().for_each(|id| _ = left.remove(id));
            let reaches: Vec<&Reach> = together.iter().map(|id| &self.under_way[id].reach).collect();
            outside.retain(|row| !reaches.iter().any(|reach| reach.has(row)));
            let (mut seen, mut next) = (vec![state.clone()], 0);
            loop {
                let state = match seen.get(next) {
                    Some(state) => state.clone(),
                    None => return Some(false),
                };
                if reaches.iter().all(|reach| reach.agree(&state.rows, survivors)) {
                    break;
                }
                if seen.len() > STATES_MAX {
                    return None;
                }
                next += 1;
                together.iter().filter_map(|id| self.next(&state, *id)).for_each(|state| keep(&mut seen, state));
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
        orders.survive(Rows::default()).unwrap();
        orders
    }

    fn rows(commands: &[&str]) -> Rows {
        let mut rows = Rows::default();
        commands.iter().for_each(|command| drop(unit(command).run(&mut rows)));
        rows
    }

    /// Asked for one after the other, with nothing under way but these.
    fn check(lines: &[(&str, &str)]) -> Result<(), String> {
        let mut orders = orders();
        let ids: Vec<UnitId> = lines.iter().map(|(line, _)| orders.ask(unit(line))).collect();
        let said = lines.iter().map(|(_, said)| format!("{said}\r\n").replace(' ', "\r\n"));
        ids.into_iter().zip(said).try_for_each(|(id, said)| orders.answer(id, said.as_bytes()))
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
        let set = orders.ask(unit("SET a 1"));
        orders.answer(set, b"+OK\r\n").unwrap();
        let get = orders.ask(unit("GET a"));
        assert!(orders.answer(get, b"$-1\r\n").is_err());
    }

    #[test]
    fn what_survives_is_whole_and_has_what_was_answered() {
        let after = |answered: bool, survivors: &[&str]| {
            let mut orders = orders();
            let ids = [orders.ask(unit("MSET a 1 b 1")), orders.ask(unit("RENAME a c"))];
            if answered {
                orders.answer(ids[0], b"+OK\r\n").unwrap();
            }
            orders.survive(rows(survivors)).is_ok()
        };
        assert!(after(false, &[]) && !after(true, &[]));
        assert!(after(false, &["MSET a 1 b 1"]) && after(true, &["MSET c 1 b 1"]));
        // A half of the one, and of the other.
        assert!(!after(false, &["SET b 1"]) && !after(true, &["MSET a 1 b 1 c 1"]));
    }
}
