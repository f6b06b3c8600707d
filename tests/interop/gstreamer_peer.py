"""GStreamer's webrtcbin as a guest: sends a picture and a tone, receives every producer of the room, tells what arrived.

usage: gstreamer_peer.py URL ROOM TOKEN NAME SECONDS VIDEO-MIME (video/VP8 or video/H264)
"""

import asyncio
import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

import sdp  # noqa: E402
from room import Room  # noqa: E402

ENCODERS = {
    "video/vp8": "vp8enc deadline=1 keyframe-max-dist=60 target-bitrate=600000 ! rtpvp8pay pt=96 picture-id-mode=15-bit"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
    "video/h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 bitrate=600 ! video/x-h264,profile=constrained-baseline"
    " ! h264parse config-interval=-1 ! rtph264pay pt=96 aggregate-mode=zero-latency"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96,packetization-mode=(string)1",
}


def reply(element, signal, *arguments):
    """Emits an action of webrtcbin that answers through a promise, and waits for the answer."""
    promise = Gst.Promise.new()
    element.emit(signal, *arguments, promise)
    promise.wait()
    return promise.get_reply()


def described(kind, text):
    _, message = GstSdp.SDPMessage.new_from_text(text)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def locally(element, kind):
    """Creates an offer or an answer and sets it; its text with candidates' lines left out (the other side is lite)."""
    name = "offer" if kind == GstWebRTC.WebRTCSDPType.OFFER else "answer"
    answer = reply(element, f"create-{name}", None)
    description = answer.get_value(name) if hasattr(answer, "get_value") else answer[name]
    text = description.sdp.as_text()
    reply(element, "set-local-description", description)
    return text


async def send(room, video):
    transport = await room.transport("send")
    pipeline = Gst.parse_launch(
        "webrtcbin name=w bundle-policy=max-bundle"
        " audiotestsrc is-live=true freq=550 volume=0.4 ! audioconvert ! opusenc ! rtpopuspay pt=111"
        " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! w."
        " videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert ! video/x-raw,format=I420"
        f" ! {ENCODERS[video.lower()]} ! w."
    )
    element = pipeline.get_by_name("w")
    for index in range(2):
        element.emit("get-transceiver", index).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
    pipeline.set_state(Gst.State.PLAYING)
    await asyncio.sleep(1)  # Its pads must have caps before it can offer them; it tells nobody when they have.
    offer = await asyncio.to_thread(locally, element, GstWebRTC.WebRTCSDPType.OFFER)
    await room.connect(transport, sdp.dtls_parameters(offer, "client"))
    for lines in sdp.sections(offer)[1]:
        await room.produce(transport, *sdp.rtp_parameters(lines))
    answer = described(GstWebRTC.WebRTCSDPType.ANSWER, sdp.answer_to(offer, transport))
    await asyncio.to_thread(reply, element, "set-remote-description", answer)
    return pipeline


async def receive(room, joined, seen):
    transport = await room.transport("recv")
    router = await room.ask("get-router-rtp-capabilities")
    mine = sdp.capabilities(router, {"audio/opus", "video/vp8", "video/h264"})
    consumers = [await room.consume(transport, p["producerId"], mine) for p in joined["producers"]]
    pipeline = Gst.Pipeline.new()
    element = Gst.ElementFactory.make("webrtcbin", "w")
    element.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    pipeline.add(element)
    element.connect("pad-added", lambda _, pad: play(pipeline, pad, seen))
    pipeline.set_state(Gst.State.PLAYING)
    offer = described(GstWebRTC.WebRTCSDPType.OFFER, sdp.offer_of(consumers, transport))
    await asyncio.to_thread(reply, element, "set-remote-description", offer)
    answer = await asyncio.to_thread(locally, element, GstWebRTC.WebRTCSDPType.ANSWER)
    await room.connect(transport, sdp.dtls_parameters(answer, "client"))
    for consumer in consumers:
        await room.ask("resume-consumer", {"consumerId": consumer["id"]})
    return pipeline


def play(pipeline, pad, seen):
    if pad.get_direction() != Gst.PadDirection.SRC:
        return
    decoder = Gst.ElementFactory.make("decodebin")
    pipeline.add(decoder)
    decoder.connect("pad-added", lambda _, decoded: count(pipeline, decoded, seen))
    decoder.sync_state_with_parent()
    pad.link(decoder.get_static_pad("sink"))


def count(pipeline, pad, seen):
    caps = pad.get_current_caps().get_structure(0)
    sink = Gst.ElementFactory.make("fakesink")
    sink.set_property("signal-handoffs", True)
    sink.set_property("sync", False)
    kind = "frames" if caps.get_name().startswith("video") else "sound"
    if kind == "frames":
        seen["size"] = [caps.get_value("width"), caps.get_value("height")]

    def handed(*_):
        seen[kind] += 1

    sink.connect("handoff", handed)
    pipeline.add(sink)
    sink.sync_state_with_parent()
    pad.link(sink.get_static_pad("sink"))


async def main(url, room_id, token, name, seconds, video):
    Gst.init(None)
    room, seen = Room(), {"frames": 0, "sound": 0, "size": None}
    joined = await room.join(url, room_id, token, name)
    sender = await send(room, video)
    receiver = await receive(room, joined, seen)
    await asyncio.sleep(float(seconds))
    print(json.dumps(seen), flush=True)
    await room.leave()
    for pipeline in (sender, receiver):
        pipeline.set_state(Gst.State.NULL)


asyncio.run(main(*sys.argv[1:]))
