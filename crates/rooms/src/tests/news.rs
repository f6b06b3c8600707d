//! What programs outside are told: each thing once, in order, with all there is to say of it.

use super::world::*;
use crate::*;
use wire::ortc::{Direction, MediaKind};
use wire::rest::RoomStatus;
use wire::sfu::{PeerState, Role};
use wire::webhook::Happening;

impl World {
    fn types(&mut self) -> Vec<&'static str> {
        self.happened.drain(..).map(|happening| happening.type_name()).collect()
    }

    fn status(&mut self, status: RoomStatus) {
        let update =
            OwnerCommand::UpdateRoom { id: room(), status: Some(status), title: None, is_private: None };
        self.own(update).unwrap();
    }
}

#[test]
fn a_show_from_its_first_guest_to_its_end() {
    let mut world = World::new();
    assert_eq!(world.types(), [""; 0], "a room that is being prepared is no news");
    world.status(RoomStatus::Live);
    assert_eq!(world.types(), ["room.live"]);
    let ada = world.waiting("Ada");
    let [Happening::PeerJoined(fact)] = &world.happened[..] else { panic!("{:?}", world.happened) };
    assert_eq!((fact.display_name.as_str(), fact.role, fact.state), ("Ada", Role::Guest, PeerState::Waiting));
    let admit = OwnerCommand::Admit { room: room(), peer: ada.reply.peer, slot: None };
    world.own(admit.clone()).unwrap();
    world.own(admit).unwrap();
    assert_eq!(world.types(), ["peer.joined", "peer.admitted"], "a second click is no news");

    let transport = world.transport(&ada, Direction::Send);
    let camera = world.produce(&ada, transport, MediaKind::Video);
    world.produce(&ada, transport, MediaKind::Audio);
    world.peer(&ada, PeerCommand::PauseProducer(camera)).unwrap();
    world.peer(&ada, PeerCommand::CloseProducer(camera)).unwrap();
    assert!(
        matches!(&world.happened[0], Happening::PublishStarted(fact) if fact.kind == "video" && fact.producer_id == camera)
    );
    assert_eq!(world.types(), ["publish.started", "publish.started", "publish.stopped"]);

    world.handle(Command::Disconnected(ada.session)).unwrap();
    let back = world.resume(&ada).unwrap();
    assert_eq!(world.types(), [""; 0], "who comes back within the grace time was never away");
    world.status(RoomStatus::Ended);
    let Some(Happening::PeerLeft(gone)) = world.happened.get(1) else { panic!("{:?}", world.happened) };
    assert_eq!((gone.peer.peer_id, gone.reason.as_str()), (back.reply.peer, "room closed"));
    assert_eq!(world.types(), ["publish.stopped", "peer.left", "room.ended"]);
    world.own(OwnerCommand::DeleteRoom(room())).unwrap();
    assert_eq!(world.types(), [""; 0], "it has ended already");
}

#[test]
fn a_room_that_is_closed_ends_and_a_guest_who_is_lost_leaves_after_the_grace_time() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    world.types();
    world.handle(Command::Disconnected(ada.session)).unwrap();
    assert_eq!(world.types(), [""; 0]);
    world.pass(std::time::Duration::from_secs(60));
    assert!(matches!(&world.happened[..], [Happening::PeerLeft(gone)] if gone.reason == "connection lost"));
    world.types();
    world.own(OwnerCommand::DeleteRoom(room())).unwrap();
    assert_eq!(world.types(), ["room.ended"]);
}
