//! Objects against registers that are kept by themselves. That the bytes are Redis's is shown by `cairn differ`.

use super::*;

const ROOM: usize = 3000;

fn registers_of(bytes: &[u8]) -> Box<Registers> {
    let mut registers = Box::new([0; REGISTERS]);
    merge(&mut registers, bytes).unwrap();
    registers
}

#[test]
fn an_object_has_the_registers_that_its_elements_raise() {
    let (mut hll, mut expect) = (Hll::empty(), Box::new([0u8; REGISTERS]));
    let mut was_sparse = 0;
    for number in 0..20_000u32 {
        let element = number.to_string();
        let (register, value) = place(element.as_bytes());
        let changes = expect[register] < value;
        expect[register] = expect[register].max(value);
        assert_eq!(hll.add(element.as_bytes(), ROOM), Ok(changes), "{number}");
        assert!(hll.encoding() == Encoding::Dense || hll.bytes.len() <= ROOM);
        was_sparse += u32::from(hll.encoding() == Encoding::Sparse);
        if number % 500 == 0 || number == 19_999 {
            assert_eq!(registers_of(&hll.bytes), expect, "{number}");
            let (count, error) = (cardinality(&expect) as f64, f64::from(number + 1) * 0.03 + 1.0);
            assert!((count - f64::from(number + 1)).abs() <= error, "{number}: {count}");
        }
    }
    assert!((500..19_000).contains(&was_sparse), "{was_sparse}");
}

#[test]
fn runs_split_and_join() {
    let mut hll = Hll::empty();
    let mut check = |register, value, expect: &str| {
        hll.raise(register, value, ROOM).unwrap();
        assert_eq!(decoded(&hll.bytes), expect);
    };
    check(0, 1, "v:1,1 Z:16383");
    check(2, 1, "v:1,1 z:1 v:1,1 Z:16381");
    check(1, 1, "v:1,3 Z:16381");
    check(1, 2, "v:1,1 v:2,1 v:1,1 Z:16381");
    check(16383, 32, "v:1,1 v:2,1 v:1,1 Z:16380 v:32,1");
    check(100, 5, "v:1,1 v:2,1 v:1,1 Z:97 v:5,1 Z:16282 v:32,1");
    assert_eq!(hll.encoding(), Encoding::Sparse);
    // More than a run can have.
    hll.raise(7, 33, ROOM).unwrap();
    assert_eq!((hll.encoding(), hll.bytes.len()), (Encoding::Dense, DENSE_BYTES));
    let registers = registers_of(&hll.bytes);
    assert_eq!((registers[1], registers[7], registers[100], registers[16383]), (2, 33, 5, 32));
}

#[test]
fn what_is_none_is_refused_and_what_is_damaged_is_seen() {
    let valid = Hll::empty().into_bytes();
    assert_eq!(encoding(&valid), Ok(Encoding::Sparse));
    for wrong in [
        &b""[..],
        b"HYLL",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0",
        b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0",
        b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0",
        b"HYLL\x00\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        assert!(encoding(wrong).is_err(), "{wrong:?}");
    }
    // Every cut, and every byte of the runs changed, is read to an end.
    for at in HEADER_BYTES..valid.len() {
        for byte in 0..=255 {
            let mut damaged = valid.clone();
            damaged[at] = byte;
            let mut registers = Box::new([0; REGISTERS]);
            let is_sound = merge(&mut registers, &damaged).is_ok();
            assert_eq!(is_sound, damaged == valid, "{at} {byte}");
            let _ = Hll::of(&damaged).unwrap().raise(REGISTERS - 1, 3, ROOM);
            let _ = decoded(&damaged);
        }
        assert!(merge(&mut Box::new([0; REGISTERS]), &valid[..at]).is_err());
        let _ = Hll::of(&valid[..at]).unwrap().raise(5, 3, ROOM);
    }
}

#[test]
fn dense_registers_do_not_touch_each_other() {
    let mut registers = vec![0; DENSE_BYTES - HEADER_BYTES];
    for at in 0..REGISTERS {
        set_dense_register(&mut registers, at, 63);
        set_dense_register(&mut registers, at, (at % 61) as u8);
    }
    assert!((0..REGISTERS).all(|at| dense_register(&registers, at) == (at % 61) as u8));
}
