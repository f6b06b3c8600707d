//! What Greenroom adds to OBS's scenes, and takes back. It changes nothing that was there.

use super::link::{AskError, Link};
use super::place::{CORNERS, Place, corner, places};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wire::obs::{AddToObs, AddedToObs, ObsLayout};
use wire::{Code, Failure, SlotId};

/// The kind under which the plugin registers its source.
pub(super) const GUEST_SOURCE: &str = "greenroom_guest_source";

/// What was added at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Addition {
    /// For the streamer.
    pub label: String,
    scene: String,
    made_scene: bool,
    items: Vec<i64>,
}

/// Adds what is asked for; `slots` are as many as the layout holds. What was done before a refusal is taken back.
pub(super) async fn add(
    link: &mut Link,
    asked: &AddToObs,
    slots: &[SlotId],
) -> Result<(AddedToObs, Addition), Failure> {
    let mut addition = Addition::default();
    match try_add(link, asked.layout, slots, &mut addition).await {
        Ok(sources) => Ok((AddedToObs { scene: addition.scene.clone(), sources }, addition)),
        Err(error) => {
            let _ = take_back(link, &addition).await;
            Err(error)
        }
    }
}

async fn try_add(
    link: &mut Link,
    layout: ObsLayout,
    slots: &[SlotId],
    addition: &mut Addition,
) -> Result<Vec<String>, Failure> {
    let known = Known::look(link).await?;
    let canvas = canvas(link).await?;
    let places = if layout == ObsLayout::Source {
        addition.scene = open_scene(link).await?;
        let items = items(link, &addition.scene).await.map_err(refusal)?;
        if let Some(source) = slots.iter().find_map(|slot| known.guests.get(slot))
            && items.iter().any(|item| item.source == *source)
        {
            let text = format!("“{source}” is in the scene “{}” already.", addition.scene);
            return Err(Failure::new(Code::Conflict, text));
        }
        vec![if items.is_empty() { places(1, canvas)[0] } else { free_corner(&items, canvas) }]
    } else {
        let name = known.free_name(match layout {
            ObsLayout::SideBySide => "Greenroom side by side",
            ObsLayout::Grid => "Greenroom grid",
            ObsLayout::Solo | ObsLayout::Source => "Greenroom solo",
        });
        link.ask("CreateScene", json!({ "sceneName": name })).await.map_err(refusal)?;
        (addition.scene, addition.made_scene) = (name, true);
        places(slots.len(), canvas)
    };
    let mut sources = Vec::new();
    for (slot, place) in slots.iter().zip(places) {
        let (source, item) = put(link, &known, &addition.scene, *slot).await?;
        addition.items.push(item);
        sources.push(source);
        let at = json!({ "sceneName": addition.scene, "sceneItemId": item });
        arrange(link, at, place).await.map_err(refusal)?;
    }
    addition.label = if addition.made_scene {
        format!("the scene “{}”", addition.scene)
    } else {
        format!("“{}” in “{}”", sources.join("”, “"), addition.scene)
    };
    Ok(sources)
}

/// An item of the slot's source, not yet visible: the one that is there already, so that nobody is heard twice.
async fn put(link: &mut Link, known: &Known, scene: &str, slot: SlotId) -> Result<(String, i64), Failure> {
    let (source, made) = match known.guests.get(&slot) {
        Some(source) => {
            let data = json!({ "sceneName": scene, "sourceName": source, "sceneItemEnabled": false });
            (source.clone(), link.ask("CreateSceneItem", data).await)
        }
        None => {
            let name = known.free_name(&slot.to_string());
            let data = json!({
                "sceneName": scene,
                "inputName": name,
                "inputKind": GUEST_SOURCE,
                "inputSettings": { "slot": u8::from(slot) },
                "sceneItemEnabled": false,
            });
            (name, link.ask("CreateInput", data).await)
        }
    };
    let item = made.map_err(refusal)?["sceneItemId"].as_i64();
    Ok((source, item.ok_or_else(|| refusal(AskError::Gone))?))
}

