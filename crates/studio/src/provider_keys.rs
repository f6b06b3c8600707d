//! The identity provider's keys, read again when their file changes: providers change their keys every few weeks.

use crate::config::AuthConfig;
use crate::watched::{INTERVAL, Stamp};
use rooms::Provider;
use tokio::sync::watch;
use tokio::time::interval;

/// What counts from now on. *State* kind.
#[derive(Clone, Debug)]
pub struct ProviderKeys {
    pub provider: Provider,
    /// Why what the file says by now does not count, in a sentence for the streamer.
    pub problem: Option<String>,
}

/// The keys as they are, and whatever they become. The file must be good at the start: a setting without effect would
/// keep people out and nobody would know why.
pub fn keep(auth: AuthConfig) -> anyhow::Result<watch::Receiver<ProviderKeys>> {
    let seen = auth.stamp();
    let (keys, receiver) = watch::channel(ProviderKeys { provider: auth.read()?, problem: None });
    let mut file = KeyFile { auth, seen, is_in_doubt: false };
    tokio::spawn(async move {
        let mut ticks = interval(INTERVAL);
        loop {
            tokio::select! {
                () = keys.closed() => return,
                _ = ticks.tick() => {}
            }
            match file.look() {
                Some(Ok(provider)) => drop(keys.send_replace(ProviderKeys { provider, problem: None })),
                Some(Err(problem)) => keys.send_modify(|keys| keys.problem = Some(problem)),
                None => {}
            }
        }
    });
    Ok(receiver)
}

/// The file as it was last read.
struct KeyFile {
    auth: AuthConfig,
    seen: Stamp,
    /// It changed, and could not be used then.
    is_in_doubt: bool,
}

impl KeyFile {
    /// News, if there are any.
    fn look(&mut self) -> Option<Result<Provider, String>> {
        let stamp = self.auth.stamp();
        let has_changed = stamp != self.seen;
        if !has_changed && !self.is_in_doubt {
            return None;
        }
        self.seen = stamp;
        match self.auth.read() {
            Ok(provider) => {
                self.is_in_doubt = false;
                Some(Ok(provider))
            }
            // Half of it may be written: look once more before saying so.
            Err(_) if has_changed => {
                self.is_in_doubt = true;
                None
            }
            Err(error) => {
                self.is_in_doubt = false;
                Some(Err(format!("{error:#}. The keys that were read before stay in use.")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"KID","use":"sig",
        "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

    #[test]
    fn new_keys_count_and_a_broken_file_leaves_the_old_ones() {
        let folder = std::env::temp_dir().join(format!("greenroom-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("jwks.json");
        fs::write(&path, KEY).unwrap();
        let auth = AuthConfig { jwks: path.clone(), issuer: None, audience: None };
        let mut file = KeyFile { seen: auth.stamp(), auth, is_in_doubt: false };
        assert!(file.look().is_none());

        fs::write(&path, KEY.replace("KID", "another")).unwrap();
        assert!(file.look().unwrap().is_ok());
        assert!(file.look().is_none());

        // A writer in the middle of its work, and then one that went wrong.
        fs::write(&path, &KEY[..40]).unwrap();
        assert!(file.look().is_none(), "it may be half written");
        fs::write(&path, KEY).unwrap();
        assert!(file.look().unwrap().is_ok());
        fs::write(&path, "{}").unwrap();
        assert!(file.look().is_none());
        let problem = file.look().unwrap().unwrap_err();
        assert!(problem.contains("jwks.json") && problem.contains("stay in use"), "{problem}");
        assert!(file.look().is_none(), "said once");
        fs::remove_file(&path).unwrap();
        assert!(file.look().is_none());
        assert!(file.look().unwrap().unwrap_err().contains("cannot read"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
