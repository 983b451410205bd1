//! `Cipher`: the kernel's block ciphers by its names for them (`ecb(aes)`, `cbc(aes)`), over whole blocks.
//!
//! The block cipher itself is the `aes` crate's; the modes are those of NIST SP 800-38A.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use core::fmt;
use mimic_abi::Errno;

/// Bytes of a block.
const BLOCK_LEN: usize = 16;

/// A cipher with its key.
#[derive(Clone)]
pub(crate) struct Cipher {
    key: Key,
    mode: Mode,
}

#[derive(Clone)]
enum Key {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// How blocks depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They do not.
    Ecb,
    /// Each on the one before; the first on the initialisation vector.
    Cbc,
}

impl fmt::Debug for Cipher {
    /// Keys are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cipher({:?})", self.mode)
    }
}

impl Mode {
    /// The mode of an algorithm of this name, if it is there.
    pub(crate) fn named(algorithm: &[u8]) -> Option<Mode> {
        match algorithm {
            b"ecb(aes)" => Some(Mode::Ecb),
            b"cbc(aes)" => Some(Mode::Cbc),
            _ => None,
        }
    }
}

impl Cipher {
    /// A cipher with a key of 16, 24 or 32 bytes.
    pub(crate) fn new(mode: Mode, key: &[u8]) -> Result<Cipher, Errno> {
        let key = match key.len() {
            16 => Aes128::new_from_slice(key).map(Key::Aes128),
            24 => Aes192::new_from_slice(key).map(Key::Aes192),
            32 => Aes256::new_from_slice(key).map(Key::Aes256),
            _ => return Err(Errno::EINVAL),
        };
        Ok(Cipher { key: key.map_err(|_| Errno::EINVAL)?, mode })
    }

    /// Bytes of the initialisation vector.
    pub(crate) fn iv_len(&self) -> usize {
        match self.mode {
            Mode::Ecb => 0,
            Mode::Cbc => BLOCK_LEN,
        }
    }

    /// Encrypts or decrypts whole blocks; `iv` becomes that of what follows. `EINVAL` if the last block is not whole.
    pub(crate) fn apply(&self, bytes: &mut [u8], iv: &mut [u8], decrypt: bool) -> Result<(), Errno> {
        if !bytes.len().is_multiple_of(BLOCK_LEN) || iv.len() != self.iv_len() {
            return Err(Errno::EINVAL);
        }
        for block in bytes.chunks_exact_mut(BLOCK_LEN) {
            match (self.mode, decrypt) {
                (Mode::Ecb, _) => self.block(block, decrypt),
                (Mode::Cbc, false) => {
                    mix(block, iv);
                    self.block(block, false);
                    iv.copy_from_slice(block);
                }
                (Mode::Cbc, true) => {
                    let next = block.to_vec();
                    self.block(block, true);
                    mix(block, iv);
                    iv.copy_from_slice(&next);
                }
            }
        }
        Ok(())
    }

    fn block(&self, block: &mut [u8], decrypt: bool) {
        let block = GenericArray::from_mut_slice(block);
        match (&self.key, decrypt) {
            (Key::Aes128(key), false) => key.encrypt_block(block),
            (Key::Aes192(key), false) => key.encrypt_block(block),
            (Key::Aes256(key), false) => key.encrypt_block(block),
            (Key::Aes128(key), true) => key.decrypt_block(block),
            (Key::Aes192(key), true) => key.decrypt_block(block),
            (Key::Aes256(key), true) => key.decrypt_block(block),
        }
    }
}

fn mix(block: &mut [u8], with: &[u8]) {
    block.iter_mut().zip(with).for_each(|(byte, with)| *byte ^= with);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// NIST SP 800-38A, F.1.1, F.1.5 and F.2.1.
    #[test]
    fn vectors_of_the_standard() {
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let long = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let plain = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let start = bytes("000102030405060708090a0b0c0d0e0f");
        for (mode, key, iv, expected) in [
            (Mode::Ecb, &key, &vec![], "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
            (Mode::Ecb, &long, &vec![], "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"),
            (Mode::Cbc, &key, &start, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
        ] {
            let cipher = Cipher::new(mode, key).expect("a good key");
            let (mut text, mut iv_now) = (plain.clone(), iv.clone());
            cipher.apply(&mut text, &mut iv_now, false).expect("whole blocks");
            assert_eq!(text, bytes(expected), "{mode:?}");
            cipher.apply(&mut text, &mut iv.clone(), true).expect("whole blocks");
            assert_eq!(text, plain);
        }
        let cipher = Cipher::new(Mode::Ecb, &key).expect("a good key");
        assert_eq!(cipher.apply(&mut [0; 15], &mut [], false), Err(Errno::EINVAL));
        assert!(Cipher::new(Mode::Ecb, &key[1..]).is_err());
        assert_eq!(Mode::named(b"ctr(aes)"), None);
    }
}
