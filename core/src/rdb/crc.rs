//! The checksum of payloads and files: CRC64 with the Jones polynomial, from 0.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// A checksum over bytes that come in pieces.
#[derive(Clone)]
pub struct Crc64 {
    digest: Digest<'static, u64, Table<16>>,
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64 { digest: CRC.digest() }
    }
}

impl Crc64 {
    pub fn of(bytes: &[u8]) -> u64 {
        CRC.checksum(bytes)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.digest.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_redis_in_any_pieces() {
        assert_eq!(Crc64::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let mut crc = Crc64::default();
        assert_eq!(crc.value(), 0);
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.value(), 0xe9c6_d914_c4b8_d9ca);
    }
}
