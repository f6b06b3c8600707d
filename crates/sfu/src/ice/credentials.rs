//! Names and passwords of the two sides (RFC 8445 §5.3).

use crate::error::Error;
use crate::stun;
use aws_lc_rs::hmac;
use wire::ortc::IceParameters;

/// A user name fragment and its password.
pub struct Credentials {
    pub username_fragment: String,
    pub password: String,
    pub(super) key: hmac::Key,
}

impl Credentials {
    pub fn new(username_fragment: String, password: String) -> Self {
        let key = stun::integrity_key(&password);
        Self { username_fragment, password, key }
    }

    /// A client's, as it told them: lengths and alphabet are RFC 8839's (§5.4).
    pub fn parse(parameters: &IceParameters) -> Result<Self, Error> {
        let IceParameters { username_fragment, password, .. } = parameters;
        let is_valid = |text: &str, least| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        };
        if !is_valid(username_fragment, 4) || !is_valid(password, 22) {
            return Err(Error::invalid("iceParameters need a usernameFragment and a password of RFC 8839"));
        }
        Ok(Self::new(username_fragment.clone(), password.clone()))
    }

    pub(super) fn are_same(&self, other: &Self) -> bool {
        self.username_fragment == other.username_fragment && self.password == other.password
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_say_is_taken_and_anything_else_refused() {
        let parse = |name: &str, password: &str| {
            let parameters =
                IceParameters { username_fragment: name.into(), password: password.into(), ice_lite: None };
            Credentials::parse(&parameters).is_ok()
        };
        let password = "asd88fgpdd777uzjYhagZg";
        assert!(parse("8hhY", password) && parse(&"a".repeat(256), &"b".repeat(256)));
        for (name, password) in
            [("8hh", password), ("8hhY", "short"), ("8h:Y", password), (&*"a".repeat(257), password)]
        {
            assert!(!parse(name, password), "{name} {password}");
        }
    }
}
