//! Bytes as hexadecimal digits, where every request needs them. Arithmetic, which the processor does for many digits at once, and whose time
//! does not depend on the bytes: they may be a signature that the client has yet to show.

/// The digits of each byte, in lower case.
#[must_use]
pub fn hex_digits<const BYTES: usize>(bytes: [u8; BYTES]) -> [[u8; 2]; BYTES] {
    let digit = |value: u8| value + b'0' + u8::from(value > 9) * (b'a' - b'0' - 10);
    let mut digits = [[0; 2]; BYTES];
    for (pair, byte) in digits.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        let bytes: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).expect("below 256"));
        let text = hex::encode(bytes);
        assert_eq!(hex_digits(bytes).as_flattened(), text.as_bytes());
    }
}