/// Puts the item in its place, the whole picture in its own proportions, and then shows it.
async fn arrange(link: &mut Link, item: Value, place: Place) -> Result<(), AskError> {
    let with = |key: &str, value: Value| {
        let mut data = item.clone();
        data[key] = value;
        data
    };
    let transform = json!({
        "positionX": place.x,
        "positionY": place.y,
        "alignment": TOP_LEFT,
        "boundsType": "OBS_BOUNDS_SCALE_INNER",
        "boundsAlignment": CENTRE,
        "boundsWidth": place.width,
        "boundsHeight": place.height,
    });
    link.ask("SetSceneItemTransform", with("sceneItemTransform", transform)).await?;
    link.ask("SetSceneItemEnabled", with("sceneItemEnabled", true.into())).await.map(|_| ())
}

/// Removes what `addition` added and nothing else; what the streamer removed meanwhile is not missed.
pub(super) async fn take_back(link: &mut Link, addition: &Addition) -> Result<(), Failure> {
    let items = match items(link, &addition.scene).await {
        Ok(items) => items,
        Err(AskError::Refused { code: NOT_FOUND, .. }) => return Ok(()),
        Err(error) => return Err(refusal(error)),
    };
    let only_ours = items.iter().all(|item| addition.items.contains(&item.id));
    if addition.made_scene && only_ours {
        if scenes(link).await.map_err(refusal)?.program == addition.scene {
            let text = format!("“{}” is on program: switch to another scene first.", addition.scene);
            return Err(Failure::new(Code::Conflict, text));
        }
        let data = json!({ "sceneName": addition.scene });
        return link.ask("RemoveScene", data).await.map(|_| ()).map_err(refusal);
    }
    // A source that is in no scene any more goes with its last item.
    for item in items.iter().filter(|item| addition.items.contains(&item.id)) {
        let data = json!({ "sceneName": addition.scene, "sceneItemId": item.id });
        link.ask("RemoveSceneItem", data).await.map_err(refusal)?;
    }
    Ok(())
}

/// What OBS has before anything is added.
struct Known {
    /// The first source of each slot.
    guests: BTreeMap<SlotId, String>,
    /// Of sources, scenes and groups: they share one space of names.
    names: Vec<String>,
}

impl Known {
    async fn look(link: &mut Link) -> Result<Self, Failure> {
        let mut known = Self { guests: BTreeMap::new(), names: Vec::new() };
        let inputs = link.ask("GetInputList", Value::Null).await.map_err(refusal)?;
        for input in list(&inputs["inputs"]) {
            let name = input["inputName"].as_str().unwrap_or_default().to_owned();
            if input["unversionedInputKind"] == GUEST_SOURCE {
                let asked = link.ask("GetInputSettings", json!({ "inputName": name })).await;
                let settings = asked.map_err(refusal)?;
                let settings = &settings["inputSettings"];
                // What was never chosen is left out. A source that follows somebody is no slot's own.
                let slot = u8::try_from(settings["slot"].as_u64().unwrap_or(1)).ok();
                let follows = settings["show"].as_str().is_some_and(|show| show != "slot");
                if let Some(slot) = slot.filter(|_| !follows).and_then(|slot| SlotId::try_from(slot).ok()) {
                    known.guests.entry(slot).or_insert(name.clone());
                }
            }
            known.names.push(name);
        }
        known.names.extend(scenes(link).await.map_err(refusal)?.all);
        let groups = link.ask("GetGroupList", Value::Null).await.map_err(refusal)?;
        known.names.extend(list(&groups["groups"]).iter().filter_map(Value::as_str).map(str::to_owned));
        Ok(known)
    }

