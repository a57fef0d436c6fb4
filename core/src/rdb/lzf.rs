//! Unpacks LZF, in which Redis packs strings. Ours are written unpacked.
//!
//! Each step begins with a byte: below 32, one literal more than it says follows; else its upper three bits are a length, 7 for one that the
//! next byte adds to, and the lower five with the byte behind are how far back a copy of two bytes more begins.

/// The bytes that `packed` stands for, which are `len`; `None` if they are not.
pub fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // A step of three bytes makes 264.
    let mut out: Vec<u8> = Vec::with_capacity(len.min(packed.len().saturating_mul(2)));
    let mut bytes = packed;
    let mut next = |count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(taken)
    };
    while let Some(&[control]) = next(1) {
        let control = usize::from(control);
        if control < 32 {
            out.extend_from_slice(next(control + 1)?);
        } else {
            let mut count = (control >> 5) + 2;
            if control >> 5 == 7 {
                count += usize::from(next(1)?[0]);
            }
            let back = (control & 31) << 8 | usize::from(next(1)?[0]);
            let start = out.len().checked_sub(back + 1)?;
            if back + 1 >= count {
                out.extend_from_within(start..start + count);
            } else {
                // It goes on into what it has just written.
                (start..start + count).for_each(|at| out.push(out[at]));
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies_unpack_and_nothing_else_does() {
        let check = |packed: &[u8], len, expect: Option<&[u8]>| assert_eq!(unpack(packed, len).as_deref(), expect);
        check(b"", 0, Some(b""));
        check(b"\x02abc", 3, Some(b"abc"));
        check(b"\x02abc\x20\x02", 6, Some(b"abcabc"));
        check(b"\x00a\xe0\xff\x00", 265, Some(&[b'a'; 265]));
        check(b"\x02abc", 2, None);
        check(b"\x02abc", 4, None);
        check(b"\x03abc", 3, None);
        check(b"\x02abc\x20\x03", 6, None);
        check(b"\x02abc\x20", 3, None);
        check(b"\x02abc\xe0", 3, None);
    }
}
