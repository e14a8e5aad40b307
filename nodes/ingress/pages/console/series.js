/* SPDX-License-Identifier: Apache-2.0 */
/* Points of a metric, and what a plot makes of them. Pure. A point is {step, timestamp, value}; a line is {xs, ys}, sorted by x. */

/* The points of one metric of one run, in order of their steps. */
export class Points {
    list = [];
    known = new Set();

    /* add takes points that are not there yet: the tracker holds a point once, however often its event comes. */
    add(points)
    {
        let sorted = true;
        for (const point of points) {
            const key = `${point.step}/${point.timestamp}/${point.value}`;
            if (this.known.has(key))
                continue;
            this.known.add(key);
            const last = this.list.at(-1);
            sorted &&= !last || last.step < point.step || (last.step === point.step && last.timestamp <= point.timestamp);
            this.list.push(point);
        }
        if (!sorted)
            this.list.sort((a, b) => a.step - b.step || a.timestamp - b.timestamp);
    }
}

/* A value as a plot takes it: NaN and what stands for infinity are gaps. */
function drawable(value)
{
    const number = Number(value);
    return Number.isFinite(number) && Math.abs(number) < 1.797e308 ? number : null;
}

/* line lays points along "step", "time" (seconds since 1970) or "since" (seconds since `start`, in ms). */
export function line(points, along, start = 0)
{
    const x = { step: (point) => point.step, time: (point) => point.timestamp / 1000,
                since: (point) => (point.timestamp - start) / 1000 }[along];
    const sorted = along === "step" ? points : [...points].sort((a, b) => a.timestamp - b.timestamp || a.step - b.step);
    return { xs: sorted.map(x), ys: sorted.map((point) => drawable(point.value)) };
}

/* smooth is the exponential moving average, freed of its bias towards zero at the start; weight 0 changes nothing. */
export function smooth(ys, weight)
{
    if (!(weight > 0))
        return ys;
    let last = 0;
    let seen = 0;
    return ys.map((y) => {
        if (y === null)
            return null;
        last = last * weight + (1 - weight) * y;
        seen++;
        return last / (1 - weight ** seen);
    });
}

/* within cuts a line to the x of a view, and one point to either side, so that lines run out of the picture. */
export function within({ xs, ys }, min, max)
{
    let first = xs.findIndex((x) => x >= min);
    if (first < 0)
        first = xs.length;
    let end = first;
    while (end < xs.length && xs[end] <= max)
        end++;
    return { xs: xs.slice(Math.max(0, first - 1), end + 1), ys: ys.slice(Math.max(0, first - 1), end + 1) };
}

/* thin leaves the first, lowest, highest and last point of each of `buckets` pieces: what a screen can show of a long line, no
 * peak lost. */
export function thin({ xs, ys }, buckets)
{
    if (xs.length <= buckets * 4)
        return { xs, ys };
    const kept = [];
    for (let bucket = 0; bucket < buckets; bucket++) {
        const from = Math.floor(bucket * xs.length / buckets);
        const to = Math.floor((bucket + 1) * xs.length / buckets);
        let low = from;
        let high = from;
        for (let i = from; i < to; i++) {
            if (ys[i] !== null && (ys[low] === null || ys[i] < ys[low]))
                low = i;
            if (ys[i] !== null && (ys[high] === null || ys[i] > ys[high]))
                high = i;
        }
        kept.push(...[...new Set([from, low, high, to - 1])].sort((a, b) => a - b));
    }
    return { xs: kept.map((i) => xs[i]), ys: kept.map((i) => ys[i]) };
}

/* told sums a line up in a sentence, for those who do not see it. */
export function told(name, { ys }, number)
{
    const values = ys.filter((y) => y !== null);
    if (values.length === 0)
        return `${name}: no points`;
    const low = values.reduce((a, b) => Math.min(a, b));
    const high = values.reduce((a, b) => Math.max(a, b));
    const range = `from ${number(values[0])} to ${number(values.at(-1))}, lowest ${number(low)}, highest ${number(high)}`;
    return `${name}: ${values.length} points, ${range}`;
}
