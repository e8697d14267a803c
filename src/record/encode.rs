//! A record as bytes: JSON, packed, cut into parts that fit into Secrets.

use super::{Effect, Intent};
use crate::error::{Failure, Kind};
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};

/// Bytes in the longest part; a Secret, with what else is in it, stays under 512 KiB.
pub const LONGEST_PART: usize = 448 * 1024;
/// Bytes of JSON in the longest record that is read: a bundle with every chart in it is some 20 MiB.
const LONGEST: u64 = 256 << 20;

/// What was to stand, in parts of at most [`LONGEST_PART`] bytes; at least one.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn encode_intent(intent: &Intent) -> Result<Vec<Vec<u8>>> {
    Ok(packed(intent)?.chunks(LONGEST_PART).map(<[u8]>::to_vec).collect())
}

/// What `encode_intent` made, as record `number`.
///
/// # Errors
/// [`Kind::Refused`] when a part is missing, or another version of the program made it.
pub fn decode_intent(number: u64, parts: &[Vec<u8>]) -> Result<Intent> {
    unpacked(number, &parts.concat())
}

/// What came of the deploy.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn encode_effect(effect: &Effect) -> Result<Vec<u8>> {
    packed(effect)
}

/// What `encode_effect` made, of record `number`.
///
/// # Errors
/// [`Kind::Refused`] when it is damaged, or another version of the program made it.
pub fn decode_effect(number: u64, bytes: &[u8]) -> Result<Effect> {
    unpacked(number, bytes)
}

fn packed(content: &impl Serialize) -> Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut packer, content).context("a record is no JSON")?;
    packer.flush()?;
    Ok(packer.finish()?)
}

fn unpacked<T: DeserializeOwned>(number: u64, bytes: &[u8]) -> Result<T> {
    let unreadable = |error: anyhow::Error| {
        Failure::new(Kind::Refused, format!("record {number} cannot be read"))
            .hint("drivemaster-mon history")
            .caused_by(error)
    };
    let mut text = Vec::new();
    GzDecoder::new(bytes).take(LONGEST).read_to_end(&mut text).map_err(|error| unreadable(error.into()))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(error.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::intent::tests::{bundle, lock};
    use super::*;
    use crate::error::exit_code_of;
    use serde_json::json;

    #[test]
    fn a_long_record_is_cut_and_comes_back_whole_or_not_at_all() {
        let mut state = 7_u64;
        let noise: String = (0..2_000_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'!' + u8::try_from((state >> 33) % 64).unwrap())
            })
            .collect();
        let intent = Intent::of(json!({ "noise": noise }), &bundle(), &lock());
        let parts = encode_intent(&intent).unwrap();
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= LONGEST_PART));
        assert_eq!(decode_intent(3, &parts).unwrap(), intent);
        let error = decode_intent(3, &parts[..parts.len() - 1]).unwrap_err();
        assert_eq!((error.to_string().as_str(), exit_code_of(&error)), ("record 3 cannot be read", 5));
        let effect = Effect::default();
        assert_eq!(decode_effect(1, &encode_effect(&effect).unwrap()).unwrap(), effect);
    }
}
