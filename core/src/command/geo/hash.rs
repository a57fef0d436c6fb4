//! Places on the earth as integers whose order keeps what is near together: longitude and latitude, their bits in turn. What Redis 7.2 computes in
//! `geohash.c` and `geohash_helper.c`, to the last bit, for its results are compared with ours.

use std::ops::RangeInclusive;

/// Bits of a longitude, and of a latitude, in a score.
pub const STEPS: u32 = 26;

pub const LONGITUDES: RangeInclusive<f64> = -180.0..=180.0;

/// Nothing is nearer to the poles (EPSG:900913).
pub const LATITUDES: RangeInclusive<f64> = -85.05112878..=85.05112878;

const RADIANS: f64 = std::f64::consts::PI / 180.0;

/// The quadratic mean of the earth's radius (WGS 84).
const EARTH_METERS: f64 = 6_372_797.560856;

const MERCATOR_MAX: f64 = 20_037_726.37;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// A cell of a grid over the earth, of `steps` bits each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    bits: u64,
    steps: u32,
}

/// What a cell covers.
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

/// The even bits are `even`'s, the others `odd`'s.
fn interleave(even: u32, odd: u32) -> u64 {
    let apart = |bits: u32| {
        let mut bits = u64::from(bits);
        for (shift, mask) in [
            (16, 0x0000_ffff_0000_ffff),
            (8, 0x00ff_00ff_00ff_00ff),
            (4, 0x0f0f_0f0f_0f0f_0f0f),
            (2, 0x3333_3333_3333_3333),
            (1, 0x5555_5555_5555_5555),
        ] {
            bits = (bits | bits << shift) & mask;
        }
        bits
    };
    apart(even) | apart(odd) << 1
}

/// The even bits, and the others.
fn separate(bits: u64) -> (u32, u32) {
    let together = |bits: u64| {
        let mut bits = bits & 0x5555_5555_5555_5555;
        for (shift, mask) in [
            (1, 0x3333_3333_3333_3333),
            (2, 0x0f0f_0f0f_0f0f_0f0f),
            (4, 0x00ff_00ff_00ff_00ff),
            (8, 0x0000_ffff_0000_ffff),
            (16, 0x0000_0000_ffff_ffff),
        ] {
            bits = (bits | bits >> shift) & mask;
        }
        bits as u32
    };
    (together(bits), together(bits >> 1))
}

const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const EVEN: u64 = 0x5555_5555_5555_5555;

impl Cell {
    /// The cell of a place, where latitudes are within these.
    fn within(point: Point, steps: u32, latitudes: &RangeInclusive<f64>) -> Cell {
        let offset = |value: f64, range: &RangeInclusive<f64>| {
            let share = (value - range.start()) / (range.end() - range.start());
            (share * (1u64 << steps) as f64) as u32
        };
        Cell { bits: interleave(offset(point.latitude, latitudes), offset(point.longitude, &LONGITUDES)), steps }
    }

    pub fn of(point: Point, steps: u32) -> Cell {
        Cell::within(point, steps, &LATITUDES)
    }

    fn area(self) -> Area {
        let (latitude, longitude) = separate(self.bits);
        let edge = |at: u32, range: &RangeInclusive<f64>| {
            range.start() + f64::from(at) / (1u64 << self.steps) as f64 * (range.end() - range.start())
        };
        Area {
            west: edge(longitude, &LONGITUDES),
            east: edge(longitude.wrapping_add(1), &LONGITUDES),
            south: edge(latitude, &LATITUDES),
            north: edge(latitude.wrapping_add(1), &LATITUDES),
        }
    }

    /// The next cell in these directions, around the edge where there is one: -1, 0 or 1 each.
    fn moved(self, east: i32, north: i32) -> Cell {
        let all = u64::MAX >> (64 - 2 * self.steps);
        let step = |bits: u64, others: u64, by: i32| match by {
            0 => bits,
            1 => bits.wrapping_add(others + 1),
            _ => (bits | others).wrapping_sub(others + 1),
        };
        let longitude = step(self.bits & ODD, EVEN & all, east) & if east == 0 { ODD } else { ODD & all };
        let latitude = step(self.bits & EVEN, ODD & all, north) & if north == 0 { EVEN } else { EVEN & all };
        Cell { bits: longitude | latitude, ..self }
    }

    /// The scores of the places in it: the first, and the first behind them.
    pub fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.steps);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

/// The score of a place.
pub fn score_of(point: Point) -> f64 {
    Cell::of(point, STEPS).bits as f64
}

/// The bits that C makes of a score that need not be a place's.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    match score {
        _ if score < HALF => score as i64 as u64,
        _ if score < 2.0 * HALF => (score - HALF) as u64 | 1 << 63,
        _ => 0,
    }
}

