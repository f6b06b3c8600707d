//! Data channels among the people of a room.

use super::world::*;
use crate::*;
use wire::ortc::Direction;
use wire::sfu::{Notice, Role};

#[test]
fn those_in_the_room_hear_of_a_data_channel_and_late_joiners_find_it() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let ben = world.admitted("Ben");
    let cleo = world.waiting("Cleo");
    world.told(&ben);
    world.told(&cleo);
    let sending = world.transport(&ada, Direction::Send);
    let channel = world.produce_data(&ada, sending).expect("produces");
    let Some(Notice::NewDataProducer { data_producer_id, peer_id, label, .. }) =
        world.said[&ben.session].first()
    else {
        panic!("{:?}", world.said[&ben.session]);
    };
    assert_eq!((*data_producer_id, *peer_id, label.as_str()), (channel, ada.reply.peer, "game"));
    assert!(world.told(&cleo).is_empty(), "the green room hears nothing");
    assert!(cleo.reply.data_producers.is_empty());

    world.own(OwnerCommand::Admit { room: room(), peer: cleo.reply.peer, slot: None }).expect("admits");
    let Some(Notice::Admitted { data_producers, .. }) = world.said[&cleo.session].first() else {
        panic!("{:?}", world.said[&cleo.session]);
    };
    assert_eq!(data_producers[0].data_producer_id, channel);
    let back = world.resume(&ben).expect("resumes");
    assert_eq!(back.reply.data_producers.len(), 1);
}

#[test]
fn what_a_waiting_guest_opened_is_announced_with_the_guest() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let ben = world.waiting("Ben");
    let sending = world.transport(&ben, Direction::Send);
    let channel = world.produce_data(&ben, sending).expect("produces");
    world.transport(&ada, Direction::Recv);
    world.told(&ada);
    assert_eq!(world.consume_data(&ada, channel), Err(Refusal::NotFound("data producer")));
    world.own(OwnerCommand::Admit { room: room(), peer: ben.reply.peer, slot: None }).expect("admits");
    assert_eq!(world.told(&ada), ["peer-joined", "new-data-producer"]);
    assert!(world.consume_data(&ada, channel).is_ok());
}

#[test]
fn channels_belong_to_their_peers() {
    let mut world =
        World::with(Limits { data_producers_per_peer: 1, data_consumers_per_peer: 1, ..Limits::default() });
    let ada = world.admitted("Ada");
    let ben = world.admitted("Ben");
    let viewer_link = world.invite(Role::Viewer, 1);
    let viewer = world.join("Vi", &viewer_link.token);
    let sending = world.transport(&ada, Direction::Send);
    let receiving = world.transport(&ada, Direction::Recv);
    world.transport(&ben, Direction::Recv);
    let viewing = world.transport(&viewer, Direction::Recv);
    let channel = world.produce_data(&ada, sending).expect("produces");

    assert_eq!(
        world.produce_data(&ada, sending),
        Err(Refusal::LimitReached { what: "data channels", limit: 1 })
    );
    assert_eq!(world.produce_data(&ada, receiving), Err(Refusal::WrongDirection("sending")));
    assert_eq!(world.produce_data(&ben, sending), Err(Refusal::NotFound("transport")));
    assert_eq!(world.produce_data(&viewer, viewing), Err(Refusal::ViewerSends));
    assert_eq!(world.consume_data(&ada, channel), Err(Refusal::OwnProducer));
    assert!(world.consume_data(&viewer, channel).is_ok(), "a viewer may listen");
    let consumer = world.consume_data(&ben, channel).expect("consumes");
    let limit = Refusal::LimitReached { what: "received data channels", limit: 1 };
    assert_eq!(world.consume_data(&ben, channel), Err(limit));

    assert!(world.peer(&ben, PeerCommand::CloseDataProducer(channel)).is_err());
    assert!(world.peer(&ada, PeerCommand::CloseDataConsumer(consumer)).is_err());
    assert!(world.rooms.may_use_data_consumer(ada.session, consumer).is_err());
    world.media.clear();
    world.peer(&ben, PeerCommand::CloseDataConsumer(consumer)).expect("closes");
    assert_eq!(world.media, [format!("close {consumer}")]);
}

#[test]
fn closing_one_is_told_to_all_whom_it_concerns() {
    let mut world = World::new();
    let [ada, ben, cleo] = ["Ada", "Ben", "Cleo"].map(|name| world.admitted(name));
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&ben, Direction::Recv);
    let first = world.produce_data(&ada, sending).expect("produces");
    let second = world.produce_data(&ada, sending).expect("produces");
    let third = world.produce_data(&ada, sending).expect("produces");
    for channel in [first, second, third] {
        world.consume_data(&ben, channel).expect("consumes");
    }
    let told = |world: &mut World| [&ada, &ben, &cleo].map(|guest| world.told(guest));
    told(&mut world);

    world.peer(&ada, PeerCommand::CloseDataProducer(first)).expect("closes");
    let closed = "data-producer-closed".to_owned();
    let both = vec!["data-consumer-closed".to_owned(), closed.clone()];
    assert_eq!(told(&mut world), [vec![], both.clone(), vec![closed.clone()]]);

    world.rooms.on_data_producer_lost(second, "the association failed");
    world.settle();
    assert_eq!(
        told(&mut world),
        [vec![closed.clone()], both.clone(), vec![closed.clone()]],
        "its owner is told, too"
    );

    world.peer(&ada, PeerCommand::Leave).expect("leaves");
    let gone = |mut notices: Vec<String>| {
        notices.push("peer-left".to_owned());
        notices
    };
    assert_eq!(told(&mut world)[1..], [gone(both), gone(vec![closed])]);
    assert!(world.rooms.data_producers.is_empty() && world.rooms.data_consumers.is_empty());
}

#[test]
fn a_receiver_who_was_cut_off_is_told_why() {
    let mut world = World::new();
    let [ada, ben] = ["Ada", "Ben"].map(|name| world.admitted(name));
    let sending = world.transport(&ada, Direction::Send);
    world.transport(&ben, Direction::Recv);
    let channel = world.produce_data(&ada, sending).expect("produces");
    let consumer = world.consume_data(&ben, channel).expect("consumes");
    world.told(&ben);
    world.rooms.on_data_consumer_lost(consumer, "the receiver does not keep up");
    world.settle();
    let Some(Notice::DataConsumerClosed { reason, .. }) = world.said[&ben.session].first() else {
        panic!("{:?}", world.said[&ben.session]);
    };
    assert_eq!(reason, "the receiver does not keep up");
    assert!(world.consume_data(&ben, channel).is_ok(), "they may try again");
}
