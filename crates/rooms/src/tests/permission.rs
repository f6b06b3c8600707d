//! Who may do what: the table, cell by cell, and what stands behind it.

use super::world::*;
use crate::permission::{Action, Actor, Rule, Standing, permits, permits_to, rule};
use crate::*;
use wire::Code;
use wire::ortc::{Direction, MediaKind};
use wire::sfu::{PeerState, Role};

const ROLES: [Option<Role>; 6] = [
    None,
    Some(Role::Host),
    Some(Role::CoHost),
    Some(Role::Guest),
    Some(Role::Performer),
    Some(Role::Viewer),
];

/// The table as it is meant, written a second time by hand; docs/security.md has the same lines.
const TABLE: &str = "\
| make, change, end rooms | yes | no | no | no | no | no |
| make, revoke invites | yes | no | no | no | no | no |
| let in, move between slots | yes | below | below | no | no | no |
| mute | yes | below | below | no | no | no |
| remove | yes | below | below | no | no | no |
| send picture, sound, data | yes | yes | yes | yes | on stage | no |
| receive, see the others | yes | live | live | live | live | live |
| chat, raise a hand, relay signals | yes | live | live | live | live | live |
| attend: own things, name, leave | yes | yes | yes | yes | yes | yes |
";

#[test]
fn every_role_and_action_is_as_the_table_says_here_and_in_the_docs() {
    for (line, action) in TABLE.lines().zip(Action::ALL) {
        let cells: Vec<&str> = line.split('|').map(str::trim).skip(2).take(ROLES.len()).collect();
        for (cell, role) in cells.iter().zip(ROLES) {
            let expected = match *cell {
                "yes" => Rule::Yes,
                "no" => Rule::No,
                "live" => Rule::Live,
                "below" => Rule::Below,
                "on stage" => Rule::OnStage,
                other => panic!("{other}"),
            };
            assert_eq!(rule(role, action), expected, "{role:?} {action:?}");
        }
    }
    assert_eq!(TABLE.lines().count(), Action::ALL.len());
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    assert!(docs.contains(TABLE), "docs/security.md has another table");
}

#[test]
fn each_rule_means_what_it_says() {
    for role in ROLES.into_iter().flatten() {
        for action in Action::ALL {
            for (state, admitted) in
                [(PeerState::Live, true), (PeerState::Live, false), (PeerState::Waiting, false)]
            {
                let expected = match rule(Some(role), action) {
                    Rule::Yes | Rule::Below => true,
                    Rule::Live => state == PeerState::Live,
                    Rule::OnStage => admitted,
                    Rule::No => false,
                };
                let standing = Standing { role, state, admitted };
                assert_eq!(
                    permits(Actor::Peer(standing), action).is_ok(),
                    expected,
                    "{standing:?} {action:?}"
                );
            }
        }
    }
    assert!(Action::ALL.into_iter().all(|action| permits(Actor::Owner, action).is_ok()));
}

#[test]
fn hosts_act_on_those_below_them_only() {
    let order = [Role::Host, Role::CoHost, Role::Guest, Role::Performer, Role::Viewer];
    for (a, actor) in order.into_iter().enumerate() {
        for (b, other) in order.into_iter().enumerate() {
            for action in [Action::Place, Action::Mute, Action::Remove] {
                let standing = Standing { role: actor, state: PeerState::Live, admitted: true };
                let allowed = permits_to(Actor::Peer(standing), action, other).is_ok();
                assert_eq!(allowed, a < b && a < 2, "{actor:?} to {other:?}");
                assert!(permits_to(Actor::Owner, action, other).is_ok());
            }
        }
    }
}

