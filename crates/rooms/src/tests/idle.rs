//! Rooms that nobody uses go, and those that somebody might still use stay.

use super::world::*;
use crate::*;
use std::time::Duration;
use wire::rest::RoomStatus;
use wire::sfu::Role;

const HOUR: Duration = Duration::from_secs(3600);

fn world() -> World {
    World::with(Limits { idle: Some(24 * HOUR), ..Limits::default() })
}

fn is_there(world: &World) -> bool {
    world.rooms.live_room(&room()).is_ok()
}

#[test]
fn a_room_that_nobody_uses_goes_and_says_so() {
    let mut world = world();
    world.pass(23 * HOUR);
    assert!(is_there(&world));
    world.pass(2 * HOUR);
    assert!(!is_there(&world));
    assert!(world.notes.iter().any(|note| note.contains("nobody used it")));
    assert!(world.saved().rooms.is_empty(), "on disk, too");
}

#[test]
fn who_is_in_keeps_a_room_and_so_does_a_link_that_still_opens() {
    let mut world = world();
    let host = world.join("Mira", OWNER);
    world.pass(100 * HOUR);
    assert!(is_there(&world));
    world.peer(&host, PeerCommand::Leave).unwrap();
    let create = OwnerCommand::CreateInvite {
        room: room(),
        role: Role::Guest,
        expires_in_secs: 48 * 3600,
        max_uses: 1,
        display_name: None,
    };
    let Ok(Reply::Invite(invite)) = world.own(create) else { panic!("no invite") };
    world.pass(47 * HOUR);
    assert!(is_there(&world), "the link opens for another hour");
    let guest = world.join("Ada", &invite.token);
    world.peer(&guest, PeerCommand::Leave).unwrap();
    world.pass(20 * HOUR);
    assert!(is_there(&world), "it was used yesterday");
    world.pass(5 * HOUR);
    assert!(!is_there(&world));
}

#[test]
fn an_ended_room_goes_as_well_and_rooms_may_be_kept_for_ever() {
    let mut ended = world();
    let end =
        |status| OwnerCommand::UpdateRoom { id: room(), status: Some(status), title: None, is_private: None };
    ended.own(end(RoomStatus::Ended)).unwrap();
    ended.pass(25 * HOUR);
    assert!(!is_there(&ended));
    let mut kept = World::with(Limits { idle: None, ..Limits::default() });
    kept.pass(24 * 365 * HOUR);
    assert!(is_there(&kept));
}

#[test]
fn a_room_that_was_idle_while_the_engine_was_off_goes_at_the_start() {
    let limits = Limits { idle: Some(Duration::ZERO), ..Limits::default() };
    let before = World::new();
    let mut world = World::restored(limits, before.saved());
    world.pass(Duration::ZERO);
    assert!(!is_there(&world));
}

#[test]
fn viewers_are_counted_with_those_in_the_audience_and_the_most_is_kept() {
    let mut world = World::new();
    let viewer = world.invite(Role::Viewer, 3);
    let performer = world.invite(Role::Performer, 1);
    let (one, _two) = (world.join("Vic", &viewer.token), world.join("Val", &viewer.token));
    let pia = world.join("Pia", &performer.token);
    world.admitted("Ada");
    let seen =
        |world: &World| world.rooms.live_room(&room()).map(|room| (room.viewers, room.max_viewers)).unwrap();
    assert_eq!(seen(&world), (3, 3));
    world.own(OwnerCommand::Admit { room: room(), peer: pia.reply.peer, slot: None }).unwrap();
    world.peer(&one, PeerCommand::Leave).unwrap();
    assert_eq!(seen(&world), (1, 3));
    assert_eq!(
        World::restored(Limits::default(), world.saved()).rooms.live_room(&room()).unwrap().max_viewers,
        3
    );
}

#[test]
fn a_status_only_goes_forward_and_is_said_once() {
    let mut world = World::new();
    let mut set = |status| {
        world
            .own(OwnerCommand::UpdateRoom { id: room(), status: Some(status), title: None, is_private: None })
            .map(drop)
    };
    assert_eq!(set(RoomStatus::Preparing), Err(Refusal::StatusOnlyForward));
    assert_eq!(set(RoomStatus::Live), Ok(()));
    assert_eq!(set(RoomStatus::Live), Err(Refusal::StatusOnlyForward));
    assert_eq!(set(RoomStatus::Preparing), Err(Refusal::StatusOnlyForward));
    assert_eq!(set(RoomStatus::Ended), Ok(()));
    assert_eq!(set(RoomStatus::Ended), Err(Refusal::StatusOnlyForward));
    assert_eq!(set(RoomStatus::Live), Err(Refusal::StatusOnlyForward));
    let ended = world.rooms.live_room(&room()).unwrap();
    assert!(ended.start_time.is_some() && ended.end_time.is_some());
}
