//! CRC32C (Castagnoli), the one checksum of log and pages. Computed by the processor where it can.

/// The CRC32C of `parts`, as if they stood one after the other.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// The CRC32C of what `crc` is of, and `more` behind it.
pub fn crc32c_append(crc: u32, more: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, more)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn check_value_of_rfc_3720() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }
}
