//! Stories of getting in, being kept out, and coming back.

use super::world::*;
use crate::*;
use std::time::Duration;
use wire::ortc::MediaKind;
use wire::sfu::{PeerState, Role};
use wire::{Code, RoomId};

fn refused(result: Result<Joined, Refusal>) -> Code {
    result.map(|joined| joined.reply).expect_err("is refused").code()
}

#[test]
fn the_owner_is_live_at_once() {
    let mut world = World::new();
    let host = world.join("Mira", OWNER);
    assert_eq!((host.reply.role, host.reply.state), (Role::Host, PeerState::Live));
}

#[test]
fn a_guest_waits_and_a_viewer_does_not() {
    let mut world = World::new();
    assert!(world.waiting("Ada").is_waiting());
    let invite = world.invite(Role::Viewer, 1);
    let viewer = world.join("Vic", &invite.token);
    assert_eq!((viewer.reply.role, viewer.reply.state), (Role::Viewer, PeerState::Live));
}

#[test]
fn each_bad_token_has_its_own_code() {
    let mut world = World::new();
    let expired = world.invite(Role::Guest, 1);
    let revoked = world.invite(Role::Guest, 1);
    let used = world.invite(Role::Guest, 1);
    let other = RoomId::parse("other").unwrap();
    world.own(OwnerCommand::CreateRoom { id: other.clone(), title: None, is_private: false }).unwrap();
    world.join("Ada", &used.token);
    world.own(OwnerCommand::RevokeInvite { room: room(), invite: revoked.id, end_peers: false }).unwrap();

    let check = |world: &mut World, token: Option<&str>, room: &RoomId, expected: Code| {
        let mut join = world.asking("Eve", "");
        join.token = token.map(str::to_owned);
        join.room = room.clone();
        assert_eq!(refused(world.try_join(join)), expected, "{token:?}");
    };
    check(&mut world, None, &room(), Code::InviteRequired);
    check(&mut world, Some("nonsense"), &room(), Code::InviteInvalid);
    check(&mut world, Some(&expired.token[1..]), &room(), Code::InviteInvalid);
    check(&mut world, Some(&used.token), &room(), Code::InviteUsedUp);
    check(&mut world, Some(&revoked.token), &room(), Code::InviteRevoked);
    check(&mut world, Some(&expired.token), &other, Code::InviteOtherRoom);
    check(&mut world, Some(OWNER), &RoomId::parse("nowhere").unwrap(), Code::RoomNotFound);
    world.pass(Duration::from_secs(3600));
    check(&mut world, Some(&expired.token), &room(), Code::InviteExpired);
    world.own(OwnerCommand::DeleteRoom(room())).unwrap();
    check(&mut world, Some(&expired.token), &room(), Code::RoomNotFound);
}

#[test]
fn refusals_say_what_to_do() {
    for refusal in
        [Refusal::InviteExpired, Refusal::RoomFull(15), Refusal::Waiting, Refusal::SlotTaken(slot(2))]
    {
        let text = refusal.to_string();
        assert!(text.contains(':') && text.ends_with('.'), "{text}");
    }
}

#[test]
fn a_role_can_only_be_lowered_and_never_past_the_green_room() {
    let mut world = World::new();
    let invite = world.invite(Role::Guest, 3);
    let mut check = |asked, expected| {
        let mut join = world.asking("Ada", &invite.token);
        join.role = Some(asked);
        let joined = world.try_join(join).unwrap();
        assert_eq!((joined.reply.role, joined.reply.state), (expected, PeerState::Waiting));
    };
    check(Role::Host, Role::Guest);
    check(Role::Guest, Role::Guest);
    check(Role::Viewer, Role::Viewer);
}

#[test]
fn a_full_room_says_so_and_uses_nothing_up() {
    let mut world = World::with(Limits { peers_per_room: 1, ..Limits::default() });
    let host = world.join("Mira", OWNER);
    let invite = world.invite(Role::Guest, 1);
    let join = world.asking("Ada", &invite.token);
    assert_eq!(refused(world.try_join(join)), Code::RoomFull);
    world.peer(&host, PeerCommand::Leave).unwrap();
    world.join("Ada", &invite.token);
}

