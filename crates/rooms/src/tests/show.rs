//! Stories of the green room, the slots, and who sees whose tracks.

use super::world::*;
use crate::*;
use wire::dashboard::TrackView;
use wire::ortc::{Direction, MediaKind};
use wire::sfu::{Notice, Role};
use wire::{Code, RoomId};

fn admit(world: &mut World, guest: &Joined, to: Option<u8>) -> Result<Reply, Refusal> {
    world.own(OwnerCommand::Admit { room: room(), peer: guest.reply.peer, slot: to.map(slot) })
}

fn assign(world: &mut World, guest: &Joined, to: Option<u8>) -> Result<Reply, Refusal> {
    world.own(OwnerCommand::AssignSlot { room: room(), peer: guest.reply.peer, slot: to.map(slot) })
}

#[test]
fn admission_fills_the_first_free_slot_or_the_named_one() {
    let mut world = World::new();
    let (ada, bob, cleo) = (world.waiting("Ada"), world.waiting("Bob"), world.waiting("Cleo"));
    admit(&mut world, &ada, Some(2)).unwrap();
    admit(&mut world, &bob, None).unwrap();
    assert_eq!(admit(&mut world, &cleo, Some(2)).unwrap_err().code(), Code::SlotTaken);
    assert!(world.view(cleo.reply.peer).unwrap().slot.is_none(), "a refusal changes nothing");
    admit(&mut world, &cleo, None).unwrap();
    assert_eq!(world.show(), [(1, "Bob"), (2, "Ada"), (3, "Cleo")]);
    let dan = world.waiting("Dan");
    assert_eq!(admit(&mut world, &dan, None).unwrap_err().code(), Code::SlotTaken);
    assert_eq!(admit(&mut world, &dan, Some(4)).unwrap_err().code(), Code::InvalidRequest);
}

#[test]
fn guests_move_between_slots_and_out_of_the_show() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    assert_eq!(assign(&mut world, &ada, Some(2)).unwrap_err().code(), Code::SlotTaken);
    assign(&mut world, &ada, Some(3)).unwrap();
    assign(&mut world, &bob, None).unwrap();
    assert_eq!(world.show(), [(3, "Ada")]);
    assert!(world.told(&bob).contains(&"slot-changed".to_owned()));
    let cleo = world.waiting("Cleo");
    assert_eq!(assign(&mut world, &cleo, Some(1)).unwrap_err().code(), Code::InvalidRequest);
}

#[test]
fn a_new_name_reaches_the_slot_and_the_others() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    let name = wire::DisplayName::parse("Ada L.").unwrap();
    world.peer(&ada, PeerCommand::SetDisplayName(name)).unwrap();
    assert_eq!(world.show(), [(1, "Ada L."), (2, "Bob")]);
    assert_eq!(world.told(&bob).last().map(String::as_str), Some("peer-renamed"));
}

#[test]
fn the_green_room_neither_sees_nor_is_seen() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let sending = world.transport(&ada, Direction::Send);
    let of_ada = world.produce(&ada, sending, MediaKind::Video);
    world.told(&ada);

    let bob = world.waiting("Bob");
    assert!(bob.reply.peers.is_empty() && bob.reply.producers.is_empty());
    let sending = world.transport(&bob, Direction::Send);
    world.transport(&bob, Direction::Recv);
    world.transport(&ada, Direction::Recv);
    let of_bob = world.produce(&bob, sending, MediaKind::Video);
    assert!(world.told(&ada).is_empty(), "Ada hears nothing of Bob");
    assert_eq!(world.consume(&bob, of_ada).unwrap_err().code(), Code::Waiting);
    assert_eq!(world.consume(&ada, of_bob).unwrap_err().code(), Code::NotFound);
    let text = ChatText::parse("let me in").unwrap();
    assert_eq!(world.peer(&bob, PeerCommand::Chat(text)).unwrap_err().code(), Code::Waiting);

    admit(&mut world, &bob, None).unwrap();
    assert_eq!(world.told(&ada), ["peer-joined", "new-producer"]);
    let Some(Notice::Admitted { slot: Some(at), peers, producers, .. }) = world.said[&bob.session].first()
    else {
        panic!("Bob is told: {:?}", world.said)
    };
    assert_eq!((at.number(), peers.len(), producers.len()), (2, 1, 1));
    world.consume(&bob, of_ada).unwrap();
    world.consume(&ada, of_bob).unwrap();
}

