/* SPDX-License-Identifier: Apache-2.0 */
/* Where things stand in the diagram: those that mostly give above the shaft, those that mostly take below. Pure; in CSS pixels.
 *
 * Belts are straight and cross no box. The boxes of an outer row are one slot wider than those of the row inside it, and the belt
 * of an outer box runs down in that slot. */
const BOX = { height: 118, least: 168, most: 232 };
const SHAFT = { height: 58, broker: 176 };
const GAP = 16;
const ROW_GAP = 14;
const SLOT = 30;
const BELT = 64;
const STREAM_LEAST = 132;
const LIST_BELOW = 640;   /* narrower than this it is a list */

const givesMore = (one) => one.gives.length + one.asks.length - one.takes.length - one.serves.length;

/* sides splits the stations: nodes half and half, so that both sides are even; guests where they belong. */
function sides(stations)
{
    const isGuest = (one) => one.kind === "guest" || one.kind === "anonymous" || one.kind === "consumer";
    const nodes = stations.filter((one) => !isGuest(one));
    const ranked = nodes.map((one, i) => ({ one, i })).sort((a, b) => givesMore(b.one) - givesMore(a.one) || a.i - b.i);
    const upper = new Set(ranked.slice(0, Math.ceil(nodes.length / 2)).map(({ one }) => one));
    const takes = (one) => one.kind === "consumer" || (one.rates.delivered ?? 0) > (one.rates.published ?? 0);
    return {
        above: [...nodes.filter((one) => upper.has(one)), ...stations.filter((one) => isGuest(one) && !takes(one))],
        below: [...nodes.filter((one) => !upper.has(one)), ...stations.filter((one) => isGuest(one) && takes(one))],
    };
}

/* The most columns that fit, and with them the fewest rows; null if none fit. */
function grid(count, width)
{
    for (let columns = count; columns > 0; columns--) {
        const rows = Math.ceil(count / columns);
        if (columns * (BOX.least + (rows - 1) * SLOT + GAP) <= width)
            return { columns, rows };
    }
    return null;
}

/* place returns {boxes, rows}, null if there is no room. */
function place(stations, width)
{
    if (stations.length === 0)
        return { boxes: [], rows: 0 };
    const found = grid(stations.length, width);
    if (!found)
        return null;
    const { columns, rows } = found;
    const pitch = width / columns;
    const spare = (rows - 1) * SLOT;
    const base = Math.min(BOX.most, pitch - spare - GAP);
    const boxes = stations.map((one, i) => {
        const row = Math.floor(i / columns);
        const x = (i % columns) * pitch + (pitch - base - spare) / 2;
        const belt = row === 0 ? x + base / 2 : x + base + (row - 1) * SLOT + SLOT / 2;
        return { id: one.id, row, x, width: base + row * SLOT, belt };
    });
    return { boxes, rows };
}

/* The broker at the left end, then the streams; what does not fit is counted. */
function shaft(streams, width, y)
{
    const left = SHAFT.broker + GAP;
    const room = Math.max(1, Math.floor((width - left) / STREAM_LEAST));
    const shown = streams.length <= room ? streams : streams.slice(0, room - 1);
    const hidden = streams.length - shown.length;
    const each = (width - left) / Math.max(shown.length + (hidden ? 1 : 0), 1);
    const segment = (i) => ({ x: left + i * each, width: each - 8 });
    return { y, height: SHAFT.height, broker: SHAFT.broker, segments: shown.map((stream, i) => ({ id: stream.id, ...segment(i) })), hidden,
             more: hidden ? segment(shown.length) : null };
}

/* layout returns {list: true} where there is no room for a diagram, else {height, boxes: [{id, x, y, width, height, side,
 * belt: {x, from, to}}], shaft: {y, height, broker (its width), segments: [{id, x, width}], hidden, more: {x, width} or null}};
 * belt.from is at the box, belt.to at the shaft. */
export function layout(width, stations, streams)
{
    const { above, below } = sides(stations);
    const top = place(above, width);
    const bottom = place(below, width);
    if (width < LIST_BELOW || !top || !bottom)
        return { list: true };
    const depth = (rows) => (rows ? rows * BOX.height + (rows - 1) * ROW_GAP + BELT : 0);
    const y = depth(top.rows);
    const shaftEnd = y + SHAFT.height;
    const boxes = [
        ...top.boxes.map((box) => {
            const boxY = y - BELT - (box.row + 1) * BOX.height - box.row * ROW_GAP;
            return { ...box, side: "above", y: boxY, height: BOX.height, belt: { x: box.belt, from: boxY + BOX.height, to: y } };
        }),
        ...bottom.boxes.map((box) => {
            const boxY = shaftEnd + BELT + box.row * (BOX.height + ROW_GAP);
            return { ...box, side: "below", y: boxY, height: BOX.height, belt: { x: box.belt, from: boxY, to: shaftEnd } };
        }),
    ];
    return { list: false, height: shaftEnd + depth(bottom.rows), boxes, shaft: shaft(streams, width, y) };
}
