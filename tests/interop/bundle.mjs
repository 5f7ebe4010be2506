// Finds a function of OpenClaw by its name: the files of its bundle, and the names it exports, change with each release.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// Small files of the library; the others may start a program when they are loaded.
const wanted = /^(sessions|store|config|model-context-tokens)-.*\.js$/;

export async function find(pkg, name) {
  for (const dir of [join(pkg, "dist/plugin-sdk"), join(pkg, "dist")]) {
    for (const path of readdirSync(dir).filter((file) => wanted.test(file)).map((file) => join(dir, file))) {
      if (!new RegExp(`^(async )?function ${name}\\(`, "m").test(readFileSync(path, "utf8"))) continue;
      const found = Object.values(await import(pathToFileURL(path))).find((one) => one?.name === name);
      if (found) return found;
    }
  }
  throw new Error(`no ${name} in ${pkg}`);
}
