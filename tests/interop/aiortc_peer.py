"""aiortc as a guest: sends a picture and a tone, receives every producer of the room, tells what arrived as one line of JSON.

usage: aiortc_peer.py URL ROOM TOKEN NAME SECONDS VIDEO-MIME
"""

import asyncio
import fractions
import json
import sys
import time

import numpy
import sdp
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from av import AudioFrame, VideoFrame
from room import Room

RATE = 48000


class Tone(MediaStreamTrack):
    kind = "audio"

    def __init__(self, hertz):
        super().__init__()
        self.hertz, self.at, self.begin = hertz, 0, time.monotonic()

    async def recv(self):
        await asyncio.sleep(max(0, self.begin + self.at / RATE - time.monotonic()))
        t = (numpy.arange(960) + self.at) / RATE
        wave = (numpy.sin(2 * numpy.pi * self.hertz * t) * 8000).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.at, fractions.Fraction(1, RATE)
        self.at += 960
        return frame


class Picture(VideoStreamTrack):
    async def recv(self):
        pts, base = await self.next_timestamp()
        picture = numpy.zeros((360, 640, 3), numpy.uint8)
        picture[:] = (40, 200, 40)
        picture[:, (pts // 3000 * 8) % 620 : (pts // 3000 * 8) % 620 + 20] = 255
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


async def send(room, video):
    transport = await room.transport("send")
    pc = RTCPeerConnection()
    pc.addTransceiver(Tone(660), direction="sendonly")
    camera = pc.addTransceiver(Picture(), direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    rtx = [c for c in codecs if c.mimeType == "video/rtx"]
    named = [c for c in codecs if c.mimeType.lower() == video.lower()]
    # Of H.264 the constrained baseline profile, which every browser has.
    wanted = [c for c in named if c.parameters.get("profile-level-id", "42e01f") == "42e01f"]
    camera.setCodecPreferences(wanted[:1] + rtx)
    await pc.setLocalDescription(await pc.createOffer())
    offer = pc.localDescription.sdp
    await room.connect(transport, sdp.dtls_parameters(offer, "client"))
    for lines in sdp.sections(offer)[1]:
        await room.produce(transport, *sdp.rtp_parameters(lines))
    await pc.setRemoteDescription(RTCSessionDescription(sdp.answer_to(offer, transport), "answer"))
    return pc


async def receive(room, joined, seen):
    transport = await room.transport("recv")
    router = await room.ask("get-router-rtp-capabilities")
    mine = sdp.capabilities(router, {"audio/opus", "video/vp8", "video/h264"})
    consumers = [await room.consume(transport, p["producerId"], mine) for p in joined["producers"]]
    pc = RTCPeerConnection()
    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(watch(track, seen))))
    await pc.setRemoteDescription(RTCSessionDescription(sdp.offer_of(consumers, transport), "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    await room.connect(transport, sdp.dtls_parameters(pc.localDescription.sdp, "client"))
    for consumer in consumers:
        await room.ask("resume-consumer", {"consumerId": consumer["id"]})
    return pc


async def watch(track, seen):
    while True:
        frame = await track.recv()
        if track.kind == "video":
            seen["frames"] += 1
            seen["size"] = [frame.width, frame.height]
        else:
            samples = frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)].astype(float)
            seen["sound"] += 1
            if numpy.abs(samples).max() > 300:
                spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples)), RATE))
                seen["hertz"] = int(spectrum.argmax())


async def main(url, room_id, token, name, seconds, video):
    room, seen = Room(), {"frames": 0, "sound": 0, "size": None, "hertz": None}
    joined = await room.join(url, room_id, token, name)
    sender = await send(room, video)
    receiver = await receive(room, joined, seen)
    await asyncio.sleep(float(seconds))
    seen["states"] = [sender.connectionState, receiver.connectionState]
    print(json.dumps(seen), flush=True)
    await room.leave()
    await asyncio.gather(sender.close(), receiver.close())


asyncio.run(main(*sys.argv[1:]))
