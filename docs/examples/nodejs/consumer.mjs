// SPDX-License-Identifier: Apache-2.0
// A node in Node.js: for every `hello.said` it publishes one `hello.answered`, whatever is killed meanwhile.
//
// It follows docs/protocol.md, "A client that survives". Two rules make it safe: an event is acknowledged only when its
// answer is on disk, and the answer's id is made from the event's id, so that working on an event twice stores its
// answer once.   npm install && LINESHAFT_URL=tcp://127.0.0.1:7400 LINESHAFT_CONSUMER=greeter node consumer.mjs
import { Dealer } from "zeromq";
import { decode, encode } from "@msgpack/msgpack";

const url = process.env.LINESHAFT_URL ?? "tcp://127.0.0.1:7400";
const consumer = process.env.LINESHAFT_CONSUMER ?? "greeter";
const member = process.env.LINESHAFT_MEMBER ?? consumer;
const options = JSON.parse(process.env.LINESHAFT_OPTIONS ?? "{}").options ?? {};
const heartbeat = 1000;

class Lost extends Error {} // the connection is of no use any more: make a new one

let socket; // the present one
let stopping = false;

// A socket takes one message at a time: sends stand in line.
let line = Promise.resolve();
function send(verb, head, body = new Uint8Array()) {
  const to = socket;
  line = line.catch(() => {}).then(() => to.send([verb, encode(head), body]));
  return line;
}

async function receive() {
  const [verb, head, ...rest] = await socket.receive();
  return { verb: verb.toString(), head: decode(head), rest };
}

// Send, and wait for the OK.
async function ask(verb, head) {
  await send(verb, head);
  const answer = await receive();
  if (answer.verb !== "OK") throw new Lost(`${verb}: ${answer.head.name}: ${answer.head.text}`);
}

// What the node is for. An exception makes the event come again later, and a dead letter in the end.
function answerTo(head, body) {
  const isJson = body[0] === 0x7b || body[0] === 0x5b;
  const said = isJson ? JSON.parse(body.toString()) : decode(body);
  if (typeof said?.name !== "string") throw new TypeError("the greeting has no name");
  const answer = { topic: "hello.answered", id: `answer-${head.id}`, source: consumer, causationid: head.id };
  return [answer, encode({ text: `${options.greeting ?? "Hello"}, ${said.name}!` })];
}

// Work on one connection until it is lost. Receiving fails when nothing comes for three heartbeats.
async function serve() {
  await ask("HELLO", { v: 1, client: consumer, member, hb: heartbeat });
  await ask("SUB", { cid: 1, consumer, window: 200 });
  let sent = 0;
  const unanswered = new Map(); // n of a published answer -> seq of the event it belongs to
  for (;;) {
    const { verb, head, rest } = await receive();
    if (verb === "MSG") {
      let answer;
      try {
        answer = answerTo(decode(rest[0]), rest[1] ?? Buffer.alloc(0));
      } catch (error) {
        await send("NAK", { cid: 1, seqs: [head.seq], error: `${error.name}: ${error.message}` });
        continue;
      }
      sent += 1;
      unanswered.set(sent, head.seq);
      await send("PUB", { ...answer[0], n: sent }, answer[1]);
    } else if (verb === "OK") {
      const done = [...unanswered].filter(([n]) => n <= head.upto);
      done.forEach(([n]) => unanswered.delete(n));
      await send("ACK", { cid: 1, seqs: done.map(([, seq]) => seq) });
    } else if (verb === "ERR" && unanswered.has(head.n) && head.name !== "NO_SESSION") {
      const refused = [...unanswered].filter(([n]) => n >= head.n && n < head.n + (head.count ?? 1));
      refused.forEach(([n]) => unanswered.delete(n));
      await send("NAK", { cid: 1, seqs: refused.map(([, seq]) => seq), error: head.text });
    } else if (verb === "GOODBYE" && head.reason === "replaced") {
      console.error(`another ${consumer} named ${member} took over`);
      process.exit(1);
    } else if (["ERR", "GOODBYE"].includes(verb) || (verb === "PONG" && !head.session)) {
      throw new Lost(head.text ?? head.reason ?? "the broker was started anew");
    }
  }
}

process.on("SIGTERM", () => {
  stopping = true;
  socket?.close();
});

for (let pause = 100; !stopping; pause = Math.min(2 * pause, 10000)) {
  const began = Date.now();
  socket = new Dealer({ linger: 2000, receiveHighWaterMark: 20000, receiveTimeout: 3 * heartbeat });
  socket.connect(url);
  const ping = setInterval(() => send("PING", {}).catch(() => {}), heartbeat);
  try {
    await serve();
  } catch (error) {
    if (!stopping) console.error(`connecting anew: ${error.message}`);
  }
  clearInterval(ping);
  if (!socket.closed) socket.close();
  if (Date.now() - began > 10000) pause = 100;
  if (!stopping) await new Promise((resume) => setTimeout(resume, pause * (0.5 + Math.random() / 2)));
}
