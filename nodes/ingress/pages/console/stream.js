/* SPDX-License-Identifier: Apache-2.0 */
/* The console's one live connection, GET /api/console: the state of the bus every second, and the events that are watched.
 * EventSource cannot send a key, hence fetch. When what is watched changes a new connection takes the place of the old one. */
import { sseParser } from "/assets/sse.js";
import { matchesAny } from "/assets/topics.js";

const PATTERNS_MAX = 20;   /* of the server */
const RETRY_MS = [300, 1000, 2000, 5000];
const BUSY_MS = 12;        /* after so long the page gets its turn */
const SILENT_MS = 40000;   /* a connection that says nothing for so long is dead: state comes every second, else a sign of life */

/* Where to begin, so that the last events of each stream come: the place of a reader, as the server writes it in a record's id.
 * It is exact over several streams, and holds for the broker's own as well, which only patterns with `$` reach. */
function placeOf(snapshot, from, patterns)
{
    const count = from === "all" ? Infinity : Number(/^last:(\d+)$/.exec(from)?.[1] ?? 0);
    const own = patterns.some((pattern) => pattern.startsWith("$"));
    return snapshot.streams.filter(({ name }) => own || !name.startsWith("$"))
        .map(({ name, first, next }) => `${name}:${Math.max(first, next - count)}`).join(",");
}

const nextOf = (snapshot) => new Map((snapshot?.streams ?? []).map(({ name, next }) => [name, next]));

/* openStream({call, onState, onLink}) connects at once. onState(snapshot) gets each state; onLink(state, text): connecting, open,
 * away, lost, refused. It returns
 *   watch(patterns, from, onEvent)  from: "new", "all" or "last:N" (of each stream); onEvent(event) gets each event once, as
 *                                   GET /api/events tells it. Returns a function that ends it.
 *   reconnect()                     at once */
export function openStream({ call, onState, onLink })
{
    const watchers = new Set();
    let snapshot = null;
    let place = null;          /* the id of the last event */
    let current = null;        /* AbortController of the connection */
    let failures = 0;
    let timer = 0;
    let asked = null;          /* where the connection was to begin: "new", or the `from` of a new watcher */
    let waiting = false;       /* for the first state, which tells where that is */

    /* A new watcher begins where it wants to; others, and those of a connection that broke, where they were. */
    function address(from)
    {
        const patterns = [...new Set([...watchers].flatMap((watcher) => watcher.patterns))];
        if ([...watchers].every((watcher) => watcher.fresh))
            place = null;
        waiting = patterns.length > 0 && snapshot === null;
        if (patterns.length === 0 || waiting)
            return { path: "/api/console", headers: {} };
        watchers.forEach((watcher) => { watcher.fresh = false; });
        const topic = patterns.length <= PATTERNS_MAX ? patterns.join(",") : ">,$sys.>,$dlq.>";
        const begin = (from === "new" && place) || placeOf(snapshot, from, patterns);
        return { path: `/api/console?${new URLSearchParams({ topic })}`, headers: begin ? { "last-event-id": begin } : {} };
    }

    function open(from)
    {
        current?.abort();
        clearTimeout(timer);
        const mine = current = new AbortController();
        asked = from;
        follow(mine, address(from)).then(() => null, (error) => error).then((error) => {
            if (mine !== current)
                return;
            current = null;
            onLink(error?.status === 401 ? "refused" : "lost", error?.message);
            if (error?.status !== 401)
                timer = setTimeout(() => open(place ? "new" : asked), RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
        });
    }

    /* Reads one connection to its end. */
    async function follow(mine, { path, headers })
    {
        const response = await call(path, { headers, signal: mine.signal });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        const feed = sseParser((data, kind, id) => {
            if (mine === current)
                record(data, kind, id);
        });
        let silence = 0;
        let turn = performance.now();
        for (;;) {
            clearTimeout(silence);
            silence = setTimeout(() => mine.abort(), SILENT_MS);
            const { value, done } = await reader.read();
            if (done || mine !== current) {
                clearTimeout(silence);
                return;
            }
            feed(value);
            if (performance.now() - turn > BUSY_MS) {
                await new Promise((resolve) => { setTimeout(resolve); });
                turn = performance.now();
            }
        }
    }

    function record(data, kind, id)
    {
        const value = JSON.parse(data);
        place = id || place;
        if (kind === "state") {
            failures = 0;
            snapshot = value;
            onLink("open");
            onState(value);
            if (waiting)
                open(asked);
        } else if (kind === "away") {
            onLink("away", value.text);
        } else if (kind === "event") {
            for (const watcher of watchers)
                deliver(watcher, value);
        }
    }

    /* A connection that was opened for another's sake may bring what this watcher has had, or did not want. */
    function deliver(watcher, event)
    {
        if (!matchesAny(watcher.patterns, event.topic) || event.seq < watcher.next.get(event.stream))
            return;
        if (event.seq)
            watcher.next.set(event.stream, event.seq + 1);
        watcher.onEvent(event);
    }

    /* Watchers that come and go in one turn (a view changes its filter) cost one connection. */
    let change = null;
    function changed(from)
    {
        if (change === null)
            queueMicrotask(() => {
                const wanted = change;
                change = null;
                open(wanted);
            });
        if (change === null || from !== "new")
            change = from;
    }

    open("new");
    return {
        watch(patterns, from, onEvent)
        {
            const watcher = { patterns, onEvent, fresh: true, next: from === "new" ? nextOf(snapshot) : new Map() };
            watchers.add(watcher);
            changed(from);
            return () => {
                watchers.delete(watcher);
                changed("new");
            };
        },
        reconnect: () => open("new"),
    };
}
