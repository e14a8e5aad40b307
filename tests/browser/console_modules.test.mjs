/* SPDX-License-Identifier: Apache-2.0 */
/* The console's modules that need no browser: patterns, rates, what stands at the shaft, where it stands, events in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "./modules.mjs";
import { fromMlflow } from "../../nodes/ingress/pages/console/address.js";
import { sseParser } from "../../nodes/ingress/pages/common/sse.js";
import { lineOf, placesOf, traceOf } from "../../nodes/ingress/pages/console/event.js";
import { floorOf, isUp, related, topicsOf } from "../../nodes/ingress/pages/console/floor.js";
import { layout } from "../../nodes/ingress/pages/console/layout.js";
import { newMeter, perSecond, TOPICS_TOLD } from "../../nodes/ingress/pages/console/rates.js";
import { matches, meet, valid } from "../../nodes/ingress/pages/console/topics.js";

const node = (name, more = {}) => ({ name, kind: "exec", replicas: 1, takes: [], gives: [], serves: [], asks: [], ...more });
const session = (client, more = {}) =>
    ({ client, member: client, since_us: 1, published: 0, delivered: 0, requests: 0, served: 0, ...more });
const running = (name, more = {}) =>
    ({ name, node: name, kind: "exec", pid: 7, state: "running", restarts: 0, cpu_ms: 0, pss: 100, ...more });

function snapshot(seconds, more = {})
{
    return { now_us: seconds * 1e6, broker: { name: "b", boot: "one", counters: {} }, streams: [], consumers: [], services: [],
             sessions: [], topics: [], supervisors: [], ...more };
}

function meterOf(...snapshots)
{
    const meter = newMeter();
    snapshots.forEach((one) => meter.add(one));
    return meter;
}

test("patterns match as the broker's do", () => {
    const yes = [["run.>", "run.metric"], ["run.>", "run.metric.best"], ["*", "run"], ["run.*", "run.metric"], [">", "a"],
                 ["$sys.>", "$sys.stats"]];
    const no = [["run.>", "run"], ["run.*", "run.metric.best"], [">", "$sys.stats"], ["*.stats", "$sys.stats"],
                ["run", "run.metric"]];
    yes.forEach(([pattern, topic]) => assert.ok(matches(pattern, topic), `${pattern} ${topic}`));
    no.forEach(([pattern, topic]) => assert.ok(!matches(pattern, topic), `${pattern} ${topic}`));
    const pairs = [["run.>", "*.metric"], ["a.*", "a.b"], [">", "x"], ["a.*", "a"], [">", "$sys.x"], ["a.b", "a.c"]];
    assert.deepEqual(pairs.map(([one, other]) => meet(one, other)), [true, true, true, false, false, false]);
    const texts = ["run.>", "$dlq.my-report", "*.failed", "run.>.x", "Run", "a..b", ""];
    assert.deepEqual(texts.map(valid), [true, true, true, false, false, false, false]);
});

test("a rate is the difference of totals over the time between them", () => {
    const topics = (events) => ({ topics: [{ topic: "a", events, bytes: 0 }] });
    assert.equal(meterOf(snapshot(1, topics(10))).rate("topics", "a", "events"), null);
    assert.equal(meterOf(snapshot(1, topics(10)), snapshot(3, topics(30))).rate("topics", "a", "events"), 10);
    assert.equal(meterOf(snapshot(1), snapshot(3, topics(30))).rate("topics", "a", "events"), 15, "a new topic began at 0");
    assert.equal(meterOf(snapshot(1, topics(10)), snapshot(2, topics(3))).rate("topics", "a", "events"), null, "it began anew");
    const other = snapshot(9, { ...topics(50), broker: { boot: "two" } });
    assert.equal(meterOf(snapshot(1, topics(10)), other).rate("topics", "a", "events"), null, "another broker");
    assert.deepEqual([null, 0, 0.04, 0.25, 9.96, 1234, 123456, 2.5e6].map(perSecond), ["–", "0", "<0.1", "0.3", "10", "1.2k", "123k", "2.5M"]);
});

test("a topic that comes into a list of the busiest has no rate yet", () => {
    const topics = Array.from({ length: TOPICS_TOLD }, (_, i) => ({ topic: `t${i}`, events: 5000, bytes: 0 }));
    const before = snapshot(1, { topics });
    const after = snapshot(2, { topics: [{ topic: "new", events: 5001, bytes: 0 }, ...topics.slice(1)] });
    assert.equal(meterOf(before, after).rate("topics", "new", "events"), null);
    assert.equal(meterOf(before, after).rate("topics", "t7", "events"), 0);
});

test("after a silence no rate is known", () => {
    const topics = (events) => ({ topics: [{ topic: "a", events, bytes: 0 }] });
    const meter = meterOf(snapshot(1, topics(10)), snapshot(3, topics(30)));
    meter.clear();
    assert.equal(meter.rate("topics", "a", "events"), null);
    meter.add(snapshot(9, topics(90)));
    assert.equal(meter.rate("topics", "a", "events"), null);
});

test("what is no answer of an up is known as such", () => {
    const answers = [{ now_us: 1, nodes: [node("a")], processes: [running("a")] }, {}, null, { now_us: 1, nodes: [{}], processes: [] },
                     { now_us: 1, nodes: [{ name: "a" }], processes: [] }, { now_us: 1, nodes: [], processes: [null] }];
    assert.deepEqual(answers.map(isUp), [true, false, false, false, false, false]);
});

test("a source of a model that is badly encoded is taken as it stands", async () => {
    const { storeKey } = await import("/assets/files.js");
    assert.deepEqual(["mlflow-artifacts:/1/a%20b/m.bin", "mlflow-artifacts:/100%/m.bin", "s3://x", null].map(storeKey),
                     ["1/a b/m.bin", "100%/m.bin", null, null]);
});

test("the processor's share has the clock of its up, and ends with its process", () => {
    const at = (seconds, clock, process) =>
        snapshot(seconds, { supervisors: [{ name: "up", pid: 1, now_us: clock * 1e6, nodes: [], processes: [process] }] });
    const share = (...all) => meterOf(...all).share({ name: "up" }, { name: "a" });
    assert.equal(share(at(1, 1, running("a", { cpu_ms: 100 })), at(2, 3, running("a", { cpu_ms: 600 }))), 0.25);
    assert.equal(share(at(1, 1, running("a", { cpu_ms: 100 })), at(2, 3, running("a", { cpu_ms: 600, pid: 8 }))), null);
});

test("nodes, programs, waiting consumers and bare sockets stand at the shaft", () => {
    const both = (seconds, factor) => snapshot(seconds, {
        supervisors: [{ name: "up", pid: 1, now_us: seconds * 1e6, nodes: [node("model", { takes: ["x.>"] })],
                        processes: [running("model.1", { node: "model", state: "waiting" })] }],
        sessions: [session("model", { delivered: 5 * factor }), session("laptop", { published: 4 * factor }),
                   session("up", { member: "u" })],
        services: [{ topic: "up.status.00aa", workers: [{ client: "up", member: "u" }] },
                   { topic: "score", workers: [{ client: "laptop", member: "laptop" }] }],
        consumers: [{ name: "report", takes: ["y"], members: 0, pending: 17, oldest_ms: 9, delivered: 0, dead: 0 }],
        topics: [{ topic: "x.a", events: 10 * factor, bytes: 1 }],
    });
    const floor = floorOf(both(2, 3), meterOf(both(1, 1), both(2, 3)));
    const byName = new Map(floor.stations.map((one) => [one.name, one]));
    assert.deepEqual([...byName.keys()], ["model", "report", "laptop", "no session"]);
    assert.equal(byName.get("model").state, "waiting");
    assert.equal(byName.get("model").rates.delivered, 10);
    assert.deepEqual([byName.get("report").state, byName.get("report").lag], ["absent", 17]);
    assert.deepEqual(byName.get("laptop").serves, ["score"]);
    assert.equal(byName.get("no session").rates.published, 12, "of 20 events a second the laptop published 8");
    assert.deepEqual(related(floor.stations, byName.get("model")), new Set(["anonymous"]));
    assert.deepEqual(topicsOf(both(1, 1), newMeter(), ["x.*"]).map(({ topic }) => topic), ["x.a"]);
});

test("what an ingress asks for a console's sake is no work of it", () => {
    const at = (seconds, chats) => snapshot(seconds, {
        supervisors: [{ name: "up", pid: 1, now_us: seconds * 1e6, nodes: [node("door", { kind: "ingress" })], processes: [] }],
        sessions: [session("door", { requests: seconds + chats })],
        services: [{ topic: "up.status.00aa", requests: seconds, workers: [] }] });
    const asks = (chats) => floorOf(at(5, chats), meterOf(at(1, 0), at(5, chats))).stations[0].rates.requests;
    assert.deepEqual([asks(0), asks(8)], [0, 2]);
});

test("many programs are drawn as a few and the number of the others", () => {
    const many = snapshot(1, { sessions: Array.from({ length: 300 }, (_, i) => session(`p${i}`)) });
    const names = floorOf(many, newMeter()).stations.map(({ name }) => name);
    assert.equal(names.length, 8);
    assert.ok(names.includes("293 more programs"));
});

const stations = (count) => Array.from({ length: count },
    (_, i) => ({ ...node(`n${i}`), id: `n${i}`, rates: {}, takes: i % 3 ? ["x"] : [] }));
const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
const inside = (a, b) => a.x >= b.x && a.x + a.width <= b.x + b.width && a.y >= b.y && a.y + a.height <= b.y + b.height;
const beltOf = ({ belt: { x, from, to } }) =>
    ({ x: x - 10, width: 24, y: Math.min(from, to) + 1, height: Math.abs(to - from) - 2 });

test("boxes do not overlap, no belt crosses a box, nothing leaves the board", () => {
    for (const width of [640, 820, 1232, 1872]) {
        for (const count of [1, 4, 7, 16, 30, 45]) {
            const plan = layout(width, stations(count), Array.from({ length: count % 9 }, (_, i) => ({ id: `s${i}` })));
            if (plan.list)
                continue;
            assert.equal(plan.boxes.length, count);
            for (const box of plan.boxes) {
                assert.ok(inside(box, { x: 0, y: 0, width, height: plan.height }), `${box.id} of ${count} at ${width}`);
                const others = plan.boxes.filter((other) => other !== box);
                assert.deepEqual(others.filter((other) => overlap(box, other) || overlap(box, beltOf(other))).map(({ id }) => id), [],
                                 `${box.id} of ${count} at ${width}`);
            }
            assert.ok(plan.shaft.segments.every((segment) => segment.x + segment.width <= width));
        }
    }
    assert.equal(layout(390, [], []).list, true, "a phone has a list");
    assert.equal(layout(1232, stations(31), []).list, false);
});

test("an event is one line, and leads to what it is about", () => {
    assert.equal(lineOf({ data: { run_id: "r1", value: 0.7, note: "two words", deep: { a: 1 } } }),
                 'run_id=r1 value=0.7 note="two words" deep={"a":1}');
    assert.equal(lineOf({}), "");
    const bytes = (...body) => ({ data_base64: Buffer.from(...body).toString("base64") });
    assert.equal(lineOf(bytes("{ no JSON")), '"{ no JSON"');
    assert.equal(lineOf(bytes([0xff, 0, 1])), '"3 bytes"');
    assert.equal(lineOf({ data: { "a\u202e": "x\u2066y\u0007" } }), String.raw`a\u202e=x\u2066y\u0007`);
    assert.ok(lineOf({ data: { text: "x".repeat(9000) } }).length < 200);
    assert.equal(traceOf({ traceparent: "00-1263888ac85e002a769162c02a800cb5-860febb9c46a1025-01" }), "1263888ac85e002a769162c02a800cb5");
    assert.equal(traceOf({ traceparent: "nonsense" }), null);
    const about = placesOf({ topic: "task.started", data: { workflow: "train", workflow_run_id: "r1", task: "find" } });
    assert.deepEqual(about.map(({ path }) => path.join("/")), ["workflows/train/r1/find", "workflows/train/r1"]);
    const model = placesOf({ topic: "model.alias.set", data: { name: "fortunes", run_id: "ab" } });
    assert.deepEqual(model.map(({ path }) => path.join("/")), ["runs/ab", "models/fortunes"]);
});

test("MLflow's addresses are known", () => {
    const of = (address) => fromMlflow(address.split("/"))?.join("/") ?? null;
    const addresses = ["experiments/1/runs/ab", "experiments/1", "experiments", "models/m/versions/2", "models/m", "runs/ab", ""];
    assert.deepEqual(addresses.map(of), ["runs/ab", "runs/of/1", "runs", "models/m", null, null, null]);
});

test("a record has its kind, and the id stays until there is another", () => {
    const got = [];
    const feed = sseParser((...record) => got.push(record));
    feed("id: a:1\n: following\n\nevent: state\ndata: {}\n\nid: a:2\nevent: event\ndata: x\n\ndata: y\n\n");
    assert.deepEqual(got, [["{}", "state", "a:1"], ["x", "event", "a:2"], ["y", "message", "a:2"]]);
});
