//! Unsigned integers of any size: just what exact conversions between decimal and binary numbers need.

/// Little-endian limbs, the last one not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Big(Vec<u32>);

/// The largest power of ten in a limb.
const CHUNK: u32 = 1_000_000_000;
const CHUNK_DIGITS: usize = 9;

impl From<u64> for Big {
    fn from(value: u64) -> Big {
        Big(vec![value as u32, (value >> 32) as u32]).trimmed()
    }
}

impl Big {
    pub fn from_decimal(digits: &[u8]) -> Big {
        let mut number = Big(Vec::new());
        for chunk in digits.chunks(CHUNK_DIGITS) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
            number.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        number
    }

    /// Decimal digits without leading zeros.
    pub fn decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.is_zero() {
            chunks.push(self.divide(CHUNK));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:09}"));
        }
        text
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Position of the highest bit, plus one.
    pub fn bits(&self) -> u32 {
        self.0.last().map_or(0, |&top| self.0.len() as u32 * 32 - top.leading_zeros())
    }

    pub fn multiply_power_of_ten(&mut self, power: u32) {
        for _ in 0..power / CHUNK_DIGITS as u32 {
            self.multiply_add(CHUNK, 0);
        }
        self.multiply_add(10u32.pow(power % CHUNK_DIGITS as u32), 0);
    }

    pub fn shifted(&self, bits: u32) -> Big {
        let mut limbs = vec![0; (bits / 32) as usize];
        let mut carry = 0u64;
        for &limb in &self.0 {
            carry |= u64::from(limb) << (bits % 32);
            limbs.push(carry as u32);
            carry >>= 32;
        }
        limbs.push(carry as u32);
        Big(limbs).trimmed()
    }

    pub fn double(&mut self) {
        self.multiply_add(2, 0);
    }

    /// Subtracts `other` unless that is greater. Whether it did.
    pub fn subtract_if_not_less(&mut self, other: &Big) -> bool {
        let order = self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()));
        if order.is_lt() {
            return false;
        }
        let mut is_borrowing = false;
        for (index, limb) in self.0.iter_mut().enumerate() {
            let (less, first) = limb.overflowing_sub(other.0.get(index).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u32::from(is_borrowing));
            *limb = less;
            is_borrowing = first || second;
        }
        self.trim();
        true
    }

    fn multiply_add(&mut self, factor: u32, term: u32) {
        let mut carry = u64::from(term);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        self.0.push(carry as u32);
        self.trim();
    }

    /// Divides in place; answers the remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for limb in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*limb);
            *limb = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn trimmed(mut self) -> Big {
        self.trim();
        self
    }
}
