//! Hashes of the reference model, with fields that expire. A field past its time is as none to all but HLEN, until it is removed.

use super::collections::Collection;
use super::{Command, Refused, SYNTAX, integer};
use std::collections::BTreeMap;

/// A field's value, and its time to live: Unix milliseconds, 0 for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub value: Vec<u8>,
    pub expire_ms: u64,
}

/// By name, those past their time included until they are removed.
type Fields = BTreeMap<Vec<u8>, Field>;

impl Field {
    fn of(value: &[u8]) -> Field {
        Field { value: value.to_vec(), expire_ms: 0 }
    }

    pub fn is_live(&self, now_ms: u64) -> bool {
        self.expire_ms == 0 || self.expire_ms >= now_ms
    }
}

/// What stands behind `FIELDS number`, which ends a command.
fn named<'a>(args: &'a [&'a [u8]]) -> Result<&'a [&'a [u8]], Refused> {
    let at = args.iter().position(|word| *word == b"FIELDS").ok_or(SYNTAX)?;
    Ok(&args[at + 2..])
}

/// What a time to live becomes.
#[derive(Clone, Copy)]
enum Until {
    Unsaid,
    Persist,
    Keep,
    At(u64),
}

impl Command<'_> {
    fn hash(&mut self, key: &[u8]) -> Fields {
        self.of_kind(key, "hash", |kept| if let Collection::Hash(fields) = kept { Some(fields.clone()) } else { None })
    }

    /// The field as others see it.
    fn live_field<'f>(&self, fields: &'f Fields, name: &[u8]) -> Option<&'f Field> {
        fields.get(name).filter(|field| field.is_live(self.now_ms))
    }

    fn value<'f>(&self, fields: &'f Fields, name: &[u8]) -> Option<&'f [u8]> {
        self.live_field(fields, name).map(|field| &field.value[..])
    }

    /// Removes it if it is there. Whether it was.
    fn drop_field(&self, fields: &mut Fields, name: &[u8]) -> bool {
        self.live_field(fields, name).is_some() && fields.remove(name).is_some()
    }

    pub(super) fn run_hash(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        let key = args[1];
        let mut fields = self.hash(key);
        match name {
            b"hget" => self.bulk(self.value(&fields, args[2]).map(<[u8]>::to_vec).as_deref()),
            b"hmget" => self.values(&fields, &args[2..]),
            b"hlen" => self.integer(fields.len() as i64),
            b"hexists" => self.integer(i64::from(self.live_field(&fields, args[2]).is_some())),
            b"hstrlen" => self.integer(self.value(&fields, args[2]).map_or(0, <[u8]>::len) as i64),
            b"hset" => {
                let mut new = 0;
                for pair in args[2..].chunks(2) {
                    new += i64::from(self.live_field(&fields, pair[0]).is_none());
                    fields.insert(pair[0].to_vec(), Field::of(pair[1]));
                }
                self.keep(key, Collection::Hash(fields), true);
                self.integer(new);
            }
            b"hsetnx" => {
                let is_new = self.live_field(&fields, args[2]).is_none();
                if is_new {
                    fields.insert(args[2].to_vec(), Field::of(args[3]));
                }
                self.keep(key, Collection::Hash(fields), is_new);
                self.integer(i64::from(is_new));
            }
            b"hdel" => {
                let gone = args[2..].iter().filter(|name| self.drop_field(&mut fields, name)).count();
                self.keep(key, Collection::Hash(fields), gone > 0);
                self.integer(gone as i64);
            }
            b"hincrby" => {
                let before = self.live_field(&fields, args[2]).cloned().unwrap_or_else(|| Field::of(b"0"));
                let sum = integer(&before.value).map_err(|_| "ERR hash value is not an integer")?;
                let sum = sum.checked_add(integer(args[3])?).ok_or("ERR increment or decrement would overflow")?;
                fields.insert(args[2].to_vec(), Field { value: sum.to_string().into_bytes(), ..before });
                self.keep(key, Collection::Hash(fields), true);
                self.integer(sum);
            }
            _ => return self.run_deadlines(name, args, fields),
        }
        Ok(true)
    }

    fn values(&mut self, fields: &Fields, names: &[&[u8]]) {
        self.array(names.len());
        for name in names {
            let value = self.value(fields, name).map(<[u8]>::to_vec);
            self.bulk(value.as_deref());
        }
    }

    fn run_deadlines(&mut self, name: &[u8], args: &[&[u8]], mut fields: Fields) -> Result<bool, Refused> {
        let (key, now_ms) = (args[1], self.now_ms);
        match name {
            b"hexpire" => self.expire_fields(args, fields, 1000, now_ms)?,
            b"hpexpire" => self.expire_fields(args, fields, 1, now_ms)?,
            b"hexpireat" => self.expire_fields(args, fields, 1000, 0)?,
            b"hpexpireat" => self.expire_fields(args, fields, 1, 0)?,
            b"httl" => self.tell_deadlines(args, &fields, |ms| ms.saturating_sub(now_ms).div_ceil(1000))?,
            b"hpttl" => self.tell_deadlines(args, &fields, |ms| ms.saturating_sub(now_ms))?,
            b"hexpiretime" => self.tell_deadlines(args, &fields, |ms| ms.div_ceil(1000))?,
            b"hpexpiretime" => self.tell_deadlines(args, &fields, |ms| ms)?,
            b"hpersist" => {
                let names = named(args)?;
                self.array(names.len());
                let mut is_changed = false;
                for name in names {
                    let was = self.live_field(&fields, name).map(|field| field.expire_ms);
                    if let Some(1..) = was {
                        fields.get_mut(*name).expect("it was found").expire_ms = 0;
                        is_changed = true;
                    }
                    self.integer(was.map_or(-2, |ms| if ms == 0 { -1 } else { 1 }));
                }
                self.keep(key, Collection::Hash(fields), is_changed);
            }
            b"hgetdel" => {
                let names = named(args)?;
                self.array(names.len());
                let mut is_changed = false;
                for name in names {
                    let value = self.value(&fields, name).map(<[u8]>::to_vec);
                    is_changed |= self.drop_field(&mut fields, name);
                    self.bulk(value.as_deref());
                }
                self.keep(key, Collection::Hash(fields), is_changed);
            }
            b"hgetex" => self.hgetex(args, fields)?,
            b"hsetex" => self.hsetex(args, fields)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// HEXPIRE key time [NX | XX | GT | LT] FIELDS number field ... and its like
    fn expire_fields(&mut self, args: &[&[u8]], mut fields: Fields, scale: u64, from_ms: u64) -> Result<(), Refused> {
        let when = from_ms + scale * integer(args[2])? as u64;
        let is_allowed = |was: u64| match args[3] {
            b"NX" => was == 0,
            b"XX" => was != 0,
            b"GT" => was != 0 && was < when,
            b"LT" => was == 0 || was > when,
            _ => true,
        };
        let names = named(args)?;
        self.array(names.len());
        let mut is_changed = false;
        for name in names {
            let done = match self.live_field(&fields, name).map(|field| field.expire_ms) {
                None => -2,
                Some(was) if !is_allowed(was) => 0,
                Some(_) => self.expire_field(&mut fields, name, when),
            };
            is_changed |= done > 0;
            self.integer(done);
        }
        self.keep(args[1], Collection::Hash(fields), is_changed);
        Ok(())
    }

    /// A field that is there has another deadline; where that is not ahead, it goes. As HEXPIRE answers.
    fn expire_field(&self, fields: &mut Fields, name: &[u8], when: u64) -> i64 {
        if when <= self.now_ms {
            fields.remove(name);
            return 2;
        }
        fields.get_mut(name).expect("it is there").expire_ms = when;
        1
    }

    fn tell_deadlines(&mut self, args: &[&[u8]], fields: &Fields, show: impl Fn(u64) -> u64) -> Result<(), Refused> {
        let names = named(args)?;
        self.array(names.len());
        for name in names {
            let deadline = self.live_field(fields, name).map(|field| field.expire_ms);
            self.integer(deadline.map_or(-2, |ms| if ms == 0 { -1 } else { show(ms) as i64 }));
        }
        Ok(())
    }

    /// What stands before FIELDS, if it is of deadlines.
    fn until(&self, words: &[&[u8]]) -> Result<Until, Refused> {
        Ok(match words {
            [] => Until::Unsaid,
            [b"PERSIST"] => Until::Persist,
            [b"KEEPTTL"] => Until::Keep,
            [unit, amount] => {
                let deadline = self.deadline(&unit.to_ascii_lowercase(), integer(amount)?)?;
                Until::At(deadline.ok_or(SYNTAX)?)
            }
            _ => return Err(SYNTAX),
        })
    }

    /// HGETEX key [PERSIST | EX seconds | ...] FIELDS number field ...
    fn hgetex(&mut self, args: &[&[u8]], mut fields: Fields) -> Result<(), Refused> {
        let names = named(args)?;
        let until = self.until(&args[2..args.len() - names.len() - 2])?;
        self.array(names.len());
        let mut is_changed = false;
        for name in names {
            let was = self.live_field(&fields, name).cloned();
            self.bulk(was.as_ref().map(|field| &field.value[..]));
            match (until, was) {
                (Until::At(ms), Some(_)) => is_changed |= self.expire_field(&mut fields, name, ms) > 0,
                (Until::Persist, Some(field)) if field.expire_ms != 0 => {
                    fields.insert(name.to_vec(), Field { expire_ms: 0, ..field });
                    is_changed = true;
                }
                _ => {}
            }
        }
        self.keep(args[1], Collection::Hash(fields), is_changed);
        Ok(())
    }

    /// HSETEX key [FNX | FXX] [KEEPTTL | EX seconds | ...] FIELDS number field value ...
    fn hsetex(&mut self, args: &[&[u8]], mut fields: Fields) -> Result<(), Refused> {
        let pairs = named(args)?;
        let words = &args[2..args.len() - pairs.len() - 2];
        let (condition, words) = words.split_at(usize::from(matches!(words.first(), Some(&(b"FNX" | b"FXX")))));
        let until = self.until(words)?;
        let mut there = pairs.chunks(2).map(|pair| self.live_field(&fields, pair[0]).is_some());
        let is_done = match condition {
            [b"FNX"] => !there.any(|is_there| is_there),
            [b"FXX"] => there.all(|is_there| is_there),
            _ => true,
        };
        if is_done {
            // Fields whose time is over go, or were not there.
            let before = fields.len();
            let sets = !matches!(until, Until::At(ms) if ms <= self.now_ms);
            for pair in pairs.chunks(2) {
                let kept_ms = self.live_field(&fields, pair[0]).map_or(0, |field| field.expire_ms);
                let expire_ms = match until {
                    Until::At(ms) if ms <= self.now_ms => {
                        self.drop_field(&mut fields, pair[0]);
                        continue;
                    }
                    Until::At(ms) => ms,
                    Until::Keep => kept_ms,
                    Until::Unsaid | Until::Persist => 0,
                };
                fields.insert(pair[0].to_vec(), Field { expire_ms, ..Field::of(pair[1]) });
            }
            let is_changed = sets || fields.len() < before;
            self.keep(args[1], Collection::Hash(fields), is_changed);
        }
        self.integer(i64::from(is_done));
        Ok(())
    }
}
