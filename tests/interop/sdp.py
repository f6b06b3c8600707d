"""ORTC to SDP and back: what a client that speaks only SDP needs to use transports, producers and consumers."""

import re


def sections(sdp):
    """The session part and one list of lines for each m-section."""
    parts = re.split(r"(?m)^(?=m=)", sdp.replace("\r\n", "\n"))
    return parts[0].splitlines(), [part.splitlines() for part in parts[1:]]


def value(lines, name):
    for line in lines:
        if line.startswith(name + ":"):
            return line[len(name) + 1 :]
    return None


def dtls_parameters(sdp, role):
    """`role` is this client's part in the handshake: `client` or `server`."""
    session, media = sections(sdp)
    found = value(session + media[0], "a=fingerprint")
    algorithm, digest = found.split(" ", 1)
    return {"role": role, "fingerprints": [{"algorithm": algorithm.lower(), "value": digest}]}


def rtp_parameters(lines):
    """What a sendonly m-section says of its stream, as `produce` wants it: the first codec, and its RTX."""
    payload_types = [int(p) for p in lines[0].split()[3:]]
    maps = {int(p): rest for p, rest in re.findall(r"(?m)^a=rtpmap:(\d+) (\S+)", "\n".join(lines))}
    formats = {int(p): rest for p, rest in re.findall(r"(?m)^a=fmtp:(\d+) (.+)$", "\n".join(lines))}
    kind = lines[0].split()[0][2:]
    first = payload_types[0]
    codecs = [codec(kind, first, maps[first], formats.get(first), lines)]
    rtx = next((p for p in payload_types if maps.get(p, "").startswith("rtx/") and formats.get(p) == f"apt={first}"), None)
    ssrcs = re.findall(r"(?m)^a=ssrc:(\d+) ", "\n".join(lines))
    encoding = {"ssrc": int(ssrcs[0])}
    group = re.search(r"(?m)^a=ssrc-group:FID (\d+) (\d+)", "\n".join(lines))
    if rtx is not None and group:
        encoding = {"ssrc": int(group[1]), "rtx": {"ssrc": int(group[2])}}
        codecs.append(codec(kind, rtx, maps[rtx], f"apt={first}", []))
    extensions = [
        {"uri": uri, "id": int(number), "encrypt": False, "parameters": {}}
        for number, uri in re.findall(r"(?m)^a=extmap:(\d+)(?:/\w+)? (\S+)", "\n".join(lines))
    ]
    cname = re.search(r"(?m)^a=ssrc:\d+ cname:(\S+)", "\n".join(lines))
    return kind, {
        "mid": value(lines, "a=mid"),
        "codecs": codecs,
        "headerExtensions": extensions,
        "encodings": [encoding],
        "rtcp": {"cname": cname[1] if cname else "interop", "reducedSize": True},
    }


def codec(kind, payload_type, rtpmap, fmtp, lines):
    name, rate, *channels = rtpmap.split("/")
    described = {"mimeType": f"{kind}/{name}", "payloadType": payload_type, "clockRate": int(rate), "parameters": {}}
    if channels:
        described["channels"] = int(channels[0])
    for pair in (fmtp or "").split(";"):
        if "=" in pair:
            key, val = pair.strip().split("=", 1)
            described["parameters"][key] = int(val) if val.isdigit() and key != "profile-level-id" else val
    described["rtcpFeedback"] = [
        {"type": words.split()[0], "parameter": " ".join(words.split()[1:])}
        for words in re.findall(rf"(?m)^a=rtcp-fb:(?:{payload_type}|\*) (.+)$", "\n".join(lines))
    ]
    return described


def transport_lines(transport, setup):
    ice, dtls = transport["iceParameters"], transport["dtlsParameters"]
    lines = [f"a=ice-ufrag:{ice['usernameFragment']}", f"a=ice-pwd:{ice['password']}", f"a=setup:{setup}"]
    sha = next(f for f in dtls["fingerprints"] if f["algorithm"] == "sha-256")
    lines.append(f"a=fingerprint:sha-256 {sha['value']}")
    for c in transport["iceCandidates"]:
        if c["protocol"] == "udp":
            lines.append(f"a=candidate:{c['foundation']} 1 udp {c['priority']} {c['ip']} {c['port']} typ {c['type']}")
    return lines + ["a=end-of-candidates"]


