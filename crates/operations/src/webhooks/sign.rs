//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::fmt;
use thiserror::Error;

/// The key that an endpoint checks its messages with. Shown nowhere.
#[derive(Clone, PartialEq)]
pub struct Secret(Vec<u8>);

/// Says nothing of what was given.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`whsec_` and 24 to 64 random bytes in base64")]
pub struct BadSecret;

impl Secret {
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let key = STANDARD.decode(text.strip_prefix("whsec_").ok_or(BadSecret)?).map_err(|_| BadSecret)?;
        if (24..=64).contains(&key.len()) { Ok(Self(key)) } else { Err(BadSecret) }
    }

    /// The field `webhook-signature`. `timestamp`: Unix seconds of this attempt.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example() {
        // The vector of the reference libraries' tests.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn secrets_that_are_none() {
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_!!", "whsec_MfKQ"]
        {
            assert_eq!(Secret::parse(bad).unwrap_err(), BadSecret, "{bad}");
        }
        assert!(Secret::parse(&format!("whsec_{}", STANDARD.encode([1; 64]))).is_ok());
        assert!(Secret::parse(&format!("whsec_{}", STANDARD.encode([1; 65]))).is_err());
    }
}
