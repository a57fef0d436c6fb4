//! What DUMP answers and RESTORE takes, and FUNCTION DUMP and FUNCTION RESTORE: a body, and a footer that says whether it is whole.

use super::{Crc64, Input, Invalid, VERSION_MAX, Value, Version, What, kind, read, write};
use crate::shard::Kind;

pub const FOOTER_BYTES: usize = 10;

/// Begins the payload of a value.
pub fn begin(kind: Kind, version: Version) -> Vec<u8> {
    vec![write::type_of(kind, version)]
}

/// The same of a hash whose fields expire; and the version that it has.
pub fn begin_timed() -> (Vec<u8>, Version) {
    (vec![kind::HASH_TIMED], Version::Twelve)
}

/// Ends a payload.
pub fn seal(mut body: Vec<u8>, version: Version) -> Vec<u8> {
    body.extend_from_slice(&(version as u16).to_le_bytes());
    let crc = Crc64::of(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// The version of a payload, if it is long enough to have one.
pub fn version(payload: &[u8]) -> Option<u16> {
    let (_, footer) = payload.split_last_chunk::<FOOTER_BYTES>()?;
    Some(u16::from_le_bytes([footer[0], footer[1]]))
}

/// The body of a payload that is whole and of a version up to `version_max`.
pub fn body(payload: &[u8], version_max: u16) -> Result<&[u8], Invalid> {
    let short = || Invalid { what: What::Short((FOOTER_BYTES - payload.len()) as u64), at: payload.len() as u64 };
    let body_len = payload.len().checked_sub(FOOTER_BYTES).ok_or_else(short)?;
    let at = body_len as u64;
    let (body, footer) = payload.split_at(body_len);
    let (version, crc) = footer.split_first_chunk::<2>().expect("it has its length");
    let version = u16::from_le_bytes(*version);
    if version > version_max {
        return Err(Invalid { what: What::Version(version.into()), at });
    }
    let (expect, found) =
        (u64::from_le_bytes(crc.try_into().expect("it has its length")), Crc64::of(&payload[..at as usize + 2]));
    if expect != found {
        return Err(Invalid { what: What::Checksum { expect, found }, at: at + 2 });
    }
    Ok(body)
}

/// The payload of a value.
pub fn encode(value: &Value, version: Version) -> Vec<u8> {
    let is_timed = matches!(value, Value::Timed { .. });
    let (mut out, version) = if is_timed { begin_timed() } else { (begin(value.kind(), version), version) };
    write::value(&mut out, value, version);
    seal(out, version)
}

/// The value of a body. Packed strings may unpack to so many bytes together.
pub fn decode(body: &[u8], unpacked_max: u64) -> Result<Value, Invalid> {
    let mut input = Input::new(body, 0, unpacked_max);
    let of_type = input.byte()?;
    let value = read::value(of_type, &mut input)?;
    if input.is_at_end() { Ok(value) } else { Err(input.invalid(What::Rest)) }
}

/// The value of a payload as a whole.
pub fn open(payload: &[u8], unpacked_max: u64) -> Result<Value, Invalid> {
    decode(body(payload, VERSION_MAX)?, unpacked_max)
}
