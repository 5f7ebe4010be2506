// Talks to a gateway through its own protocol: `node talker.mjs PORT TOKEN KEYS TURNS [METHOD PARAMS]…`.
//
// TURNS turns, one after another for each of KEYS sessions `agent:main:telegram:direct:90…`, all sessions at once, and then
// the calls. It says `connected`, then `turn N` for each turn that was answered, `METHOD ok` for each call, and at last
// the number of those that failed: `failed N`.

const [port, token, keys, turns, ...calls] = process.argv.slice(2);
const socket = new WebSocket(`ws://127.0.0.1:${port}`);
const pending = new Map();
let number = 0;

function ask(method, params) {
  const id = String((number += 1));
  return new Promise((resolve, reject) => {
    pending.set(id, { resolve, reject });
    socket.send(JSON.stringify({ type: "req", id, method, params }));
  });
}

function connect() {
  return ask("connect", {
    minProtocol: 3,
    maxProtocol: 4,
    client: { id: "gateway-client", version: "interop", platform: "linux", mode: "backend" },
    auth: { token },
    role: "operator",
    scopes: ["operator.admin"],
    caps: [],
  });
}

// The first turn of all makes the workspace. OpenClaw cannot make it twice at once: its temporary file has one name.
let begin;
const begun = new Promise((resolve) => (begin = resolve));

let done = 0;
let failed = 0;

async function talk(key) {
  if (key > 0) await begun;
  for (let turn = 0; turn < turns / keys; turn += 1) {
    try {
      await ask("agent", {
        sessionKey: `agent:main:telegram:direct:9${String(key).padStart(5, "0")}`,
        message: `message ${turn} of ${key}`,
        idempotencyKey: `${key}-${turn}`,
      });
      console.log(`turn ${(done += 1)}`);
      begin();
    } catch (error) {
      failed += 1;
      begin();
      console.error(`${key}, turn ${turn} was not answered: ${error.message}`);
    }
  }
}

socket.addEventListener("error", () => process.exit(1));
socket.addEventListener("close", () => process.exit(1));
socket.addEventListener("message", async ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.event === "connect.challenge") {
    await connect();
    console.log("connected");
    await Promise.all(Array.from({ length: Number(keys) }, (_, key) => talk(key)));
    while (calls.length > 0) {
      const [method, params] = calls.splice(0, 2);
      try {
        await ask(method, JSON.parse(params));
        console.log(`${method} ok`);
      } catch (error) {
        failed += 1;
        console.log(`${method}: ${error.message}`);
      }
    }
    console.log(`failed ${failed}`);
    process.exit(0);
  }
  // The first answer to a turn says that it was taken on; the second, how it ended.
  const waiting = frame.type === "res" && frame.payload?.status !== "accepted" && pending.get(frame.id);
  if (!waiting) return;
  pending.delete(frame.id);
  if (frame.ok && frame.payload?.status !== "error") waiting.resolve(frame.payload);
  else waiting.reject(new Error(frame.error?.message ?? frame.payload?.summary ?? "unknown"));
});
