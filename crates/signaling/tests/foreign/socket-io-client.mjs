// The published socket.io-client against a running server: node socket-io-client.mjs URL [folder with node_modules]
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [url, folder] = process.argv.slice(2);
const require = createRequire(folder ? path.join(path.resolve(folder), "x.js") : new URL("../../../../ui/x.js", import.meta.url));
const client = require("socket.io-client");
const io = client.io ?? client; // 2.x exports the function itself
const connect = (options) => io(url, { forceNew: true, ...options });
const once = (socket, event) => new Promise((resolve) => socket.once(event, resolve));
const ask = (socket, event, ...payload) => new Promise((resolve) => socket.emit(event, ...payload, resolve));

for (const transports of [["polling", "websocket"], ["websocket"], ["polling"]]) {
  const ada = connect({ transports, auth: { token: "from-auth" }, query: { token: "from-query" } });
  const mira = connect({ transports });
  await Promise.all([once(ada, "connect"), once(mira, "connect")]);
  const roomJoined = once(ada, "room-joined");
  const joined = await ask(ada, "join-room", { roomId: "show", displayName: "Ada" });
  assert.equal(joined.roomId, "show");
  assert.deepEqual(await roomJoined, joined);
  const peerJoined = once(ada, "peer-joined");
  await ask(mira, "join-room", { roomId: "show", displayName: "Mira" });
  assert.equal((await peerJoined).displayName, "Mira");
  const chat = once(ada, "chat");
  assert.deepEqual(await ask(mira, "chat", { text: "hello" }), {});
  assert.equal((await chat).text, "hello");
  assert.deepEqual(await ask(ada, "get-router-rtp-capabilities", null), { codecs: [], headerExtensions: [] });
  assert.deepEqual(await ask(ada, "get-router-rtp-capabilities"), { codecs: [], headerExtensions: [] });
  assert.equal((await ask(ada, "nonsense", {})).code, "unknown-event");
  assert.equal((await ask(ada, "chat", { text: "x".repeat(70_000) })).code, "too-large");
  assert.equal((await ask(ada, "chat", { text: Buffer.from([1]) })).code, "invalid-request");
  const error = once(ada, "error");
  ada.emit("raise-hand", { raised: "yes" });
  assert.equal((await error).code, "invalid-request");
  const left = once(ada, "peer-left");
  assert.deepEqual(await ask(mira, "leave-room"), {});
  assert.equal((await left).reason, "left");

  const flooded = once(mira, "disconnect");
  for (let i = 0; i < 1_000; i++) mira.emit("get-stats", {});
  assert.match(await flooded, /io server disconnect|transport close|transport error/);
  ada.close();
  mira.close();
}
console.log("ok");
process.exit(0);
