//! What the streamer asks for, by REST or from the dashboard.

use super::Stage;
use rooms::{Command, OwnerCommand, Reply, Title};
use wire::rest::*;
use wire::sfu::Role;
use wire::{Code, Failure, RoomId};

impl Stage {
    pub(super) async fn owner_request(&mut self, request: OwnerRequest) -> Result<OwnerReply, Failure> {
        let command = match request {
            OwnerRequest::ListRooms => return Ok(OwnerReply::Rooms(self.rooms.live_rooms())),
            OwnerRequest::ReadRoom(room) => return self.live_room(&room),
            OwnerRequest::ListInvites(room) => {
                return Ok(OwnerReply::Invites(self.rooms.invites(self.clock.now(), &room)?));
            }
            OwnerRequest::PublishUrls(room) => {
                let key = self.rooms.stream_key(&room)?;
                return Ok(OwnerReply::PublishUrls(self.srs.publish_urls(&room, key)));
            }
            OwnerRequest::PlayUrls(room) => {
                self.rooms.live_room(&room)?;
                return Ok(OwnerReply::PlayUrls(self.srs.play_urls(&room)));
            }
            OwnerRequest::StreamState(room) => {
                return Ok(OwnerReply::StreamState(self.stream_state(&room).await?));
            }
            OwnerRequest::ListAlarms => return Ok(OwnerReply::Alarms(self.desk.shown())),
            OwnerRequest::DismissAlarm(id) => return self.dismiss_alarm(id),
            OwnerRequest::CreateInvite(room, asked) => return self.create_invite(room, asked).await,
            OwnerRequest::CreateRoom(CreateRoom { room_id, title, is_private }) => {
                let title = title.as_deref().map(Title::parse).transpose()?;
                self.own(OwnerCommand::CreateRoom {
                    id: room_id.clone(),
                    title,
                    is_private: is_private.unwrap_or(false),
                })
                .await?;
                return self.live_room(&room_id);
            }
            OwnerRequest::UpdateRoom(room, UpdateRoom { status, title, is_private }) => {
                let title = title.as_deref().map(Title::parse).transpose()?;
                self.own(OwnerCommand::UpdateRoom { id: room.clone(), status, title, is_private }).await?;
                return self.live_room(&room);
            }
            OwnerRequest::DeleteRoom(room) => OwnerCommand::DeleteRoom(room),
            OwnerRequest::RevokeInvite(room, invite, RevokeInvite { end_peers }) => {
                OwnerCommand::RevokeInvite { room, invite, end_peers }
            }
            OwnerRequest::Admit(room, peer, AssignSlot { slot }) => {
                self.own(OwnerCommand::Admit { room, peer, slot }).await?;
                self.tell_speaker(peer).await;
                return Ok(OwnerReply::Done {});
            }
            OwnerRequest::AssignSlot(room, peer, AssignSlot { slot }) => {
                OwnerCommand::AssignSlot { room, peer, slot }
            }
            OwnerRequest::Mute(room, peer, MutePeer { kind, muted }) => {
                OwnerCommand::Mute { room, peer, kind, muted }
            }
            OwnerRequest::SetSteadiness(room, peer, SetSteadiness { steadiness }) => {
                return self.set_steadiness(&room, peer, steadiness).await;
            }
            OwnerRequest::TryAgain(room, peer) => return self.try_again(&room, peer).await,
            OwnerRequest::SetHearing(room, peer, hearing) => {
                return self.set_hearing(&room, peer, hearing).await;
            }
            OwnerRequest::Remove(room, peer) => OwnerCommand::Remove { room, peer },
            OwnerRequest::InstallObsPlugin
            | OwnerRequest::RemoveObsPlugin
            | OwnerRequest::SetLanAccess(_)
            | OwnerRequest::SetMonitoring(_)
            | OwnerRequest::AllowObsControl(_)
            | OwnerRequest::AddToObs(_)
            | OwnerRequest::UndoAddToObs
            | OwnerRequest::SetDebug(_)
            | OwnerRequest::SaveSupportBundle => {
                return Err(Failure::new(Code::Internal, "This is not the stage's to do."));
            }
        };
        self.own(command).await?;
        Ok(OwnerReply::Done {})
    }

    async fn own(&mut self, command: OwnerCommand) -> Result<Reply, Failure> {
        self.command(Command::Owner(command)).await
    }

    fn live_room(&self, room: &RoomId) -> Result<OwnerReply, Failure> {
        Ok(OwnerReply::Room(Box::new(self.rooms.live_room(room)?)))
    }

    async fn create_invite(&mut self, room: RoomId, asked: CreateInvite) -> Result<OwnerReply, Failure> {
        let command = OwnerCommand::CreateInvite {
            room: room.clone(),
            role: asked.role.unwrap_or(Role::Guest),
            expires_in_secs: asked.expires_in.unwrap_or(DEFAULT_EXPIRY_SECS),
            max_uses: asked.max_uses.unwrap_or(1),
            display_name: asked.display_name,
        };
        match self.own(command).await? {
            Reply::Invite(invite) => Ok(OwnerReply::InviteCreated(Box::new(InviteCreated {
                id: invite.id,
                url: self.addresses.borrow().invite_url(&room, &invite.token),
                expires_at: rooms::rfc3339(invite.expires_ms),
                token: invite.token,
                jwt: invite.jwt,
            }))),
            _ => Err(Failure::new(Code::Internal, "Something went wrong inside Greenroom: try again.")),
        }
    }
}

const DEFAULT_EXPIRY_SECS: u64 = 24 * 3600;