#[test]
fn without_memory_nobody_new_comes_in_and_who_is_in_comes_back() {
    let mut world = World::new();
    let host = world.join("Mira", OWNER);
    let invite = world.invite(Role::Guest, 2);
    world.rooms.set_full(true);
    let join = world.asking("Ada", &invite.token);
    assert_eq!(refused(world.try_join(join)), Code::ServerFull);
    world.handle(Command::Disconnected(host.session)).unwrap();
    let back = world.resume(&host).unwrap();
    assert_eq!(back.reply.peer, host.reply.peer);
    world.rooms.set_full(false);
    world.join("Ada", &invite.token);
}

#[test]
fn viewers_elsewhere_count_and_their_most_is_kept() {
    let mut world = World::new();
    world.join("Mira", OWNER);
    let invite = world.invite(Role::Viewer, 2);
    world.join("Vera", &invite.token);
    let viewers = |world: &World| {
        let room = world.rooms.live_room(&room()).unwrap();
        (room.viewers, room.max_viewers)
    };
    assert_eq!(viewers(&world), (1, 1));
    world.rooms.set_live_viewers([(room(), 4)].into());
    assert_eq!(viewers(&world), (5, 5));
    world.rooms.set_live_viewers([].into());
    assert_eq!(viewers(&world), (1, 5));
}

#[test]
fn a_session_joins_once() {
    let mut world = World::new();
    let host = world.join("Mira", OWNER);
    let mut again = world.asking("Mira", OWNER);
    again.session = host.session;
    assert_eq!(refused(world.try_join(again)), Code::AlreadyJoined);
}

#[test]
fn a_stranger_is_told_to_join_first() {
    let mut world = World::new();
    let stranger = SessionId(world.fresh());
    let refusal = world.handle(Command::Peer(stranger, PeerCommand::Leave)).unwrap_err();
    assert_eq!(refusal.code(), Code::NotJoined);
    world.handle(Command::Disconnected(stranger)).expect("a goodbye from a stranger is nothing");
}

#[test]
fn a_guest_who_comes_back_in_time_is_the_same_guest() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.handle(Command::Disconnected(ada.session)).unwrap();
    assert!(!world.view(ada.reply.peer).unwrap().connected);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.show(), [(1, "Ada")], "the slot is kept");
    let back = world.resume(&ada).unwrap();
    assert_eq!((back.reply.peer, back.reply.state), (ada.reply.peer, PeerState::Live));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.show(), [(1, "Ada")]);
}

#[test]
fn a_guest_who_comes_back_late_gets_the_slot_back_and_uses_no_second_invite() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.handle(Command::Disconnected(ada.session)).unwrap();
    world.pass(Duration::from_secs(30));
    assert!(world.show().is_empty());
    assert!(world.view(ada.reply.peer).is_none());
    let back = world.resume(&ada).unwrap();
    assert_ne!(back.reply.peer, ada.reply.peer);
    assert_eq!(back.reply.state, PeerState::Live);
    assert_eq!(world.show(), [(1, "Ada")]);
}

#[test]
fn a_late_guest_whose_slot_is_taken_is_in_the_room_without_one() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.handle(Command::Disconnected(ada.session)).unwrap();
    world.pass(Duration::from_secs(30));
    world.admitted("Bob");
    let back = world.resume(&ada).unwrap();
    assert_eq!(world.show(), [(1, "Bob")]);
    assert_eq!(world.view(back.reply.peer).unwrap().slot, None);
    assert!(world.notes.last().unwrap().contains("taken"), "{:?}", world.notes);
}

#[test]
fn a_second_window_takes_the_first_ones_place() {
    let mut world = World::new();
    let first = world.admitted("Ada");
    let second = world.resume(&first).unwrap();
    assert_eq!(second.reply.peer, first.reply.peer);
    assert_eq!(world.told(&first).last().map(String::as_str), Some("kicked"));
    assert!(world.closed.contains(&first.session));
    world.handle(Command::Disconnected(first.session)).unwrap();
    assert!(world.view(first.reply.peer).unwrap().connected, "the old window's end is not the guest's");
}

#[test]
fn who_comes_back_is_told_of_their_slot_and_of_what_is_muted() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let (room, peer) = (room(), ada.reply.peer);
    world.own(OwnerCommand::Mute { room, peer, kind: MediaKind::Audio, muted: true }).unwrap();
    let back = world.resume(&ada).unwrap();
    assert_eq!(world.told(&back), ["slot-changed", "muted-by-host"]);

    let mut world = World::restored(Limits::default(), world.saved());
    let back = world.resume(&ada).unwrap();
    assert_eq!(world.told(&back), ["slot-changed", "muted-by-host"]);
}

