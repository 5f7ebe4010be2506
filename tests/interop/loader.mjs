// What the real loader does with each transcript of a directory: `node loader.mjs session-manager.js DIR`.
//
// Every file is used as a run uses it: opened, its context built, a turn appended, opened again, its context built again.
// One line for each: `NAME loads|empty|wiped|blocks|freezes STAGE LOST HELD`, where LOST is how many messages of the
// context and of the turn are not in the second context, and HELD how many there were in the first. Then a few with a
// clock in place of the marker.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const [module, dir] = isMainThread ? process.argv.slice(2) : workerData;
const { SessionManager } = await import(pathToFileURL(module));

class Endless extends Error {}

// A path longer than there are entries holds one of them twice, and then forever.
let longest = Infinity;
function markEndlessPaths() {
  const unshift = Array.prototype.unshift;
  Array.prototype.unshift = function (...items) {
    if (this.length > longest) throw new Endless();
    return unshift.apply(this, items);
  };
}

const user = { role: "user", content: [{ type: "text", text: "next" }], timestamp: 1 };
const usage = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, totalTokens: 0, cost: {} };
const assistant = {
  role: "assistant",
  content: [{ type: "text", text: "done" }],
  api: "test",
  provider: "test",
  model: "test",
  usage,
  stopReason: "stop",
  timestamp: 2,
};

function open(path) {
  const before = readFileSync(path, "utf8");
  const manager = SessionManager.open(path);
  longest = manager.fileEntries.length;
  // Nothing but a header, with an id that was not there: the file was replaced.
  const fresh = manager.fileEntries.length === 1 && !before.includes(manager.getSessionId());
  if (!fresh) return { manager, found: "loads" };
  return { manager, found: before.trim() === "" ? "empty" : "wiped" };
}

function use(path) {
  let stage = "open";
  try {
    const first = open(path);
    stage = "context";
    const before = first.manager.buildSessionContext().messages.length;
    stage = "append";
    first.manager.appendMessage(user);
    first.manager.appendMessage(assistant);
    if (first.found !== "loads") return [first.found, "open", 0, before];
    stage = "reopen";
    const second = open(path);
    stage = "recontext";
    const after = second.manager.buildSessionContext().messages.length;
    return [second.found, second.found === "loads" ? "-" : "reopen", before + 2 - after, before];
  } catch (error) {
    return [error instanceof Endless ? "freezes" : "blocks", stage, 0, 0];
  }
}

/** Whether the loader ends by itself, without the marker. */
function ends(path, milliseconds) {
  return new Promise((resolve) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: [module, path] });
    const clock = setTimeout(() => {
      worker.terminate();
      resolve(false);
    }, milliseconds);
    worker.once("message", () => {
      clearTimeout(clock);
      resolve(true);
    });
  });
}

if (isMainThread) {
  const names = readdirSync(dir).filter((name) => name.endsWith(".jsonl")).sort();
  const untouched = new Map(names.map((name) => [name, readFileSync(join(dir, name))]));
  markEndlessPaths();
  const seen = new Map();
  for (const name of names) {
    const [found, stage, lost, held] = use(join(dir, name));
    console.log(`${name} ${found} ${stage} ${lost} ${held}`);
    seen.set(found, [...(seen.get(found) ?? []), name]);
  }
  const clocked = join(dir, "clocked");
  mkdirSync(clocked);
  for (const found of ["freezes", "loads"]) {
    for (const name of (seen.get(found) ?? []).slice(0, 4)) {
      const path = join(clocked, name);
      writeFileSync(path, untouched.get(name));
      const ended = await ends(path, found === "freezes" ? 1000 : 30_000);
      console.log(`clock ${name} ${found} ${ended ? "ends" : "runs on"}`);
    }
  }
} else {
  use(dir);
  parentPort.postMessage("ended");
}
