//! Scores as sorted sets keep them beside their members: the length says how to read them.
//!
//! | bytes | the score |
//! | --- | --- |
//! | 0 to 7 | an integer, in two's complement, little-endian, in as few bytes as it takes |
//! | 8 | any other: a double, little-endian |
//!
//! Data directories of earlier versions have 8 bytes for each. -0 is kept as 0.

/// Bytes of a score that is no short integer.
const DOUBLE_BYTES: usize = 8;

/// The bytes of a score.
#[derive(Clone, Copy, Debug)]
pub struct ScoreBytes {
    bytes: [u8; DOUBLE_BYTES],
    len: u8,
}

impl ScoreBytes {
    pub fn of(score: f64) -> ScoreBytes {
        let integer = score as i64;
        // An integer that is cut off by its type's bounds needs all bytes.
        if integer as f64 == score {
            let bits = i64::BITS - if integer < 0 { integer.leading_ones() } else { integer.leading_zeros() };
            let len = if integer == 0 { 0 } else { bits as usize / 8 + 1 };
            if len < DOUBLE_BYTES {
                return ScoreBytes { bytes: integer.to_le_bytes(), len: len as u8 };
            }
        }
        ScoreBytes { bytes: score.to_le_bytes(), len: DOUBLE_BYTES as u8 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The score that has these bytes.
pub fn of_bytes(bytes: &[u8]) -> f64 {
    if let Ok(double) = bytes.try_into() {
        return f64::from_le_bytes(double);
    }
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = if is_negative { [0xff; DOUBLE_BYTES] } else { [0; DOUBLE_BYTES] };
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_what_they_need() {
        for (score, len) in [
            (0.0, 0),
            (-0.0, 0),
            (1.0, 1),
            (127.0, 1),
            (128.0, 2),
            (-1.0, 1),
            (-128.0, 1),
            (-129.0, 2),
            (32767.0, 2),
            (1_700_000_000.0, 4),
            (1_700_000_000_000.0, 6),
            (9_007_199_254_740_992.0, 7),
            (36_028_797_018_963_964.0, 7),
            (36_028_797_018_963_968.0, 8),
            (-36_028_797_018_963_968.0, 7),
            (9_223_372_036_854_775_807.0, 8),
            (-9_223_372_036_854_775_808.0, 8),
            (1e300, 8),
            (0.5, 8),
            (-3.15, 8),
            (5e-324, 8),
            (f64::INFINITY, 8),
            (f64::NEG_INFINITY, 8),
        ] {
            let bytes = ScoreBytes::of(score);
            assert_eq!(bytes.as_bytes().len(), len, "{score}");
            assert_eq!(of_bytes(bytes.as_bytes()), score);
            assert!(of_bytes(bytes.as_bytes()).is_sign_positive() || score < 0.0);
        }
    }

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        assert_eq!(of_bytes(&[0, 0, 0, 0, 0, 0, 0xf0, 0x3f]), 1.0);
        assert_eq!(of_bytes(&[0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x09, 0x40]), 3.15);
        assert_eq!(of_bytes(&[0; 8]), 0.0);
    }
}
