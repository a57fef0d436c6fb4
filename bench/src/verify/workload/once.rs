//! What is said and heard of transactions over several requests, of scripts, and of what is done once.

use super::unexpected;
use crate::sim::reply::Frame;

/// Appends to each of its keys what belongs to it, or reads it. There is no blank in it.
pub const SCRIPT: &str = "local\tout={}\tfor\tat=1,#KEYS\tdo\tif\tARGV[at]=='read'\tthen\tout[at]=redis.call('GET',KEYS[at])\t\
                          else\tout[at]=redis.call('APPEND',KEYS[at],ARGV[at])\tend\tend\treturn\tout";

/// The library of a function that does the same, and is asked for as [`FUNCTION`]. There is no blank in it either.
pub const LIBRARY: &str = "#!lua\tname=lists\nredis.register_function('lists',function(KEYS,ARGV)\tlocal\tout={}\t\
                           for\tat=1,#KEYS\tdo\tif\tARGV[at]=='read'\tthen\tout[at]=redis.call('GET',KEYS[at])\t\
                           else\tout[at]=redis.call('APPEND',KEYS[at],ARGV[at])\tend\tend\treturn\tout\tend)";
pub const FUNCTION: &str = "lists";

/// How one of every two is asked for, by a number of its own.
pub fn called(number: u32) -> String {
    if number.is_multiple_of(2) { format!("EVAL {SCRIPT}") } else { format!("FCALL {FUNCTION}") }
}

/// In place of something to append.
pub const READ: &str = "read";

/// Before what is done once. Nobody asks again later than that.
pub fn prefix(token: u32) -> String {
    format!("IDEMPOTENT once:{token} 86400000")
}

/// Others stood in the way, or it took too long, and nothing has happened.
const IN_THE_WAY: [&[u8]; 5] = [b"-DEADLOCK ", b"-LOCKTIMEOUT ", b"-TXNTIMEOUT ", b"-TXNENDED ", b"-TRYAGAIN "];

/// What COMMIT answers if the server has ended the transaction.
const ENDED: [&[u8]; 2] =
    [b"-EXECABORT Transaction rolled back: it ", b"-EXECABORT Transaction rolled back: the server stops"];

pub fn is_in_the_way(frame: &Frame) -> bool {
    matches!(frame, Frame::Line(line) if IN_THE_WAY.iter().any(|start| line.starts_with(start)))
}

/// Whether the server has ended an open transaction, by these replies to its commands.
pub fn has_ended(frames: &[Frame]) -> bool {
    frames.iter().any(is_in_the_way)
}

/// Whether a snapshot has ended before its transaction: what was read since never was.
pub fn is_too_old(frames: &[Frame]) -> bool {
    let starts = [&b"-SNAPSHOTTOOOLD "[..], b"-EXECABORT Transaction rolled back: "];
    frames.iter().any(|frame| matches!(frame, Frame::Line(line) if starts.iter().any(|start| line.starts_with(start))))
}

/// What COMMIT says.
pub fn is_committed(frame: &Frame) -> Result<bool, String> {
    match frame {
        Frame::Line(b"+OK") => Ok(true),
        Frame::Line(line) if ENDED.iter().any(|start| line.starts_with(start)) => Ok(false),
        other => Err(unexpected("COMMIT", other)),
    }
}
