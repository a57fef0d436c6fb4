//! Commands about single places: where they are, and how far from each other. And what arguments about places have in common.

use super::hash::{self, LATITUDES, LONGITUDES, Point};
use crate::collection::zset::ZSet;
use crate::command::Call;
use crate::command::args::{Args, copied};
use crate::command::zsets;
use crate::error::{Refusal, Stop};
use crate::number::{Extended, double};
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

/// `longitude latitude` at an argument.
pub fn parse_point(args: &Args<'_>, at: usize) -> Result<Point, Refusal> {
    let number = |at: usize| double::parse(&args[at]).ok_or(Refusal::NotFloat);
    let (longitude, latitude) = (number(at)?, number(at + 1)?);
    if !LONGITUDES.contains(&longitude) || !LATITUDES.contains(&latitude) {
        let (longitude, latitude) = (fixed(longitude), fixed(latitude));
        return Err(Refusal::text(format!("ERR invalid longitude,latitude pair {longitude},{latitude}")));
    }
    Ok(Point { longitude, latitude })
}

/// As C's `%f`.
fn fixed(value: f64) -> String {
    if value.is_infinite() { value.to_string() } else { format!("{value:.6}") }
}

/// Meters of a unit.
pub fn parse_unit(args: &Args<'_>, at: usize) -> Result<f64, Refusal> {
    match () {
        () if args.is(at, "m") => Ok(1.0),
        () if args.is(at, "km") => Ok(1000.0),
        () if args.is(at, "ft") => Ok(0.3048),
        () if args.is(at, "mi") => Ok(1609.34),
        () => Err(Refusal::text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// Four digits behind the point.
pub fn put_distance(reply: &mut Reply<'_>, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let (whole, part) = (scaled.unsigned_abs() / 10_000, scaled.unsigned_abs() % 10_000);
    reply.bulk(format!("{whole}.{part:04}").as_bytes());
}

/// Longitude and latitude, with 17 digits behind the point if they have as many.
pub fn put_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for value in [point.longitude, point.latitude] {
        reply.long_double(&Extended::of(value).format());
    }
}

pub fn geoadd(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let mut first = 2;
    let (mut only_new, mut only_old) = (false, false);
    while first < args.len() {
        match () {
            () if args.is(first, "nx") => only_new = true,
            () if args.is(first, "xx") => only_old = true,
            () if args.is(first, "ch") => {}
            () => break,
        }
        first += 1;
    }
    if !(args.len() - first).is_multiple_of(3) || only_new && only_old {
        return Err(Refusal::Syntax.into());
    }
    // The scores are known: it is a ZADD.
    let mut scores = Vec::with_capacity((args.len() - first) / 3);
    for at in (first..args.len()).step_by(3) {
        scores.push(double::format(hash::score_of(parse_point(args, at)?)));
    }
    let members = (first..args.len()).step_by(3).map(|at| &args[at + 2]);
    let pairs = scores.iter().zip(members).flat_map(|(score, member)| [score.as_bytes(), member]);
    let (bytes, ranges) = copied(args.iter().take(first).chain(pairs));
    zsets::zadd(shard, &Call { args: &Args::new(&bytes, &ranges), ..*call }, reply)
}

fn zset<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<ZSet<'a>>, Stop> {
    Ok(shard.read_collection(call, &call.args[1], Kind::ZSet)?.map(ZSet::new))
}

/// Answers something about each member, or that it is not there.
fn each(
    shard: &Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    answer: impl Fn(&mut Reply<'_>, Option<Point>),
) -> Result<(), Stop> {
    let zset = zset(shard, call)?;
    reply.array(call.args.len() - 2);
    for member in call.args.skip(2).iter() {
        let score = match &zset {
            Some(zset) => zset.score(shard, call, member)?,
            None => None,
        };
        answer(reply, score.map(hash::point_of));
    }
    Ok(())
}

pub fn geopos(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    each(shard, call, reply, |reply, point| match point {
        Some(point) => put_point(reply, point),
        None => reply.null_array(),
    })
}

pub fn geohash(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    each(shard, call, reply, |reply, point| match point {
        Some(point) => reply.bulk(&hash::text_of(point)),
        None => reply.null(),
    })
}

pub fn geodist(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let unit = match args.len() {
        4 => 1.0,
        5 => parse_unit(args, 4)?,
        _ => return Err(Refusal::Syntax.into()),
    };
    let Some(zset) = zset(shard, call)? else {
        reply.null();
        return Ok(());
    };
    let (one, other) = (zset.score(shard, call, &args[2])?, zset.score(shard, call, &args[3])?);
    match one.zip(other) {
        Some((one, other)) => put_distance(reply, hash::meters(hash::point_of(one), hash::point_of(other)) / unit),
        None => reply.null(),
    }
    Ok(())
}