def head(mids):
    bundle = " ".join(mids)
    return ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {bundle}", "a=ice-lite", "a=msid-semantic: WMS *"]


def answer_to(offer, transport):
    """Our answer to a client that only sends: its own first codecs, and our transport."""
    _, media = sections(offer)
    mids = [value(lines, "a=mid") for lines in media]
    out = head(mids)
    for lines in media:
        kind, parameters = rtp_parameters(lines)
        numbers = [str(c["payloadType"]) for c in parameters["codecs"]]
        out += [f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(numbers)}", "c=IN IP4 0.0.0.0"]
        out += transport_lines(transport, "passive")
        out += [f"a=mid:{parameters['mid']}", "a=recvonly", "a=rtcp-mux", "a=rtcp-rsize"]
        keep = tuple(f"a={what}:{n} " for what in ("rtpmap", "fmtp", "rtcp-fb") for n in numbers) + ("a=extmap:",)
        out += [line for line in lines if line.startswith(keep)]
    return "\r\n".join(out) + "\r\n"


def data_answer_to(offer, transport):
    """Our answer to a client whose one m-section is of data channels."""
    mid = value(sections(offer)[1][0], "a=mid")
    sctp = transport["sctpParameters"]
    out = head([mid]) + ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0"]
    out += transport_lines(transport, "passive")
    out += [f"a=mid:{mid}", f"a=sctp-port:{sctp['port']}", f"a=max-message-size:{sctp['maxMessageSize']}"]
    return "\r\n".join(out) + "\r\n"


def offer_of(consumers, transport):
    """Our offer to a client that only receives: one m-section for each consumer."""
    out = head([c["rtpParameters"]["mid"] for c in consumers])
    for consumer in consumers:
        parameters = consumer["rtpParameters"]
        numbers = [str(c["payloadType"]) for c in parameters["codecs"]]
        out += [f"m={consumer['kind']} 9 UDP/TLS/RTP/SAVPF {' '.join(numbers)}", "c=IN IP4 0.0.0.0"]
        out += transport_lines(transport, "actpass")
        out += [f"a=mid:{parameters['mid']}", "a=sendonly", "a=rtcp-mux", "a=rtcp-rsize", f"a=msid:greenroom {consumer['id']}"]
        for c in parameters["codecs"]:
            channels = f"/{c['channels']}" if c.get("channels", 1) > 1 else ""
            out.append(f"a=rtpmap:{c['payloadType']} {c['mimeType'].split('/')[1]}/{c['clockRate']}{channels}")
            if c.get("parameters"):
                out.append(f"a=fmtp:{c['payloadType']} " + ";".join(f"{k}={v}" for k, v in c["parameters"].items()))
            for fb in c.get("rtcpFeedback", []):
                out.append(f"a=rtcp-fb:{c['payloadType']} {fb['type']} {fb.get('parameter', '')}".rstrip())
        out += [f"a=extmap:{e['id']} {e['uri']}" for e in parameters["headerExtensions"]]
        encoding, cname = parameters["encodings"][0], parameters["rtcp"]["cname"]
        ssrcs = [encoding["ssrc"]] + ([encoding["rtx"]["ssrc"]] if encoding.get("rtx") else [])
        if len(ssrcs) == 2:
            out.append(f"a=ssrc-group:FID {ssrcs[0]} {ssrcs[1]}")
        out += [f"a=ssrc:{ssrc} cname:{cname}" for ssrc in ssrcs]
    return "\r\n".join(out) + "\r\n"


def capabilities(router, supported):
    """The router's capabilities as far as the client has them: `supported` are lower-case MIME types."""
    codecs = [c for c in router["codecs"] if c["mimeType"].lower() in supported]
    numbers = {c["preferredPayloadType"] for c in codecs}
    codecs += [c for c in router["codecs"] if c["mimeType"].lower().endswith("/rtx") and c["parameters"].get("apt") in numbers]
    known = ("mid", "abs-send-time", "ssrc-audio-level", "transport-wide-cc")
    extensions = [e for e in router["headerExtensions"] if any(name in e["uri"] for name in known)]
    return {"codecs": codecs, "headerExtensions": extensions}