#[test]
fn a_co_host_sees_who_waits_and_lets_them_in_but_reaches_nobody_above() {
    let mut world = World::new();
    let host = world.join("Mira", OWNER);
    let early = world.waiting("Ada");
    let invite = world.invite(Role::CoHost, 1);
    let cohost = world.join("Cem", &invite.token);
    assert_eq!(cohost.reply.state, PeerState::Live);
    assert_eq!(cohost.reply.waiting.iter().map(|peer| peer.peer_id).collect::<Vec<_>>(), [early.reply.peer]);
    let late = world.waiting("Bob");
    assert!(world.told(&cohost).contains(&"peer-waiting".to_owned()));
    assert!(!world.told(&early).contains(&"peer-waiting".to_owned()));

    let admit = |peer: &Joined| PeerCommand::Admit { peer: peer.reply.peer, slot: None };
    assert_eq!(world.peer(&early, admit(&late)).unwrap_err().code(), Code::Forbidden);
    world.peer(&cohost, admit(&early)).unwrap();
    assert_eq!(world.told(&early), ["admitted"]);
    assert_eq!(world.show(), [(1, "Ada")]);
    let mute = PeerCommand::Mute { peer: early.reply.peer, kind: MediaKind::Audio, muted: true };
    world.peer(&cohost, mute).unwrap();
    assert_eq!(world.told(&early), ["muted-by-host"]);
    world.peer(&cohost, PeerCommand::AssignSlot { peer: early.reply.peer, slot: None }).unwrap();
    world.peer(&cohost, PeerCommand::Remove(late.reply.peer)).unwrap();
    assert_eq!(world.told(&late), ["kicked"]);
    world.told(&cohost);

    let remove = PeerCommand::Remove(host.reply.peer);
    assert_eq!(world.peer(&cohost, remove).unwrap_err().code(), Code::Forbidden);
    let remove = PeerCommand::Remove(cohost.reply.peer);
    assert_eq!(world.peer(&cohost, remove.clone()).unwrap_err().code(), Code::Forbidden);
    world.peer(&host, remove).unwrap();
}

#[test]
fn nobody_reaches_into_another_room() {
    let mut world = World::new();
    let other = wire::RoomId::parse("other").unwrap();
    world.own(OwnerCommand::CreateRoom { id: other.clone(), title: None, is_private: false }).unwrap();
    let ada = world.waiting("Ada");
    let mut join = world.asking("Mira", OWNER);
    join.room = other;
    let host = world.try_join(join).unwrap();
    let remove = PeerCommand::Remove(ada.reply.peer);
    assert_eq!(world.peer(&host, remove).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_performer_watches_asks_is_let_onto_the_stage_and_taken_off_it() {
    let mut world = World::new();
    let host = world.join("Mira", OWNER);
    let invite = world.invite(Role::Performer, 1);
    let pia = world.join("Pia", &invite.token);
    assert_eq!((pia.reply.state, pia.reply.may_send), (PeerState::Live, false));
    assert_eq!(pia.reply.peers.len(), 1, "sees the host at once");
    world.transport(&pia, Direction::Recv);
    let send = |world: &World| world.rooms.may_create_transport(pia.session, Direction::Send);
    assert_eq!(send(&world).unwrap_err(), Refusal::NotOnStage);

    world.told(&host);
    world.peer(&pia, PeerCommand::RaiseHand(true)).unwrap();
    assert_eq!(world.told(&host), ["hand-raised"]);
    assert!(world.notes.contains(&"Pia asks to come onto the stage".to_owned()));
    let slot = OwnerCommand::AssignSlot { room: room(), peer: pia.reply.peer, slot: Some(slot(2)) };
    assert_eq!(world.own(slot).unwrap_err(), Refusal::NotAdmitted, "a slot is no way onto the stage");
    world.told(&pia);
    world.peer(&host, PeerCommand::Admit { peer: pia.reply.peer, slot: None }).unwrap();
    assert_eq!(world.told(&pia), ["admitted", "hand-raised"]);
    assert_eq!(world.show(), [(1, "Pia")]);
    let sending = world.transport(&pia, Direction::Send);
    let camera = world.produce(&pia, sending, MediaKind::Video);

    world.media.clear();
    world.peer(&host, PeerCommand::AssignSlot { peer: pia.reply.peer, slot: None }).unwrap();
    assert_eq!(world.told(&pia), ["slot-changed", "transport-closed"]);
    assert_eq!(world.media, [format!("close {camera}"), format!("close {sending}")]);
    assert_eq!(send(&world).unwrap_err(), Refusal::NotOnStage);
    assert!(world.show().is_empty());
}

#[test]
fn a_performer_on_stage_is_there_again_after_a_restart() {
    let mut world = World::new();
    let invite = world.invite(Role::Performer, 2);
    let (pia, quin) = (world.join("Pia", &invite.token), world.join("Quin", &invite.token));
    world.own(OwnerCommand::Admit { room: room(), peer: pia.reply.peer, slot: None }).unwrap();
    let mut world = World::restored(Limits::default(), world.saved());
    let (pia, quin) = (world.resume(&pia).unwrap(), world.resume(&quin).unwrap());
    assert_eq!((pia.reply.may_send, quin.reply.may_send), (true, false));
    assert_eq!((pia.reply.state, quin.reply.state), (PeerState::Live, PeerState::Live));
    assert_eq!(world.show(), [(1, "Pia")]);
    world.peer(&pia, PeerCommand::Leave).unwrap();
    let pia = world.resume(&pia).unwrap();
    assert!(!pia.reply.may_send, "who leaves by choice asks again");
}
