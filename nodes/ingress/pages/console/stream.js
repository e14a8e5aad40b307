/* SPDX-License-Identifier: Apache-2.0 */
/* The console's one live connection, GET /api/console: the state of the bus every second, and the events that are watched.
 * EventSource cannot send a key, hence fetch. When what is watched changes a new connection takes the place of the old one. */
import { sseParser } from "/assets/sse.js";
import { matchesAny } from "/assets/topics.js";

const PATTERNS_MAX = 20;   /* of the server */
const RETRY_MS = [300, 1000, 2000, 5000];
const BUSY_MS = 12;        /* after so long the page gets its turn */
const SILENT_MS = 40000;   /* a connection that says nothing for so long is dead: state comes every second, else a sign of life */

/* Where to begin, so that the last events of each stream come: the place of a reader, as the server writes it in a record's
 * id. It is exact over several streams, and holds for the broker's own as well, which only patterns with `$` reach. */
function placeOf(snapshot, { from, patterns })
{
    const count = from === "all" ? Infinity : Number(/^last:(\d+)$/.exec(from)?.[1] ?? 0);
    const own = patterns.some((pattern) => pattern.startsWith("$"));
    return snapshot.streams.filter(({ name }) => own || !name.startsWith("$"))
        .map(({ name, first, next }) => `${name}:${Math.max(first, next - count)}`).join(",");
}

/* openStream({call, onState, onLink}) connects at once. onState(snapshot) gets each state; onLink(state, text): open, away,
 * lost, refused. It returns
 *   watch(patterns, from, onEvent)  from: "new", "all" or "last:N" (of each stream); onEvent(event, length of its text) gets
 *                                   each event once, as GET /api/events tells it. Ends what was watched before; returns a
 *                                   function that ends it.
 *   close()                         until reconnect
 *   reconnect()                     at once; what is watched goes on where it was */
export function openStream({ call, onState, onLink })
{
    let watched = null;        /* {patterns, from, onEvent, place: the id of its last event, or where it begins} */
    let snapshot = null;
    let current = null;        /* AbortController of the connection */
    let failures = 0;
    let timer = 0;
    let change = false;

    /* Where an event's reader begins the first state tells: until it is there nothing is watched. */
    function address()
    {
        if (!watched || !snapshot)
            return { path: "/api/console", headers: {} };
        const { patterns } = watched;
        watched.place ??= placeOf(snapshot, watched);
        const topic = patterns.length <= PATTERNS_MAX ? patterns.join(",") : ">,$sys.>,$dlq.>";
        return { path: `/api/console?${new URLSearchParams({ topic })}`,
                 headers: watched.place ? { "last-event-id": watched.place } : {} };
    }

    function close()
    {
        current?.abort();
        current = null;
        clearTimeout(timer);
    }

    function open()
    {
        close();
        const mine = current = new AbortController();
        follow(mine, address()).then(() => null, (error) => error).then((error) => {
            if (mine !== current)
                return;
            current = null;
            onLink(error?.status === 401 ? "refused" : "lost", error?.message);
            if (error?.status !== 401)
                timer = setTimeout(open, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
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
            const { value, done } = await reader.read().finally(() => clearTimeout(silence));
            if (done || mine !== current)
                return;
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
        if (watched && id)
            watched.place = id;
        if (kind === "state") {
            const first = snapshot === null;
            failures = 0;
            snapshot = value;
            onLink("open");
            onState(value);
            if (first && watched)
                open();
        } else if (kind === "away") {
            onLink("away", value.text);
        } else if (kind === "event" && watched && matchesAny(watched.patterns, value.topic)) {
            watched.onEvent(value, data.length);
        }
    }

    /* Watchers that come and go in one turn (a view changes its filter) cost one connection; before the first state none. */
    function changed()
    {
        if (change || !snapshot)
            return;
        change = true;
        queueMicrotask(() => {
            change = false;
            open();
        });
    }

    open();
    return {
        watch(patterns, from, onEvent)
        {
            const mine = watched = { patterns, from, onEvent, place: null };
            changed();
            return () => {
                if (watched !== mine)
                    return;
                watched = null;
                changed();
            };
        },
        close,
        reconnect: open,
    };
}
