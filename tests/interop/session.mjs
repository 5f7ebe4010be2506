// A session made by a release's own code, without a run: `node session.mjs PACKAGE STORE KEY ID`.
//
// Its store writer binds the key, its SessionManager writes two turns, and its compaction code takes a checkpoint of them.

import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { find } from "./bundle.mjs";

const [pkg, store, key, id] = process.argv.slice(2);
const transcript = join(dirname(store), `${id}.jsonl`);
const module = join(pkg, "../@mariozechner/pi-coding-agent/dist/core/session-manager.js");
const { SessionManager } = await import(pathToFileURL(module));

const startedAt = Date.now();
const update = await find(pkg, "updateSessionStore");
await update(store, (bindings) => {
  bindings[key] = { sessionId: id, sessionFile: transcript, updatedAt: startedAt, status: "running", startedAt };
});
const manager = SessionManager.open(transcript);
const usage = { input: 1, output: 1, cacheRead: 0, cacheWrite: 0, totalTokens: 2, cost: {} };
for (const turn of [0, 1]) {
  const timestamp = Date.now();
  manager.appendMessage({ role: "user", content: [{ type: "text", text: `message ${turn}` }], timestamp });
  const content = [{ type: "text", text: `answer ${turn}` }];
  const from = { api: "openai-completions", provider: "mock", model: "mock-1" };
  manager.appendMessage({ role: "assistant", content, ...from, usage, stopReason: "stop", timestamp });
}
const capture = await find(pkg, "captureCompactionCheckpointSnapshot");
const snapshot = capture({ sessionManager: manager, sessionFile: transcript });
const persist = await find(pkg, "persistSessionCompactionCheckpoint");
await persist({ cfg: {}, sessionKey: key, sessionId: id, reason: "manual", snapshot, postSessionFile: transcript });
await update(store, (bindings) => {
  const endedAt = Date.now();
  Object.assign(bindings[key], { status: "done", endedAt, runtimeMs: endedAt - startedAt });
});
console.log("done");
process.exit(0);
