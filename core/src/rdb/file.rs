//! Reads a file in steps, from bytes that come in pieces.
//!
//! ```text
//! start --header--> between --aux, sizes, function--> between
//! between --key--> value --piece--> value --its end--> between
//! between --255--> end
//! ```

use super::read::{Reading, Step, module_name};
use super::{Crc64, Input, Invalid, VERSION_MAX, What, opcode};
use crate::shard::Kind;

/// A file that is being read.
pub struct Walk {
    state: State,
    version: u16,
    /// Of the key that comes next.
    expire_ms: Option<u64>,
    /// Bytes of the file before those that come next.
    taken: u64,
    crc: Crc64,
    unpacked_max: u64,
}

enum State {
    Start,
    Between,
    Value(Reading),
    End,
}

/// What a step has found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Header {
        version: u16,
    },
    Aux {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    Database(u64),
    /// Keys of the database, and how many of them expire.
    Sizes {
        keys: u64,
        expiring: u64,
    },
    Function(Vec<u8>),
    /// Data of a module, which is passed over.
    ModuleAux {
        name: String,
    },
    /// A key. Pieces of its value follow, and [`Step::End`].
    Key {
        key: Vec<u8>,
        kind: Kind,
        /// Each field comes with a deadline: see [`super::Value::Timed`].
        is_timed: bool,
        expire_ms: Option<u64>,
    },
    Piece(Step),
    /// It is whole. Whether there was a checksum, which agreed.
    End {
        is_verified: bool,
    },
}

impl Walk {
    /// `unpacked_max`: how many bytes the packed strings of one step may unpack to.
    pub fn new(unpacked_max: u64) -> Walk {
        let state = State::Start;
        Walk { state, version: 0, expire_ms: None, taken: 0, crc: Crc64::default(), unpacked_max }
    }

    /// Reads on in the bytes that follow those of the steps before. How many it has used, and what it has found; what there is of elements
    /// is appended to `out`. Where the bytes end too early ([`What::Short`]) nothing has changed: the same again, with more of them.
    pub fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Found), Invalid> {
        let mut input = Input::new(bytes, self.taken, self.unpacked_max);
        let mut expire_ms = self.expire_ms;
        let (next, found) = match &mut self.state {
            State::Start => {
                let (version, found) = header(&mut input)?;
                self.version = version;
                (Some(State::Between), found)
            }
            State::Between => between(self.version, &mut input, &mut expire_ms, (&self.crc, bytes))?,
            State::Value(reading) => {
                let step = reading.step(&mut input, out)?;
                ((step == Step::End).then_some(State::Between), Found::Piece(step))
            }
            State::End => return Err(input.invalid(What::Rest)),
        };
        self.expire_ms = expire_ms;
        if let Some(next) = next {
            self.state = next;
        }
        let taken = input.taken();
        self.crc.add(&bytes[..taken]);
        self.taken += taken as u64;
        Ok((taken, found))
    }

    /// Bytes of the file that have been read.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

fn header(input: &mut Input<'_>) -> Result<(u16, Found), Invalid> {
    let magic = input.invalid(What::Magic);
    let bytes = input.array::<9>()?;
    let digits = bytes.strip_prefix(b"REDIS").ok_or(magic.clone())?;
    let version: u16 = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(magic)?;
    if version == 0 || version > VERSION_MAX {
        return Err(Invalid { what: What::Version(version.into()), at: 5 });
    }
    Ok((version, Found::Header { version }))
}

fn between(
    version: u16,
    input: &mut Input<'_>,
    expire_ms: &mut Option<u64>,
    seen: (&Crc64, &[u8]),
) -> Result<(Option<State>, Found), Invalid> {
    let mut expires = *expire_ms;
    loop {
        let place = input.place();
        let invalid = |what| Invalid { what, at: place };
        let found = match input.byte()? {
            // These stand in front of a key.
            opcode::EXPIRE_MS => {
                expires = Some(u64::from_le_bytes(input.array()?));
                continue;
            }
            opcode::EXPIRE_S => {
                expires = Some(u64::from(u32::from_le_bytes(input.array()?)) * 1000);
                continue;
            }
            opcode::IDLE => {
                input.length()?;
                continue;
            }
            opcode::FREQ => {
                input.byte()?;
                continue;
            }
            opcode::AUX => Found::Aux { name: input.string()?.into_owned(), value: input.string()?.into_owned() },
            opcode::DATABASE => Found::Database(input.length()?),
            opcode::SIZES => Found::Sizes { keys: input.length()?, expiring: input.length()? },
            opcode::SLOT => {
                for _ in 0..3 {
                    input.length()?;
                }
                continue;
            }
            opcode::FUNCTION => Found::Function(input.string()?.into_owned()),
            opcode::FUNCTION_OLD => return Err(invalid(What::FunctionOld)),
            opcode::MODULE_AUX => module_aux(input)?,
            opcode::END => return end(version, input, seen),
            of_type => {
                let key = input.string()?.into_owned();
                // A value of a module or one that cannot be kept is named with its place.
                let reading = Reading::new(of_type, input)?;
                let (kind, is_timed) = (reading.kind(), reading.is_timed());
                *expire_ms = None;
                return Ok((Some(State::Value(reading)), Found::Key { key, kind, is_timed, expire_ms: expires }));
            }
        };
        *expire_ms = expires;
        return Ok((None, found));
    }
}

/// `seen`: the checksum of what is before the bytes of this step, and these.
fn end(version: u16, input: &mut Input<'_>, seen: (&Crc64, &[u8])) -> Result<(Option<State>, Found), Invalid> {
    if version < 5 {
        return Ok((Some(State::End), Found::End { is_verified: false }));
    }
    let (at, before) = (input.place(), input.taken());
    let expect = u64::from_le_bytes(input.array()?);
    let (crc, bytes) = seen;
    let mut crc = crc.clone();
    crc.add(&bytes[..before]);
    let found = crc.value();
    if expect != 0 && expect != found {
        return Err(Invalid { what: What::Checksum { expect, found }, at });
    }
    Ok((Some(State::End), Found::End { is_verified: expect != 0 }))
}

/// Passes over what a module has written beside the keys.
fn module_aux(input: &mut Input<'_>) -> Result<Found, Invalid> {
    let name = module_name(input.length()?);
    loop {
        let place = input.place();
        match input.length()? {
            0 => return Ok(Found::ModuleAux { name }),
            1 | 2 => _ = input.length()?,
            3 => _ = input.array::<4>()?,
            4 => _ = input.array::<8>()?,
            5 => _ = input.string()?,
            other => return Err(Invalid { what: What::ModuleAux(other), at: place }),
        }
    }
}
