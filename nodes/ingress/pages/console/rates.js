/* SPDX-License-Identifier: Apache-2.0 */
/* Rates from totals. The bus tells totals; a rate is the difference of two snapshots over the time between them. */
const WINDOW_US = 5e6;     /* over which a rate is taken: one event in it is still seen */
const HISTORY = 90;        /* so many values of `history` */
export const TOPICS_TOLD = 200;   /* a snapshot has at most so many topics: of others it does not say that they are not there */

const FIELDS = {
    topics: ["events", "bytes"],
    streams: ["published"],
    consumers: ["delivered", "acked"],
    services: ["requests"],
    sessions: ["published", "delivered", "requests", "served"],
};
const keyOf = (kind, name, field) => `${kind} ${name} ${field}`;
const sessionName = (session) => `${session.client} ${session.member}`;
const processName = (supervisor, process) => `${supervisor.name} ${process.name}`;

/* totalsOf makes Map key -> total of a snapshot. */
function totalsOf(snapshot)
{
    const totals = new Map();
    const add = (key, value) => {
        if (typeof value === "number")
            totals.set(key, (totals.get(key) ?? 0) + value);
    };
    for (const [kind, fields] of Object.entries(FIELDS)) {
        for (const item of snapshot[kind] ?? []) {
            const name = kind === "sessions" ? sessionName(item) : item.topic ?? item.name;
            fields.forEach((field) => add(keyOf(kind, name, field), item[field]));
        }
    }
    for (const [name, value] of Object.entries(snapshot.broker?.counters ?? {}))
        add(keyOf("broker", name, "total"), value);
    return totals;
}

/* The processor's share is what a measurement tells against an earlier one of the same `up`. */
function sharesOf(before, now)
{
    const shares = new Map();
    for (const supervisor of now.supervisors ?? []) {
        const earlier = (before.supervisors ?? []).find((other) => other.name === supervisor.name && other.pid === supervisor.pid);
        const us = supervisor.now_us - (earlier?.now_us ?? supervisor.now_us);
        if (us <= 0)
            continue;
        const then = new Map(earlier.processes.map((process) => [process.name, process]));
        for (const process of supervisor.processes) {
            const was = then.get(process.name);
            if (was?.pid === process.pid && process.cpu_ms >= was.cpu_ms)
                shares.set(processName(supervisor, process), (process.cpu_ms - was.cpu_ms) * 1000 / us);
        }
    }
    return shares;
}

/* newMeter returns
 *   add(snapshot)            the next one
 *   rate(kind, name, field)  per second; null while it is not known (the first snapshot; a total that began anew).
 *                            What was not there in the earlier snapshot counts from 0,
 *                            but for a topic among so many that not all are told.
 *   clear()                  the next snapshot has nothing to do with the last
 *   session(session, field), share(supervisor, process)  the same for a session, and the part of a processor (0.5: a half)
 *   history()                [events per second], the latest last */
export function newMeter()
{
    let marks = [];      /* {us, boot, snapshot, totals} of the window, oldest first */
    let shares = new Map();
    let history = [];

    function rate(kind, name, field)
    {
        if (marks.length < 2)
            return null;
        const key = keyOf(kind, name, field);
        const [first, last] = [marks[0], marks.at(-1)];
        if (!first.totals.has(key) && kind === "topics" && first.snapshot.topics.length >= TOPICS_TOLD)
            return null;
        const change = (last.totals.get(key) ?? 0) - (first.totals.get(key) ?? 0);
        return last.totals.has(key) && change >= 0 ? change * 1e6 / (last.us - first.us) : null;
    }

    function add(snapshot)
    {
        const mark = { us: snapshot.now_us, boot: snapshot.broker?.boot, snapshot, totals: totalsOf(snapshot) };
        const before = marks.at(-1);
        if (before && (before.boot !== mark.boot || mark.us <= before.us))
            marks = [];
        marks.push(mark);
        while (marks.length > 2 && mark.us - marks[1].us >= WINDOW_US)
            marks.shift();
        shares = sharesOf(marks[0].snapshot, snapshot);
        if (before && marks.length > 1) {
            const key = keyOf("broker", "events_in", "total");
            const events = (mark.totals.get(key) ?? 0) - (before.totals.get(key) ?? 0);
            history = [...history, Math.max(0, events * 1e6 / (mark.us - before.us))].slice(-HISTORY);
        }
    }

    return {
        add, rate,
        clear()
        {
            marks = [];
            shares = new Map();
        },
        session: (session, field) => rate("sessions", sessionName(session), field),
        share: (supervisor, process) => shares.get(processName(supervisor, process)) ?? null,
        history: () => history,
    };
}

/* perSecond writes a rate short: "–" unknown, 0, 0.2, 12, 1.2k, 3.4M. */
export function perSecond(value)
{
    if (value === null || value === undefined)
        return "–";
    if (value > 0 && value < 0.1)
        return "<0.1";
    for (const [size, letter] of [[1e6, "M"], [1e3, "k"]]) {
        if (value >= size * 0.9995)
            return `${value >= size * 99.95 ? Math.round(value / size) : Number((value / size).toFixed(1))}${letter}`;
    }
    return value >= 9.95 ? String(Math.round(value)) : String(Number(value.toFixed(1)));
}
