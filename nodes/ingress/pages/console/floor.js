/* SPDX-License-Identifier: Apache-2.0 */
/* What stands at the shaft, from a snapshot: stations (nodes of every `up`, outside programs, consumers that wait for one, and
 * those without a session), streams, the broker. Pure; flow.js draws it. */
import { matchesAny, meet } from "./topics.js";   /* relative, so that node can test it */

const GUESTS_MAX = 8;
const FIELDS = ["published", "delivered", "requests", "served"];
const NOISE = 0.02;   /* answers that are not of one instant differ by such a part, */
const LEAST = 0.15;   /* and by less than one event in the time over which rates are taken */

/* isUp tells whether an answer to up.status.… has what is read of it here: whoever serves such a topic is asked. */
export function isUp(answer)
{
    const named = (list) => Array.isArray(list) && list.every((item) => typeof item?.name === "string");
    return named(answer?.nodes) && named(answer.processes) && typeof answer.now_us === "number"
        && answer.nodes.every((node) => ["takes", "gives", "serves", "asks"].every((way) => Array.isArray(node[way])));
}

/* add sums what is known; null only if nothing is. */
const add = (values) => values.reduce((sum, value) => (value === null || value === undefined ? sum : (sum ?? 0) + value), null);

function station(id, name, kind, rest)
{
    return { id, name, kind, state: "here", replicas: 1, processes: [], sessions: [], consumers: [], services: [], rates: {},
             takes: [], gives: [], serves: [], asks: [], ...rest };
}

/* A node whose processes all run is running; else the worst of them gives its state. */
function stateOf(processes)
{
    return ["waiting", "ended", "ending"].find((state) => processes.some((process) => process.state === state)) ?? "running";
}

function nodesOf(snapshot, meter)
{
    return (snapshot.supervisors ?? []).flatMap((supervisor) => supervisor.nodes.map((node) => {
        const processes = supervisor.processes.filter((process) => process.node === node.name)
            .map((process) => ({ ...process, share: meter.share(supervisor, process) }));
        return station(`node:${node.name}`, node.name, node.kind, { ...node, processes, state: stateOf(processes) });
    }));
}

/* Two `up` may run parts of one node: they are one station. */
function merged(stations)
{
    const byId = new Map();
    for (const one of stations) {
        const known = byId.get(one.id);
        if (!known)
            byId.set(one.id, one);
        else
            byId.set(one.id, { ...known, replicas: known.replicas + one.replicas,
                               processes: [...known.processes, ...one.processes],
                               state: stateOf([...known.processes, ...one.processes]) });
    }
    return byId;
}

/* Sessions of an `up` are the broker's company, no stations. */
function supervisorClients(snapshot)
{
    return new Set((snapshot.services ?? []).filter(({ topic }) => topic.startsWith("up.status."))
        .flatMap(({ workers }) => workers.map((worker) => `${worker.client} ${worker.member}`)));
}

function guest(stations, session)
{
    const id = `guest:${session.client}`;
    if (!stations.has(id))
        stations.set(id, station(id, session.client, "guest"));
    return stations.get(id);
}

/* assign gives sessions, services and consumers to the stations that have their name. */
function assign(stations, snapshot)
{
    const ups = supervisorClients(snapshot);
    for (const session of snapshot.sessions ?? []) {
        if (!ups.has(`${session.client} ${session.member}`))
            (stations.get(`node:${session.client}`) ?? guest(stations, session)).sessions.push(session);
    }
    for (const service of snapshot.services ?? []) {
        for (const client of new Set(service.workers.map((worker) => worker.client))) {
            const one = stations.get(`node:${client}`) ?? stations.get(`guest:${client}`);
            one?.services.push(service);
            if (one && !one.serves.some((pattern) => meet(pattern, service.topic)))
                one.serves = [...one.serves, service.topic];
        }
    }
    for (const consumer of snapshot.consumers ?? []) {
        const id = `consumer:${consumer.name}`;
        const one = stations.get(`node:${consumer.name}`) ?? stations.get(`guest:${consumer.name}`)
            ?? station(id, consumer.name, "consumer", { takes: consumer.takes ?? [], state: consumer.members ? "here" : "absent" });
        one.consumers.push(consumer);
        if (one.id === id)
            stations.set(id, one);
    }
}

