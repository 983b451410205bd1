//! Base64 as RFC 4648 section 4 has it, with padding.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as text.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[index]) });
        }
    }
    text
}

/// Text to bytes. The error says what is wrong.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || !text.len().is_multiple_of(4) || digits.len() % 4 == 1 {
        return Err(format!(
            "{} characters are no base64: expected a multiple of 4, padded with =",
            text.len()
        ));
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let mut group = 0u32;
    for (at, byte) in digits.bytes().enumerate() {
        let value = DIGITS.iter().position(|digit| *digit == byte);
        let value = value.ok_or_else(|| format!("character {at} is no base64 digit"))?;
        group = group << 6 | value as u32;
        // 2, 3 and 4 digits are 12, 18 and 24 bits: a byte more each, with 4, 2 and 0 bits left over.
        let digit = at as u32 % 4;
        if digit > 0 {
            bytes.push((group >> (6 - 2 * digit)) as u8);
        }
        if at % 4 == 3 {
            group = 0;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for len in 0..70 {
            let bytes: Vec<u8> = (0..len).map(|n: u8| n.wrapping_mul(37).wrapping_add(len)).collect();
            assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
        assert_eq!(encode(b"php-fpm\0\0"), "cGhwLWZwbQAA");
        assert_eq!(encode(b"fo"), "Zm8=");
        assert_eq!(decode("Zm9v"), Ok(b"foo".to_vec()));
        assert_eq!(decode(""), Ok(Vec::new()));
        for bad in ["Z", "Zm", "Zm9", "Zm8=x", "Zm9*", "====", "Zm9vYg=", "é==="] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
