// A model that answers at once: an OpenAI-compatible server on loopback, `node model.mjs REQUESTS`.
//
// It prints its port and serves until it is killed. What it was asked, it appends to the file REQUESTS, one line of JSON
// for each: who spoke (`roles`) and what was said (`texts`), as the model saw it. The answer is `answer N` to the last
// message's text, N being the number of the request. What says `[hang]` in its last message is never answered.

import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const [requests] = process.argv.slice(2);
let number = 0;

function text(content) {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? "").join("");
}

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    if (!request.url.endsWith("/chat/completions")) {
      response.writeHead(404).end();
      return;
    }
    const asked = JSON.parse(body);
    const messages = asked.messages.filter((one) => !["system", "developer"].includes(one.role));
    const seen = { roles: messages.map((one) => one.role), texts: messages.map((one) => text(one.content)) };
    appendFileSync(requests, JSON.stringify(seen) + "\n");
    number += 1;
    if (seen.texts.at(-1)?.includes("[hang]")) return;
    const base = { id: `answer-${number}`, object: "chat.completion.chunk", created: 1, model: asked.model };
    const chunk = (delta, finish_reason = null) => ({ ...base, choices: [{ index: 0, delta, finish_reason }] });
    const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const one of [
      chunk({ role: "assistant", content: `answer ${number}` }),
      chunk({}, "stop"),
      { ...base, choices: [], usage },
    ]) {
      response.write(`data: ${JSON.stringify(one)}\n\n`);
    }
    response.end("data: [DONE]\n\n");
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