    /// `wanted`, or with a number after it.
    fn free_name(&self, wanted: &str) -> String {
        let numbered = (2_u32..).map(|n| format!("{wanted} ({n})"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        // Endless, so there is one.
        names.find(|name| !self.names.contains(name)).unwrap_or_default()
    }
}

/// Scenes by name.
pub(super) struct Scenes {
    pub program: String,
    /// In studio mode.
    pub preview: Option<String>,
    pub all: Vec<String>,
}

/// Of the requests for scenes the one that an OBS without any survives: before it has loaded them, that is, where
/// obs-websocket (up to 5.2) does not answer "not ready" by itself.
pub(super) async fn scenes(link: &mut Link) -> Result<Scenes, AskError> {
    let found = link.ask("GetSceneList", Value::Null).await?;
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let not_ready = || AskError::Refused { code: NOT_READY, comment: "OBS is still starting".to_owned() };
    Ok(Scenes {
        program: name(&found["currentProgramSceneName"]).ok_or_else(not_ready)?,
        preview: name(&found["currentPreviewSceneName"]),
        all: list(&found["scenes"]).iter().filter_map(|scene| name(&scene["sceneName"])).collect(),
    })
}

struct Item {
    id: i64,
    source: String,
    position: (f64, f64),
}

async fn items(link: &mut Link, scene: &str) -> Result<Vec<Item>, AskError> {
    let found = link.ask("GetSceneItemList", json!({ "sceneName": scene })).await?;
    let item = |item: &Value| {
        let source = item["sourceName"].as_str().unwrap_or_default().to_owned();
        let at = |key: &str| item["sceneItemTransform"][key].as_f64().unwrap_or_default();
        let position = (at("positionX"), at("positionY"));
        Some(Item { id: item["sceneItemId"].as_i64()?, source, position })
    };
    Ok(list(&found["sceneItems"]).iter().filter_map(item).collect())
}

/// The first corner that nothing stands in already; when all are taken, one after the other.
fn free_corner(items: &[Item], canvas: (f64, f64)) -> Place {
    let stands_at = |place: &Place| {
        // OBS keeps positions as f32.
        let near =
            |item: &Item| (item.position.0 - place.x).abs() < 1.0 && (item.position.1 - place.y).abs() < 1.0;
        items.iter().any(near)
    };
    let mut corners = (0..CORNERS).map(|n| corner(n, canvas));
    corners.find(|place| !stands_at(place)).unwrap_or_else(|| corner(items.len(), canvas))
}

/// Where a streamer who adds something by hand adds it.
async fn open_scene(link: &mut Link) -> Result<String, Failure> {
    let scenes = scenes(link).await.map_err(refusal)?;
    Ok(scenes.preview.unwrap_or(scenes.program))
}

async fn canvas(link: &mut Link) -> Result<(f64, f64), Failure> {
    let video = link.ask("GetVideoSettings", Value::Null).await.map_err(refusal)?;
    let side = |key: &str, usual: f64| video[key].as_f64().filter(|side| *side >= 1.0).unwrap_or(usual);
    Ok((side("baseWidth", 1920.0), side("baseHeight", 1080.0)))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// As the streamer is told.
pub(super) fn refusal(error: AskError) -> Failure {
    match error {
        AskError::Refused { comment, .. } => Failure::new(Code::Conflict, format!("OBS refused: {comment}")),
        AskError::Exchanging => {
            Failure::new(Code::Busy, "OBS is loading other scenes: try again in a moment.")
        }
        AskError::Gone => {
            Failure::new(Code::Internal, "The connection to OBS was lost: look there what was added.")
        }
    }
}

/// `OBS_ALIGN_LEFT | OBS_ALIGN_TOP`, and neither.
const TOP_LEFT: u32 = 1 | 4;
const CENTRE: u32 = 0;
/// Of `RequestStatus`: `NotReady`, `ResourceNotFound`.
const NOT_READY: u64 = 207;
const NOT_FOUND: u64 = 600;