#[test]
fn nobody_receives_themselves_or_another_room() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&ada, Direction::Recv);
    let of_ada = world.produce(&ada, sending, MediaKind::Audio);
    assert_eq!(world.consume(&ada, of_ada).unwrap_err().code(), Code::CannotConsume);

    let other = RoomId::parse("other").unwrap();
    world.own(OwnerCommand::CreateRoom { id: other.clone(), title: None, is_private: false }).unwrap();
    let mut join = world.asking("Mira", OWNER);
    join.room = other;
    let host = world.try_join(join).unwrap();
    world.transport(&host, Direction::Recv);
    assert_eq!(world.consume(&host, of_ada).unwrap_err().code(), Code::NotFound);
}

#[test]
fn anothers_things_do_not_exist() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&bob, Direction::Recv);
    let camera = world.produce(&ada, sending, MediaKind::Video);
    let consumer = world.consume(&bob, camera).unwrap();
    let not_found = |result: Result<Reply, Refusal>| assert_eq!(result.unwrap_err().code(), Code::NotFound);
    not_found(world.peer(&bob, PeerCommand::CloseProducer(camera)));
    not_found(world.peer(&bob, PeerCommand::PauseProducer(camera)));
    not_found(world.peer(&ada, PeerCommand::CloseConsumer(consumer)));
    assert_eq!(world.rooms.may_use_transport(bob.session, sending).unwrap_err().code(), Code::NotFound);
    assert_eq!(
        world.rooms.may_produce(bob.session, sending, MediaKind::Video).unwrap_err().code(),
        Code::NotFound
    );
}

#[test]
fn a_viewer_only_watches() {
    let mut world = World::new();
    let invite = world.invite(Role::Viewer, 1);
    let viewer = world.join("Vic", &invite.token);
    assert_eq!(
        world.rooms.may_create_transport(viewer.session, Direction::Send).unwrap_err().code(),
        Code::Forbidden
    );
    assert_eq!(assign(&mut world, &viewer, Some(1)).unwrap_err().code(), Code::InvalidRequest);
}

#[test]
fn the_hosts_mute_holds_until_the_host_lifts_it() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&bob, Direction::Recv);
    let mic = world.produce(&ada, sending, MediaKind::Audio);
    world.consume(&bob, mic).unwrap();
    world.told(&bob);
    let kind = MediaKind::Audio;
    let mute = |world: &mut World, muted| {
        world.own(OwnerCommand::Mute { room: room(), peer: ada.reply.peer, kind, muted }).unwrap();
    };

    mute(&mut world, true);
    assert_eq!(world.media.pop(), Some(format!("pause {mic}")));
    assert_eq!(world.told(&bob), ["producer-paused", "consumer-paused"]);
    assert_eq!(world.view(ada.reply.peer).unwrap().microphone, TrackView::MutedByHost);
    assert_eq!(world.peer(&ada, PeerCommand::ResumeProducer(mic)).unwrap_err().code(), Code::Forbidden);
    world.peer(&ada, PeerCommand::CloseProducer(mic)).unwrap();
    assert_eq!(
        world.rooms.may_produce(ada.session, sending, kind),
        Ok(true),
        "a new microphone starts muted"
    );
    let mic = world.produce(&ada, sending, kind);

    mute(&mut world, false);
    assert_eq!(world.media.pop(), Some(format!("resume {mic}")));
    assert_eq!(world.view(ada.reply.peer).unwrap().microphone, TrackView::On);
}

