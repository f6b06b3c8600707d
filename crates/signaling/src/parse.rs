//! JSON into typed values, with refusals that name the field.

use serde::de::DeserializeOwned;
use wire::{Code, Failure};

/// Parses one JSON object. serde_json stops at 128 levels of nesting, so a deep text cannot overflow the stack.
pub(crate) fn object<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    // Derived structs would also accept an array of their fields in order; nobody documented that.
    if !json.trim_start().starts_with('{') {
        return Err(Failure::new(Code::InvalidRequest, "The payload must be a JSON object."));
    }
    let mut json = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| refusal(&error))?;
    json.end().map_err(|_| Failure::new(Code::InvalidRequest, "There is more than one JSON value."))?;
    Ok(value)
}

pub(crate) fn invalid(sentence: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidRequest, sentence)
}

/// Refuses a text outside of its bounds; `field` is its name on the wire.
pub(crate) fn bounded_text(field: &str, text: &str, most: usize) -> Result<(), Failure> {
    let count = text.chars().take(most + 1).count();
    if text.trim().is_empty() || count > most {
        return Err(invalid(format!("`{field}` has 1 to {most} characters.")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(invalid(format!("`{field}` cannot contain control characters.")));
    }
    Ok(())
}

fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let path: String = error.path().to_string().chars().take(MAX_ECHO).collect();
    let whole = error.inner().to_string();
    // "… at line 1 column 17" says nothing to somebody who wrote an object, not a text.
    let what = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(what, _)| what);
    let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ECHO).collect();
    match path.as_str() {
        "" | "." | "?" => invalid(format!("Not understood: {what}.")),
        path => invalid(format!("`{path}`: {what}.")),
    }
}

/// A refusal may quote what was sent, but not 64 kB of it.
const MAX_ECHO: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::sfu::{ConnectTransport, JoinRoom};

    fn check<T: DeserializeOwned>(json: &str, expected: &str) {
        let failure = object::<T>(json).err().expect("is refused");
        assert_eq!(failure.code, Code::InvalidRequest);
        assert!(failure.error.contains(expected), "{expected}: {}", failure.error);
        assert!(failure.error.len() < 1_000);
    }

    #[test]
    fn refusals_name_the_field() {
        check::<JoinRoom>("{}", "roomId");
        check::<JoinRoom>(r#"{"roomId": 5}"#, "roomId");
        check::<JoinRoom>(r#"{"roomId": "../etc"}"#, "room id");
        check::<JoinRoom>(r#"{"roomId": "a", "role": "king"}"#, "role");
        check::<JoinRoom>(
            &format!(r#"{{"roomId": "a", "displayName": "{}"}}"#, "x".repeat(10_240)),
            "displayName",
        );
        check::<JoinRoom>(r#"["a", null, null, null, null]"#, "JSON object");
        check::<JoinRoom>(r#"{"roomId": "a"} {"#, "more than one");
        let id = "00000000-0000-4000-8000-000000000000";
        check::<ConnectTransport>(
            &format!(r#"{{"transportId": "{id}", "dtlsParameters": {{"fingerprints": 7}}}}"#),
            "dtlsParameters.fingerprints",
        );
    }

    #[test]
    fn depth_is_refused_not_followed() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        check::<serde_json::Map<String, serde_json::Value>>(&deep, "recursion limit");
        check::<JoinRoom>(&format!(r#"{{"x":{deep}}}"#), "roomId");
    }
}
