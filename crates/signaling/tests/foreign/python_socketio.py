"""python-socketio against a running server: python3 python_socketio.py URL"""
import queue
import sys

import socketio

url = sys.argv[1]
for transports in (["polling"], None):
    heard = queue.Queue()
    client = socketio.Client(reconnection=False)
    client.on("*", lambda event, data: heard.put((event, data)))
    client.connect(url, auth={"token": "from-auth"}, transports=transports)
    joined = client.call("join-room", {"roomId": "show", "displayName": "Ada"})
    assert joined["roomId"] == "show", joined
    assert heard.get(timeout=5) == ("room-joined", joined)
    assert client.call("get-router-rtp-capabilities") == {"codecs": [], "headerExtensions": []}
    assert client.call("chat", {"text": 5})["code"] == "invalid-request"
    client.emit("nonsense", {})
    event, data = heard.get(timeout=5)
    assert (event, data["code"]) == ("error", "unknown-event"), (event, data)
    assert client.call("leave-room") == {}
    client.disconnect()
print("ok")
