//! Keyrings: keys of version 4 with their subkeys, and what they say of themselves.

use crate::OpenPgpError;
use crate::der;
use crate::packet::{self, Packet};
use crate::signature::{Signature, mpi};

/// What a signature is verified with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa,
    P256,
    P384,
    Ed25519,
    /// Of a kind that is not verified here.
    Other,
}

#[derive(Debug, Clone)]
pub(crate) struct Material {
    pub(crate) algorithm: Algorithm,
    pub(crate) bytes: Vec<u8>,
    /// Length of a number of its signatures, in bytes.
    pub(crate) n_bytes: usize,
}

/// A primary key or a subkey.
#[derive(Debug, Clone)]
struct Single {
    fingerprint: [u8; 20],
    created: u64,
    body: Vec<u8>,
    material: Material,
}

/// A key with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    primary: Single,
    is_revoked: bool,
    /// The newest of its own words about itself.
    own: Option<Signature>,
    subkeys: Vec<Subkey>,
}

#[derive(Debug, Clone)]
struct Subkey {
    key: Single,
    is_revoked: bool,
    binding: Option<Signature>,
}

/// Most keys of a keyring.
const KEYS_MAX: usize = 1000;
const SIGN: u8 = 0x02;

impl Single {
    fn parse(body: &[u8]) -> Option<Self> {
        let rest = body.strip_prefix(&[4])?;
        let (created, rest) = rest.split_first_chunk::<4>()?;
        let (algorithm, rest) = rest.split_first()?;
        let material = material(*algorithm, rest)?;
        let length = u16::try_from(body.len()).ok()?;
        let hashed = [&[0x99], &length.to_be_bytes()[..], body].concat();
        let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let fingerprint = ring::digest::digest(algorithm, &hashed).as_ref().try_into().ok()?;
        let created = u64::from(u32::from_be_bytes(*created));
        Some(Self { fingerprint, created, body: hashed, material })
    }

    fn is_named_by(&self, signature: &Signature) -> bool {
        match (&signature.issuer_fingerprint, signature.issuer) {
            (Some(fingerprint), _) => fingerprint.as_slice() == self.fingerprint,
            (None, Some(id)) => self.fingerprint.ends_with(&id),
            (None, None) => false,
        }
    }

    /// Whether it has ended, as `word` about it says.
    fn is_expired(&self, word: &Signature, now: u64) -> bool {
        word.key_expires_after != 0 && self.created.saturating_add(word.key_expires_after) <= now
    }
}

fn material(algorithm: u8, mut rest: &[u8]) -> Option<Material> {
    let other = Material { algorithm: Algorithm::Other, bytes: Vec::new(), n_bytes: 0 };
    let curve = |rest: &mut &[u8]| {
        let (length, after) = rest.split_first()?;
        let (oid, after) = after.split_at_checked(usize::from(*length))?;
        *rest = after;
        Some(oid.to_vec())
    };
    Some(match algorithm {
        1 | 3 => {
            let (n, e) = (mpi(&mut rest)?, mpi(&mut rest)?);
            let number = |digits: &[u8]| {
                let sign: &[u8] =
                    if digits.first().is_none_or(|it| it & 0x80 != 0) { &[0] } else { &[] };
                der::wrap(der::INTEGER, &[sign, digits].concat())
            };
            let bytes = der::wrap(der::SEQUENCE, &[number(n), number(e)].concat());
            Material { algorithm: Algorithm::Rsa, bytes, n_bytes: n.len() }
        }
        19 => {
            let oid = curve(&mut rest)?;
            let bytes = mpi(&mut rest)?.to_vec();
            match oid.as_slice() {
                der::OID_P256 if bytes.len() == 65 => {
                    Material { algorithm: Algorithm::P256, bytes, n_bytes: 32 }
                }
                der::OID_P384 if bytes.len() == 97 => {
                    Material { algorithm: Algorithm::P384, bytes, n_bytes: 48 }
                }
                _ => other,
            }
        }
        22 => {
            const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
            let oid = curve(&mut rest)?;
            match mpi(&mut rest)?.strip_prefix(&[0x40]) {
                Some(point) if oid == ED25519 && point.len() == 32 => {
                    Material { algorithm: Algorithm::Ed25519, bytes: point.to_vec(), n_bytes: 32 }
                }
                _ => other,
            }
        }
        27 if rest.len() == 32 => {
            Material { algorithm: Algorithm::Ed25519, bytes: rest.to_vec(), n_bytes: 32 }
        }
        _ => other,
    })
}

