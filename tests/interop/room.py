"""A guest of a Greenroom room over python-socketio: joins, is let in, makes transports, sends, receives."""

import asyncio

import socketio


class Room:
    def __init__(self):
        self.socket = socketio.AsyncClient()
        self.notices = asyncio.Queue()
        self.socket.on("*", self._note)

    async def _note(self, event, data=None):
        await self.notices.put((event, data))

    async def join(self, url, room_id, token, name):
        await self.socket.connect(url, auth={"token": token}, transports=["websocket"])
        joined = await self.ask("join-room", {"roomId": room_id, "displayName": name})
        if joined["state"] == "waiting":
            joined.update(await self.notice("admitted"))
        return joined

    async def ask(self, event, payload=None):
        answer = await self.socket.call(event, payload or {}, timeout=10)
        if answer.get("error"):
            raise RuntimeError(f"{event}: {answer['code']}: {answer['error']}")
        return answer

    async def notice(self, wanted, seconds=20):
        async with asyncio.timeout(seconds):
            while True:
                event, data = await self.notices.get()
                if event == wanted:
                    return data

    async def transport(self, direction):
        return await self.ask("create-webrtc-transport", {"direction": direction})

    async def connect(self, transport, dtls_parameters):
        await self.ask("connect-transport", {"transportId": transport["id"], "dtlsParameters": dtls_parameters})

    async def produce(self, transport, kind, rtp_parameters):
        return await self.ask(
            "produce",
            {"transportId": transport["id"], "kind": kind, "rtpParameters": rtp_parameters, "appData": {"source": kind}},
        )

    async def consume(self, transport, producer_id, capabilities):
        wanted = {"producerId": producer_id, "rtpCapabilities": capabilities, "transportId": transport["id"]}
        return await self.ask("consume", wanted)

    async def leave(self):
        await self.ask("leave-room")
        await self.socket.disconnect()
