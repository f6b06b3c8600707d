"""aiortc as a guest with data channels alone. Tells what it heard as one line of JSON.

usage: aiortc_data_peer.py URL ROOM TOKEN NAME echo|lossy

`echo` says back what it hears; `lossy` loses a tenth of its packets both ways, and counts up to 300 on channels with a
limit like those it hears.
"""

import asyncio
import json
import random
import sys

import sdp
from aiortc import RTCPeerConnection, RTCSctpTransport, RTCSessionDescription
from room import Room


async def connect(room, transport, channels):
    """A connection of channels agreed upon by signaling; resolves when they are open."""
    pc = RTCPeerConnection()
    opened = []
    made = []
    for label, parameters in channels:
        channel = pc.createDataChannel(label, negotiated=True, **options(parameters))
        opened.append(asyncio.Event())
        channel.on("open", opened[-1].set)
        made.append(channel)
    await pc.setLocalDescription(await pc.createOffer())
    offer = pc.localDescription.sdp
    await room.connect(transport, sdp.dtls_parameters(offer, "client"))
    await pc.setRemoteDescription(RTCSessionDescription(sdp.data_answer_to(offer, transport), "answer"))
    return pc, made, asyncio.gather(*(event.wait() for event in opened))


def options(parameters):
    renamed = {"streamId": "id", "ordered": "ordered", "maxRetransmits": "maxRetransmits", "maxPacketLifeTime": "maxPacketLifeTime"}
    return {renamed[name]: value for name, value in parameters.items() if name in renamed and value is not None}


async def receive(room, joined):
    """Every channel of the room, silent until it is resumed; resolves with consumers by label."""
    transport = await room.transport("recv")
    wanted = [{"dataProducerId": p["dataProducerId"], "transportId": transport["id"], "paused": True} for p in joined["dataProducers"]]
    replies = [await room.ask("consume-data", one) for one in wanted]
    pc, channels, ready = await connect(room, transport, [(r["label"], r["sctpStreamParameters"]) for r in replies])
    return pc, {r["label"]: (r, channel) for r, channel in zip(replies, channels)}, ready


async def send(room, labels):
    """Channels of one's own, by label with their parameters."""
    transport = await room.transport("send")
    pc, channels, opened = await connect(room, transport, labels)
    for label, parameters in labels:
        await room.ask("produce-data", {"transportId": transport["id"], "sctpStreamParameters": parameters, "label": label})
    return pc, channels, opened


async def echo(room, joined):
    heard, done = [], asyncio.Event()
    sender, [said], opened = await send(room, [("echo", {"streamId": 7, "ordered": True})])
    receiver, consumers, ready = await receive(room, joined)
    [(reply, listened)] = consumers.values()

    @listened.on("message")
    def on_message(message):
        heard.append(len(message))
        said.send(message)
        if message == "bye":
            done.set()

    async with asyncio.timeout(20):
        await asyncio.gather(opened, ready)
        await room.ask("resume-data-consumer", {"dataConsumerId": reply["id"]})
    async with asyncio.timeout(60):
        await done.wait()
    while said.bufferedAmount:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    return sender, receiver, {"messages": len(heard), "octets": sum(heard)}


async def lossy(room, joined):
    dice = random.Random(7)
    receiver, consumers, ready = await receive(room, joined)
    modes = [(label, {**reply["sctpStreamParameters"], "streamId": n}) for n, (label, (reply, _)) in enumerate(consumers.items())]
    sender, channels, opened = await send(room, modes)
    heard = {label: set() for label in consumers}
    for label, (_, channel) in consumers.items():
        channel.on("message", lambda message, label=label: heard[label].add(message))
    async with asyncio.timeout(20):
        await asyncio.gather(opened, ready)
        for reply, _ in consumers.values():
            await room.ask("resume-data-consumer", {"dataConsumerId": reply["id"]})

    send_chunk, handle_data = RTCSctpTransport._send_chunk, RTCSctpTransport._handle_data
    lost = {"in": 0, "out": 0}

    async def lose_out(self, chunk):
        if dice.random() < 0.1:
            lost["out"] += 1
        else:
            await send_chunk(self, chunk)

    async def lose_in(self, data):
        if dice.random() < 0.1:
            lost["in"] += 1
        else:
            await handle_data(self, data)

    RTCSctpTransport._send_chunk, RTCSctpTransport._handle_data = lose_out, lose_in
    print("listening", flush=True)
    for n in range(300):
        for channel in channels:
            channel.send(str(n))
        await asyncio.sleep(0.02)
    await asyncio.sleep(5)
    # What is said when nothing is lost any more is heard.
    RTCSctpTransport._send_chunk, RTCSctpTransport._handle_data = send_chunk, handle_data
    for _ in range(3):
        for channel in channels:
            channel.send("299")
        await asyncio.sleep(1)
    return sender, receiver, {"lost": lost, **{label: len(numbers) for label, numbers in heard.items()}}


async def main(url, room_id, token, name, what):
    room = Room()
    joined = await room.join(url, room_id, token, name)
    sender, receiver, told = await {"echo": echo, "lossy": lossy}[what](room, joined)
    print(json.dumps(told), flush=True)
    await room.leave()
    await asyncio.gather(sender.close(), receiver.close())


asyncio.run(main(*sys.argv[1:]))