/// The place that a score stands for: the middle of its cell.
pub fn point_of(score: f64) -> Point {
    let Area { west, east, south, north } = Cell { bits: bits_of(score), steps: STEPS }.area();
    Point {
        longitude: ((west + east) / 2.0).clamp(*LONGITUDES.start(), *LONGITUDES.end()),
        latitude: ((south + north) / 2.0).clamp(*LATITUDES.start(), *LATITUDES.end()),
    }
}

/// The geohash that others use, for which latitudes reach the poles. Of its eleven characters the last has no bits.
pub fn text_of(point: Point) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::within(point, STEPS, &(-90.0..=90.0)).bits;
    let mut text = [b'0'; 11];
    for (at, letter) in text[..10].iter_mut().enumerate() {
        *letter = ALPHABET[(bits >> (2 * STEPS as usize - 5 * (at + 1))) as usize & 0x1f];
    }
    text
}

fn meters_north(from: f64, to: f64) -> f64 {
    EARTH_METERS * (to * RADIANS - from * RADIANS).abs()
}

/// The distance of two places in meters, along a great circle.
pub fn meters(one: Point, other: Point) -> f64 {
    let v = ((other.longitude * RADIANS - one.longitude * RADIANS) / 2.0).sin();
    if v == 0.0 {
        return meters_north(one.latitude, other.latitude);
    }
    let (from, to) = (one.latitude * RADIANS, other.latitude * RADIANS);
    let u = ((to - from) / 2.0).sin();
    let a = u * u + from.cos() * to.cos() * v * v;
    2.0 * EARTH_METERS * a.sqrt().asin()
}

/// What is searched around a place, in meters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// The distance of a place from the middle, if it is inside.
    pub fn distance(self, middle: Point, point: Point) -> Option<f64> {
        match self {
            Shape::Circle { radius } => {
                let distance = meters(middle, point);
                if distance > radius { None } else { Some(distance) }
            }
            Shape::Box { width, height } => {
                let beside = Point { longitude: middle.longitude, ..point };
                let is_outside =
                    meters_north(point.latitude, middle.latitude) > height / 2.0 || meters(point, beside) > width / 2.0;
                (!is_outside).then(|| meters(middle, point))
            }
        }
    }

    /// The least latitudes and longitudes, and the largest.
    fn bounds(self, middle: Point) -> Area {
        let (width, height) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let north = height / EARTH_METERS / RADIANS;
        let edge = if middle.latitude < 0.0 { middle.latitude - north } else { middle.latitude + north };
        let east = width / EARTH_METERS / (edge * RADIANS).cos() / RADIANS;
        Area {
            west: middle.longitude - east,
            east: middle.longitude + east,
            south: middle.latitude - north,
            north: middle.latitude + north,
        }
    }

    /// How fine the grid is whose cell and its neighbours cover the shape.
    fn steps(self, middle: Point) -> u32 {
        let mut meters = match self {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => (width / 2.0 * (width / 2.0) + height / 2.0 * (height / 2.0)).sqrt(),
        };
        if meters == 0.0 {
            return STEPS;
        }
        let mut steps = 1;
        while meters < MERCATOR_MAX {
            meters *= 2.0;
            steps += 1;
        }
        steps -= 2;
        // Cells are narrower near the poles.
        let latitude = middle.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }

    /// The cells that cover it, in the order in which they are searched.
    pub fn cells(self, middle: Point) -> Vec<Cell> {
        let bounds = self.bounds(middle);
        let mut steps = self.steps(middle);
        let mut cell = Cell::of(middle, steps);
        let is_covered = cell.moved(0, 1).area().north >= bounds.north
            && cell.moved(0, -1).area().south <= bounds.south
            && cell.moved(1, 0).area().east >= bounds.east
            && cell.moved(-1, 0).area().west <= bounds.west;
        if steps > 1 && !is_covered {
            steps -= 1;
            cell = Cell::of(middle, steps);
        }
        let own = cell.area();
        let is_wanted = |east: i32, north: i32| {
            let is_passed = north < 0 && own.south < bounds.south
                || north > 0 && own.north > bounds.north
                || east < 0 && own.west < bounds.west
                || east > 0 && own.east > bounds.east;
            steps < 2 || !is_passed
        };
        const AROUND: [(i32, i32); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let around = AROUND.into_iter().filter(|(east, north)| is_wanted(*east, *north));
        let mut cells = vec![cell];
        for next in around.map(|(east, north)| cell.moved(east, north)) {
            // Of a coarse grid neighbours may be the same.
            if cells.len() == 1 || cells.last() != Some(&next) {
                cells.push(next);
            }
        }
        cells
    }
}
