// Writes a store with OpenClaw's own code, under its lock: `node writer.mjs PACKAGE STORE KEY MILLISECONDS`.
//
// It says `asking` before it asks for the lock, `held` when it has it, keeps it for so long, adds a binding with this key,
// and says `wrote`; or `refused` and why.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [pkg, store, key, milliseconds] = process.argv.slice(2);

// The bundle's files have names that change with each release; the function keeps its own.
async function find(name) {
  for (const dir of [join(pkg, "dist/plugin-sdk"), join(pkg, "dist")]) {
    const files = readdirSync(dir).filter((file) => /^(sessions|store|config)-.*\.js$/.test(file));
    for (const path of files.map((file) => join(dir, file))) {
      if (!readFileSync(path, "utf8").includes(`async function ${name}(`)) continue;
      const found = Object.values(await import(pathToFileURL(path))).find((one) => one?.name === name);
      if (found) return found;
    }
  }
  throw new Error(`no ${name} in ${pkg}`);
}

const update = await find("updateSessionStore");
console.log("asking");
try {
  await update(store, async (bindings) => {
    console.log("held");
    await new Promise((resolve) => setTimeout(resolve, Number(milliseconds)));
    bindings[key] = { sessionId: "0b7d9c1e-5a34-4f6b-8d52-2f0e6a91c3d7", updatedAt: Date.now() };
  });
  console.log("wrote");
} catch (error) {
  console.log(`refused ${error.message}`);
}
process.exit(0);
