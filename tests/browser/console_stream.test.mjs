/* SPDX-License-Identifier: Apache-2.0 */
/* The console's one connection, against a server that is played here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "./modules.mjs";

const { openStream } = await import("/assets/stream.js");

const state = (boot, next) =>
    `event: state\ndata: ${JSON.stringify({ broker: { boot }, streams: [{ name: "events", first: 1, next }] })}\n\n`;
const event = (seq, topic = "a.b") =>
    `id: events:${seq + 1}\nevent: event\ndata: ${JSON.stringify({ stream: "events", seq, topic })}\n\n`;
const turn = () => new Promise((resolve) => { setImmediate(resolve); });

/* A server that notes each connection: {query, place, say(text), end(), ended}. */
function server()
{
    const connections = [];
    const call = async (path, { headers, signal }) => {
        let out;
        const body = new ReadableStream({ start(controller) { out = controller; } });
        const one = { query: path.split("?")[1] ?? "", place: headers["last-event-id"] ?? null, ended: false,
                      say: async (text) => { out.enqueue(new TextEncoder().encode(text)); await turn(); await turn(); },
                      end: () => { one.ended = true; out.close(); } };
        signal.addEventListener("abort", () => {
            one.ended = true;
            try {
                out.error(signal.reason);
            } catch {
                /* it had ended before */
            }
        });
        connections.push(one);
        return { body };
    };
    return { call, connections, open: () => connections.filter((one) => !one.ended) };
}

/* Waits for the nth connection; a page tries again after some tenths of a second. */
async function nth({ connections }, n)
{
    for (const end = Date.now() + 10000; connections.length < n;) {
        assert.ok(Date.now() < end, `${connections.length} of ${n} connections came`);
        await new Promise((resolve) => { setTimeout(resolve, 10); });
    }
    return connections[n - 1];
}

function watching(from = "last:2")
{
    const played = server();
    const seen = [];
    const links = [];
    const stream = openStream({ call: played.call, onState() {}, onLink: (link) => links.push(link) });
    stream.watch(["a.>"], from, ({ seq }) => seen.push(seq));
    return { ...played, stream, seen, links };
}

test("whatever is watched, there is one connection", async () => {
    const { stream, connections, open } = watching();
    await (await nth({ connections }, 1)).say(state("one", 5));
    for (let i = 0; i < 5; i++) {
        stream.watch([`b${i}.>`], "new", () => {})();
        stream.watch([`c${i}.>`], "new", () => {});
        await turn();
        await turn();
        assert.equal(open().length, 1);
    }
    stream.reconnect();
    await turn();
    assert.equal(open().length, 1);
    stream.close();
    assert.equal(open().length, 0);
});

test("a watcher begins where it asked, and goes on where it was", async () => {
    const { connections, seen, stream, links } = watching();
    await (await nth({ connections }, 1)).say(state("one", 5));
    const one = await nth({ connections }, 2);
    assert.deepEqual([one.query, one.place], ["topic=a.%3E", "events:3"]);
    await one.say(event(3) + event(4, "other.topic") + event(5));
    one.end();
    const two = await nth({ connections }, 3);
    assert.equal(two.place, "events:6");
    assert.deepEqual([seen, links.at(-1)], [[3, 5], "lost"]);
    stream.close();
});

test("a broker that was restored from an older copy counts from there, and its events are shown", async () => {
    const { connections, open, seen, stream } = watching("new");
    await (await nth({ connections }, 1)).say(state("one", 1000));
    const two = await nth({ connections }, 2);
    await two.say(event(1000) + state("two", 400) + event(400) + event(401));
    assert.deepEqual(seen, [1000, 400, 401]);
    two.end();
    assert.equal((await nth({ connections }, 3)).place, "events:402");
    assert.equal(open().length, 1);
    stream.close();
});