function measure(one, meter)
{
    for (const field of FIELDS)
        one.rates[field] = add(one.sessions.map((session) => meter.session(session, field)));
    if (one.kind === "consumer")
        one.rates.delivered = add(one.consumers.map((consumer) => meter.rate("consumers", consumer.name, "delivered")));
    one.lag = add(one.consumers.map((consumer) => consumer.pending)) ?? 0;
    one.oldest_ms = Math.max(0, ...one.consumers.map((consumer) => consumer.oldest_ms ?? 0));
    one.dead = add(one.consumers.map((consumer) => consumer.dead)) ?? 0;
    one.share = add(one.processes.map((process) => process.share));
    one.pss = add(one.processes.map((process) => process.pss));
    one.restarts = add(one.processes.map((process) => process.restarts)) ?? 0;
    return one;
}

/* A console that is open makes its ingress ask every `up` once a second, which is no work of the node's: else its belt would
 * never stand still while somebody looks. */
function withoutWatching(one, snapshot, meter)
{
    const asked = add((snapshot.services ?? []).filter(({ topic }) => topic.startsWith("up.status."))
        .map(({ topic }) => meter.rate("services", topic, "requests")));
    if (one.kind !== "ingress" || !asked || one.rates.requests === null)
        return one;
    const rest = one.rates.requests - asked;
    one.rates.requests = rest > LEAST ? rest : 0;
    return one;
}

/* What no session published: bare sockets, and programs that came and went between two snapshots. */
function anonymous(snapshot, meter)
{
    const all = add((snapshot.topics ?? []).map((topic) => meter.rate("topics", topic.topic, "events")));
    const known = add((snapshot.sessions ?? []).map((session) => meter.session(session, "published"))) ?? 0;
    const rest = all === null ? 0 : all - known;
    if (rest <= Math.max(LEAST, all * NOISE))
        return [];
    const one = measure(station("anonymous", "no session", "anonymous", { gives: [">"] }), meter);
    return [{ ...one, rates: { published: rest } }];
}

/* The busiest guests stand for themselves, the others together. */
function crowd(guests)
{
    if (guests.length <= GUESTS_MAX)
        return guests;
    const busy = (one) => FIELDS.reduce((sum, field) => sum + (one.rates[field] ?? 0), 0);
    const sorted = [...guests].sort((a, b) => busy(b) - busy(a) || a.name.localeCompare(b.name));
    const others = sorted.slice(GUESTS_MAX - 1);
    const rates = Object.fromEntries(FIELDS.map((field) => [field, add(others.map((one) => one.rates[field]))]));
    return [...sorted.slice(0, GUESTS_MAX - 1),
            { ...station("crowd", `${others.length} more programs`, "guest", { sessions: others.flatMap((one) => one.sessions) }), rates,
              lag: 0, oldest_ms: 0, dead: 0, share: null, pss: null, restarts: 0 }];
}

function brokerOf(snapshot, meter)
{
    const own = (snapshot.supervisors ?? []).flatMap((supervisor) => supervisor.processes.filter((process) => process.node === null)
        .map((process) => ({ ...process, share: meter.share(supervisor, process) })));
    return { id: "broker", name: snapshot.broker?.name ?? "broker", kind: "broker", info: snapshot.broker, processes: own,
             broker: own.find((process) => process.kind === "broker") ?? null };
}

/* floorOf: everything that flow.js draws. Rates are null while unknown. */
export function floorOf(snapshot, meter)
{
    const byId = merged(nodesOf(snapshot, meter));
    assign(byId, snapshot);
    const stations = [...byId.values()].map((one) => withoutWatching(measure(one, meter), snapshot, meter));
    const nodes = stations.filter((one) => one.kind !== "guest");
    const guests = crowd(stations.filter((one) => one.kind === "guest")).sort((a, b) => a.name.localeCompare(b.name));
    const streams = (snapshot.streams ?? []).map((stream) => ({ ...stream, id: `stream:${stream.name}`,
                                                                rate: meter.rate("streams", stream.name, "published") }));
    return { broker: brokerOf(snapshot, meter), streams, stations: [...nodes, ...guests, ...anonymous(snapshot, meter)] };
}

/* topicsOf: the topics that flowed and match one of the patterns, the fastest first. */
export function topicsOf(snapshot, meter, patterns)
{
    return (snapshot.topics ?? []).filter(({ topic }) => matchesAny(patterns, topic))
        .map((topic) => ({ ...topic, rate: meter.rate("topics", topic.topic, "events") }))
        .sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.events - a.events);
}

/* related: the ids of the stations that take what this one gives, give what it takes, or ask what it serves. */
export function related(stations, one)
{
    const touch = (some, others) => some.some((pattern) => others.some((other) => meet(pattern, other)));
    return new Set(stations.filter((other) => other !== one && (touch(one.gives, other.takes) || touch(one.takes, other.gives)
        || touch(one.serves, other.asks) || touch(one.asks, other.serves))).map((other) => other.id));
}
