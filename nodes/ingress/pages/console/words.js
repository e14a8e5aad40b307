/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, sizes, times and states in words, as all views of runs, workflows and models write them. Pure. */

/* number writes at most six significant digits: enough to compare, short enough for a table. */
export function number(value)
{
    if (value === null || value === undefined || Number.isNaN(value))
        return "NaN";
    if (Math.abs(value) > 1.797e308)
        return value > 0 ? "∞" : "−∞";
    if (Number.isInteger(value) && Math.abs(value) < 1e15)
        return value.toLocaleString("en-US").replace(/,/g, "\u202f");
    const magnitude = Math.abs(value);
    return magnitude >= 1e7 || magnitude < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(6)));
}

export function size(bytes)
{
    if (bytes === null || bytes === undefined)
        return "";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    for (; bytes >= 1024 && i < units.length - 1; i++)
        bytes /= 1024;
    return `${i > 0 && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[i]}`;
}

export function duration(ms)
{
    if (ms === null || ms === undefined || ms < 0)
        return "";
    if (ms < 1000)
        return `${Math.round(ms)} ms`;
    if (ms < 60e3)
        return `${(ms / 1000).toFixed(ms < 10e3 ? 1 : 0)} s`;
    const seconds = Math.round(ms / 1000);
    if (seconds < 3600)
        return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(minutes / 1440)} d`;
}

export const pad = (n) => String(n).padStart(2, "0");

/* time writes an instant (ms since 1970, or RFC 3339) in the time of this browser: the hour, and the day if it is not `now`'s. */
export function time(at, now = Date.now())
{
    if (at === null || at === undefined || at === "")
        return "";
    const date = new Date(at);
    const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
    const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
    return new Date(now).toDateString() === date.toDateString() ? clock : `${day} ${clock.slice(0, 5)}`;
}

/* distance is how far off an instant is: "in 10 h 7 min", "3 s ago". */
export function distance(at, now = Date.now())
{
    const ms = new Date(at).getTime() - now;
    return ms > 0 ? `in ${duration(ms)}` : `${duration(-ms)} ago`;
}

export const brief = (id) => (id.length > 12 ? `${id.slice(0, 8)}…` : id);

/* What a state looks like: `kind` names its colour, `sign` its shape, so that colour is never alone. */
const SIGNS = {
    success: ["good", "✓"], finished: ["good", "✓"], ready: ["good", "✓"],
    running: ["busy", "▸"],
    queued: ["wait", "○"], scheduled: ["wait", "◦"], none: ["idle", "·"], pending_registration: ["wait", "○"],
    failed: ["bad", "✕"], failed_registration: ["bad", "✕"], upstream_failed: ["bad-soft", "↑"],
    up_for_retry: ["again", "↻"], retrying: ["again", "↻"],
    skipped: ["idle", "»"], removed: ["idle", "−"], killed: ["bad-soft", "■"], cancelled: ["bad-soft", "■"],
};

export function sign(state)
{
    const [kind, mark] = SIGNS[String(state).toLowerCase()] ?? ["idle", "?"];
    return { kind, mark, word: String(state).toLowerCase().replaceAll("_", " ") };
}

/* tally says how far a workflow's run is, or how its tasks ended: "3 of 5 succeeded, 1 failed, 1 upstream failed". */
export function tally({ state, tasks, tasks_done: done, tasks_total: total })
{
    if (state === "queued" || state === "running")
        return `${done} of ${total} done`;
    const ends = new Map([["success", 0]]);
    for (const task of tasks)
        ends.set(task.state, (ends.get(task.state) ?? 0) + 1);
    const [[, good], ...others] = ends;
    return [`${good} of ${total} succeeded`, ...others.map(([end, count]) => `${count} ${sign(end).word}`)].join(", ");
}
