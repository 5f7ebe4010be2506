// Writes a store with OpenClaw's own code, under its lock: `node writer.mjs PACKAGE STORE KEY MILLISECONDS`.
//
// It says `asking` before it asks for the lock, `held` when it has it, keeps it for so long, adds a binding with this key,
// and says `wrote`; or `refused` and why.

import { find } from "./bundle.mjs";

const [pkg, store, key, milliseconds] = process.argv.slice(2);

const update = await find(pkg, "updateSessionStore");
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