#[test]
fn lifting_a_mute_does_not_open_a_microphone_its_guest_closed() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let sending = world.transport(&ada, Direction::Send);
    let mic = world.produce(&ada, sending, MediaKind::Audio);
    world.peer(&ada, PeerCommand::PauseProducer(mic)).unwrap();
    world.media.clear();
    for muted in [true, false] {
        let (peer, kind) = (ada.reply.peer, MediaKind::Audio);
        world.own(OwnerCommand::Mute { room: room(), peer, kind, muted }).unwrap();
    }
    assert!(world.media.is_empty(), "paused all along: {:?}", world.media);
    assert_eq!(world.view(ada.reply.peer).unwrap().microphone, TrackView::MutedByGuest);
}

#[test]
fn a_leaving_guest_takes_everything_along() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&bob, Direction::Recv);
    let camera = world.produce(&ada, sending, MediaKind::Video);
    let consumer = world.consume(&bob, camera).unwrap();
    world.told(&bob);
    world.media.clear();
    world.peer(&ada, PeerCommand::Leave).unwrap();
    assert_eq!(world.told(&bob), ["consumer-closed", "producer-closed", "peer-left"]);
    assert_eq!(
        world.media,
        [format!("close {consumer}"), format!("close {camera}"), format!("close {sending}")]
    );
    assert_eq!(world.show(), [(2, "Bob")]);
    assert!(world.notes.contains(&"Ada left".to_owned()));
}

#[test]
fn a_reloaded_page_leaves_no_ghost_behind() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let sending = world.transport(&ada, Direction::Send);
    let old = world.produce(&ada, sending, MediaKind::Video);
    world.handle(Command::Disconnected(ada.session)).unwrap();
    let back = world.resume(&ada).unwrap();
    assert!(back.reply.resumed);
    world.media.clear();
    let sending = world.transport(&back, Direction::Send);
    assert!(world.media.contains(&format!("close {old}")), "the old page's camera goes: {:?}", world.media);
    world.produce(&back, sending, MediaKind::Video);
    assert_eq!(world.rooms.tracks_of(ada.reply.peer).len(), 1);
    // Transports of the session itself may be many.
    world.transport(&back, Direction::Send);
    assert_eq!(world.rooms.tracks_of(ada.reply.peer).len(), 1);
}

#[test]
fn limits_are_named_when_reached() {
    let mut world =
        World::with(Limits { producers_per_peer: 1, transports_per_peer: 1, ..Limits::default() });
    let ada = world.admitted("Ada");
    let sending = world.transport(&ada, Direction::Send);
    world.produce(&ada, sending, MediaKind::Video);
    assert_eq!(
        world.rooms.may_produce(ada.session, sending, MediaKind::Video).unwrap_err().code(),
        Code::LimitReached
    );
    assert_eq!(
        world.rooms.may_create_transport(ada.session, Direction::Recv).unwrap_err().code(),
        Code::LimitReached
    );
}

#[test]
fn chat_and_hands_reach_the_others() {
    let mut world = World::new();
    let (ada, bob) = (world.admitted("Ada"), world.admitted("Bob"));
    world.told(&bob);
    world.peer(&ada, PeerCommand::Chat(ChatText::parse("hi").unwrap())).unwrap();
    world.peer(&ada, PeerCommand::RaiseHand(true)).unwrap();
    world.peer(&ada, PeerCommand::RaiseHand(true)).unwrap();
    assert_eq!(world.told(&bob), ["chat", "hand-raised"]);
    assert!(world.view(ada.reply.peer).unwrap().hand_raised);
}

#[test]
fn pages_may_be_reloaded_any_number_of_times() {
    let mut world = World::with(Limits { transports_per_peer: 2, ..Limits::default() });
    let mut ada = world.admitted("Ada");
    for _ in 0..5 {
        world.transport(&ada, Direction::Send);
        world.transport(&ada, Direction::Recv);
        ada = world.resume(&ada).unwrap();
    }
}
