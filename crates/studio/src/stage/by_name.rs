//! What the streamer chose for a guest's name, kept whoever comes and goes.

use crate::store::Store;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wire::{Code, DisplayName, Failure};

/// By name, because a guest comes back with another link, to another room, in another slot.
#[derive(Debug)]
pub(super) struct ByName<T> {
    /// Its name in the store.
    setting: &'static str,
    /// Of those who are not as usual; what was chosen last stands last. At most [`MOST`]: the oldest is forgotten.
    kept: Vec<Kept<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept<T> {
    name: String,
    #[serde(alias = "steadiness")]
    chosen: T,
}

impl<T: Copy + Default + PartialEq + Serialize + DeserializeOwned> ByName<T> {
    pub async fn read(store: &Store, setting: &'static str) -> Self {
        let kept = match store.read_setting(setting).await {
            Ok(text) => parse(text.as_deref().unwrap_or_default()),
            Err(error) => {
                tracing::warn!(%error, setting, "what was chosen for guests cannot be read");
                Vec::new()
            }
        };
        Self { setting, kept }
    }

    #[cfg(test)]
    pub fn empty(setting: &'static str) -> Self {
        Self { setting, kept: Vec::new() }
    }

    pub fn of(&self, name: &DisplayName) -> T {
        let key = key(name);
        self.kept.iter().find(|kept| kept.name == key).map(|kept| kept.chosen).unwrap_or_default()
    }

    pub fn set(&mut self, name: &DisplayName, chosen: T) {
        let name = key(name);
        self.kept.retain(|kept| kept.name != name);
        if chosen != T::default() {
            self.kept.push(Kept { name, chosen });
        }
        let surplus = self.kept.len().saturating_sub(MOST);
        self.kept.drain(..surplus);
    }

    pub async fn save(&self, store: &Store) -> Result<(), Failure> {
        let text = serde_json::to_string(&self.kept).unwrap_or_default();
        store.write_setting(self.setting, text).await.map_err(|error| {
            let text =
                format!("It is set, but could not be saved ({error}): check that the disk is not full.");
            Failure::new(Code::Internal, text)
        })
    }
}

/// As names are compared everywhere: case does not matter.
fn key(name: &DisplayName) -> String {
    name.as_str().to_lowercase()
}

fn parse<T: DeserializeOwned>(text: &str) -> Vec<Kept<T>> {
    let mut kept: Vec<Kept<T>> = serde_json::from_str(text).unwrap_or_default();
    kept.truncate(MOST);
    kept
}

const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::link::Steadiness;

    fn name(text: &str) -> DisplayName {
        DisplayName::parse(text).unwrap()
    }

    #[test]
    fn what_is_kept_survives_writing_and_is_bounded() {
        let mut chosen = ByName::empty("delays");
        for number in 0..=MOST {
            chosen.set(&name(&format!("Guest {number}")), Steadiness::Instant);
        }
        assert_eq!(chosen.kept.len(), MOST);
        assert_eq!(chosen.of(&name("guest 0")), Steadiness::Balanced, "the oldest is forgotten");
        assert_eq!(parse(&serde_json::to_string(&chosen.kept).unwrap()), chosen.kept);
        for nonsense in ["", "{}", "[{\"name\": 1}]", "null"] {
            assert_eq!(parse::<Steadiness>(nonsense), []);
        }
        let once = parse::<Steadiness>(r#"[{"name":"ada","steadiness":"steady"}]"#);
        assert_eq!(once[0].chosen, Steadiness::Steady, "as it was written before");
        chosen.kept = once;
        chosen.set(&name("ADA"), Steadiness::Balanced);
        assert!(chosen.kept.is_empty(), "what is as usual is not kept");
    }
}