/// Reads a keyring. Keys of other versions are left out.
pub(crate) fn keyring(packets: &[Packet]) -> Result<Vec<PublicKey>, OpenPgpError> {
    let mut keys: Vec<PublicKey> = Vec::new();
    let mut user: Option<&[u8]> = None;
    let mut is_known = false;
    let mut in_subkey = false;
    for packet in packets {
        match packet.tag {
            packet::PUBLIC_KEY => {
                let primary = Single::parse(&packet.body);
                is_known = primary.is_some();
                (user, in_subkey) = (None, false);
                if keys.len() == KEYS_MAX {
                    return Err(OpenPgpError::TooLarge);
                }
                keys.extend(primary.map(|primary| PublicKey {
                    primary,
                    is_revoked: false,
                    own: None,
                    subkeys: Vec::new(),
                }));
            }
            packet::SUBKEY if is_known => {
                user = None;
                let subkey = Single::parse(&packet.body);
                in_subkey = subkey.is_some();
                if let (Some(key), Some(subkey)) = (keys.last_mut(), subkey) {
                    key.subkeys.push(Subkey { key: subkey, is_revoked: false, binding: None });
                } else {
                    is_known = false;
                }
            }
            packet::USER_ID => user = Some(&packet.body),
            packet::SIGNATURE if is_known => {
                if let (Some(key), Ok(signature)) =
                    (keys.last_mut(), Signature::parse(&packet.body))
                {
                    key.take(signature, user, in_subkey);
                }
            }
            _ => {}
        }
    }
    Ok(keys)
}

impl PublicKey {
    /// Takes what the key says of itself; what others say of it changes nothing.
    fn take(&mut self, signature: Signature, user: Option<&[u8]>, in_subkey: bool) {
        if !self.primary.is_named_by(&signature) {
            return;
        }
        let primary = &self.primary;
        let holds = |data: &[u8]| signature.verify(&primary.material, data, true);
        if in_subkey {
            let Some(subkey) = self.subkeys.last_mut() else { return };
            let data = [&primary.body[..], &subkey.key.body].concat();
            match signature.kind {
                0x18 if holds(&data) && newer(subkey.binding.as_ref(), &signature) => {
                    subkey.binding = Some(signature);
                }
                0x28 if holds(&data) => subkey.is_revoked = true,
                _ => {}
            }
            return;
        }
        match (signature.kind, user) {
            (0x20, _) if holds(&primary.body) => self.is_revoked = true,
            (0x1f, _) if holds(&primary.body) && newer(self.own.as_ref(), &signature) => {
                self.own = Some(signature);
            }
            (0x10..=0x13, Some(user)) => {
                let length = (user.len() as u32).to_be_bytes();
                let data = [&primary.body[..], &[0xb4], &length, user].concat();
                if holds(&data) && newer(self.own.as_ref(), &signature) {
                    self.own = Some(signature);
                }
            }
            _ => {}
        }
    }

    /// The fingerprint of the primary key, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode_upper(self.primary.fingerprint)
    }

    /// Those of the primary key and of its subkeys.
    pub(crate) fn all_fingerprints(&self) -> impl Iterator<Item = String> {
        let subkeys = self.subkeys.iter().map(|it| it.key.fingerprint);
        std::iter::once(self.primary.fingerprint).chain(subkeys).map(hex::encode_upper)
    }

    /// Checks `signature` over `data` by this key or a subkey; `None`: it is another's.
    pub(crate) fn verify(
        &self,
        signature: &Signature,
        data: &[u8],
        now: u64,
    ) -> Option<Result<(), OpenPgpError>> {
        let (key, subkey) = if self.primary.is_named_by(signature) {
            (&self.primary, None)
        } else {
            let subkey = self.subkeys.iter().find(|it| it.key.is_named_by(signature))?;
            (&subkey.key, Some(subkey))
        };
        Some(self.check_usable(subkey, now).and_then(|()| {
            if key.material.algorithm == Algorithm::Other {
                return Err(OpenPgpError::Unsupported("the algorithm of the key"));
            }
            if !signature.verify(&key.material, data, false) {
                return Err(OpenPgpError::BadSignature);
            }
            if !signature.is_current(now) {
                return Err(OpenPgpError::Expired("the signature"));
            }
            Ok(())
        }))
    }

    fn check_usable(&self, subkey: Option<&Subkey>, now: u64) -> Result<(), OpenPgpError> {
        if self.is_revoked || subkey.is_some_and(|it| it.is_revoked) {
            return Err(OpenPgpError::Revoked);
        }
        let own = self.own.as_ref().ok_or(OpenPgpError::Unbound)?;
        if self.primary.is_expired(own, now) || !own.is_current(now) {
            return Err(OpenPgpError::Expired("the key"));
        }
        let Some(subkey) = subkey else {
            return match own.key_flags {
                Some(flags) if flags & SIGN == 0 => Err(OpenPgpError::NotForSigning),
                _ => Ok(()),
            };
        };
        let binding = subkey.binding.as_ref().ok_or(OpenPgpError::Unbound)?;
        if subkey.key.is_expired(binding, now) || !binding.is_current(now) {
            return Err(OpenPgpError::Expired("the subkey"));
        }
        if binding.key_flags.is_none_or(|flags| flags & SIGN == 0) {
            return Err(OpenPgpError::NotForSigning);
        }
        // The subkey must have agreed to belong to this key.
        let data = [&self.primary.body[..], &subkey.key.body].concat();
        let agreed = binding
            .embedded
            .as_deref()
            .and_then(|bytes| Signature::parse(bytes).ok())
            .is_some_and(|it| it.kind == 0x19 && it.verify(&subkey.key.material, &data, true));
        if agreed { Ok(()) } else { Err(OpenPgpError::Unbound) }
    }
}

fn newer(old: Option<&Signature>, new: &Signature) -> bool {
    old.is_none_or(|old| old.created <= new.created)
}