#[test]
fn a_removed_guest_stays_out() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.own(OwnerCommand::Remove { room: room(), peer: ada.reply.peer }).unwrap();
    assert_eq!(world.told(&ada).last().map(String::as_str), Some("kicked"));
    assert!(world.show().is_empty());
    assert_eq!(refused(world.resume(&ada)), Code::Forbidden);
}

#[test]
fn taking_an_invite_back_ends_its_guests_when_asked() {
    let mut world = World::new();
    let invite = world.invite(Role::Guest, 2);
    let ada = world.join("Ada", &invite.token);
    let bob = world.admitted("Bob");
    world.own(OwnerCommand::RevokeInvite { room: room(), invite: invite.id, end_peers: false }).unwrap();
    assert!(world.view(ada.reply.peer).is_some(), "not asked");
    world.own(OwnerCommand::RevokeInvite { room: room(), invite: invite.id, end_peers: true }).unwrap();
    assert!(world.view(ada.reply.peer).is_none());
    assert!(world.view(bob.reply.peer).is_some());
    assert_eq!(refused(world.resume(&ada)), Code::Forbidden);
}

#[test]
fn who_leaves_by_choice_waits_again() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.peer(&ada, PeerCommand::Leave).unwrap();
    assert!(world.show().is_empty());
    let back = world.resume(&ada).unwrap();
    assert!(back.is_waiting());
}

#[test]
fn a_restart_keeps_rooms_invites_guests_and_slots() {
    let mut world = World::new();
    let open = world.invite(Role::Guest, 2);
    let ada = world.admitted("Ada");
    let bob = world.waiting("Bob");
    let gone = world.admitted("Gone");
    world.own(OwnerCommand::Remove { room: room(), peer: gone.reply.peer }).unwrap();

    // Whatever was kept at any moment is all there is after a kill.
    let mut world = World::restored(Limits::default(), world.saved());
    assert_eq!(world.show(), [(1, "Ada")]);
    let back = world.resume(&ada).unwrap();
    assert_eq!((back.reply.state, back.reply.resumed), (PeerState::Live, false));
    assert!(world.resume(&bob).unwrap().is_waiting());
    assert_eq!(refused(world.resume(&gone)), Code::Forbidden);
    assert!(world.join("Cleo", &open.token).is_waiting());
}

#[test]
fn a_guest_who_does_not_return_after_a_restart_frees_the_slot() {
    let mut world = World::new();
    world.admitted("Ada");
    let mut world = World::restored(Limits::default(), world.saved());
    assert_eq!(world.rooms.poll_timeout(world.now), Some(Duration::from_secs(30)));
    world.pass(Duration::from_secs(30));
    assert!(world.show().is_empty());
}

#[test]
fn the_end_of_a_room_is_told_to_everyone_and_is_final() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let update =
        |status| OwnerCommand::UpdateRoom { id: room(), status: Some(status), title: None, is_private: None };
    world.own(update(wire::rest::RoomStatus::Live)).unwrap();
    assert_eq!(world.own(update(wire::rest::RoomStatus::Live)).unwrap_err().code(), Code::Conflict);
    assert_eq!(world.own(update(wire::rest::RoomStatus::Preparing)).unwrap_err().code(), Code::Conflict);
    world.own(update(wire::rest::RoomStatus::Ended)).unwrap();
    assert_eq!(world.told(&ada).last().map(String::as_str), Some("room-closed"));
    assert_eq!(refused(world.resume(&ada)), Code::RoomClosed);
}

#[test]
fn an_expiring_invite_is_news_for_the_dashboard() {
    let mut world = World::new();
    world.invite(Role::Guest, 1);
    assert_eq!(world.rooms.poll_timeout(world.now), Some(Duration::from_secs(3600)));
    world.now.unix_ms += 3_600_000;
    world.rooms.handle_timeout(world.now);
    assert!(matches!(world.rooms.poll_effect(), Some(Effect::RosterChanged)));
    assert_eq!(world.rooms.poll_timeout(world.now), None);
}

#[test]
fn bounds_of_invites_are_held() {
    let mut world = World::new();
    let mut check = |expires_in_secs, max_uses| {
        let role = Role::Guest;
        let command =
            OwnerCommand::CreateInvite { room: room(), role, expires_in_secs, max_uses, display_name: None };
        assert_eq!(world.own(command).unwrap_err().code(), Code::InvalidRequest);
    };
    check(0, 1);
    check(30 * 24 * 3600 + 1, 1);
    check(u64::MAX, 1);
    check(60, 0);
    check(60, 1001);
}
