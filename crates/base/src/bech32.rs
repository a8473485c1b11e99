//! Bech32 (BIP 173), as far as the keys of age need it: 32 bytes under a given name.

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_CHARS: usize = 6;
const KEY_BYTES: usize = 32;
/// 256 bits in groups of five.
const KEY_CHARS: usize = 52;

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1_u32, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let terms = GENERATOR.iter().enumerate().filter(|(i, _)| top >> i & 1 == 1);
        terms.fold(next, |next, (_, term)| next ^ term)
    })
}

/// The name as it is part of the checksum. It has small letters.
fn expanded(name: &str) -> impl Iterator<Item = u8> {
    let high = name.bytes().map(|byte| byte >> 5);
    high.chain([0]).chain(name.bytes().map(|byte| byte & 31))
}

/// `key` under `name`, in small letters.
pub fn encode(name: &str, key: &[u8; KEY_BYTES]) -> String {
    let (mut values, mut bits, mut n_bits) = (Vec::with_capacity(KEY_CHARS), 0_u32, 0);
    for byte in key {
        bits = bits << 8 | u32::from(*byte);
        n_bits += 8;
        while n_bits >= 5 {
            n_bits -= 5;
            values.push((bits >> n_bits & 31) as u8);
        }
    }
    values.push((bits << (5 - n_bits) & 31) as u8);
    let sum = polymod(expanded(name).chain(values.iter().copied()).chain([0; CHECKSUM_CHARS])) ^ 1;
    values.extend((0..CHECKSUM_CHARS).map(|i| (sum >> (5 * (5 - i)) & 31) as u8));
    let letters = values.iter().filter_map(|value| ALPHABET.get(usize::from(*value)));
    format!("{name}1{}", letters.map(|letter| char::from(*letter)).collect::<String>())
}

/// The key in `text`, if it is one under `name` and its checksum is right. Letters are all small
/// or all capital.
pub fn decode(name: &str, text: &str) -> Option<[u8; KEY_BYTES]> {
    let lower = text.to_ascii_lowercase();
    if lower != text && text.to_ascii_uppercase() != text {
        return None;
    }
    let data = lower.strip_prefix(name)?.strip_prefix('1')?;
    if data.len() != KEY_CHARS + CHECKSUM_CHARS {
        return None;
    }
    let value = |letter: u8| ALPHABET.iter().position(|known| *known == letter).map(|i| i as u8);
    let values = data.bytes().map(value).collect::<Option<Vec<u8>>>()?;
    if polymod(expanded(name).chain(values.iter().copied())) != 1 {
        return None;
    }
    let (mut key, mut at, mut bits, mut n_bits) = ([0; KEY_BYTES], 0, 0_u32, 0);
    for value in values.iter().take(KEY_CHARS) {
        bits = bits << 5 | u32::from(*value);
        n_bits += 5;
        if n_bits >= 8 {
            n_bits -= 8;
            *key.get_mut(at)? = (bits >> n_bits) as u8;
            at += 1;
            bits &= (1 << n_bits) - 1;
        }
    }
    // What is left over is filled with zeros.
    (bits == 0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_one_wrong_letter_is_noticed() {
        for byte in [0, 1, 0x80, 0xff] {
            let text = encode("age", &[byte; 32]);
            assert_eq!(decode("age", &text), Some([byte; 32]));
            assert_eq!(decode("age", &text.to_ascii_uppercase()), Some([byte; 32]));
            assert_eq!(decode("agf", &text), None);
            for at in 4..text.len() {
                for other in ["q", "p", "b", "1", "Q", "é"] {
                    let mut bad = text.clone();
                    bad.replace_range(at..=at, other);
                    assert!(bad == text || decode("age", &bad).is_none(), "{bad}");
                }
                assert_eq!(decode("age", &text[..at]), None);
            }
        }
        // A recipient that another program made.
        let theirs = "age17x8lpzjslrdseu7vvnzjefcpm6zl7lp8q93gyrq0x7af8p6kr94qvslfz5";
        assert_eq!(encode("age", &decode("age", theirs).unwrap()), theirs);
    }
}
