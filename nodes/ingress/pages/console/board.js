/* SPDX-License-Identifier: Apache-2.0 */
/* The diagram: the shaft with its streams, a box for each station, and belts between, as layout.js says. Elements live as long as
 * what they show, so that focus and motion survive the next state. */
import { h, icon, svg } from "/assets/dom.js";
import { ICONS } from "/assets/icons.js";
import { layout } from "/assets/layout.js";
import { perSecond } from "/assets/rates.js";
import { duration, number, size } from "/assets/words.js";

const DASH = 11;               /* length of a belt's pattern, as in flow.css */
const PIXELS_PER_SECOND = 22;  /* of a belt at playback rate 1 */
const STATES = { running: "running", here: "connected", waiting: "restarting", ending: "stopping", ended: "ended",
                 absent: "unattended" };
const TONES = { waiting: "bad", ended: "bad", absent: "busy", ending: "busy" };
const KINDS = { guest: "program", consumer: "consumer of a program", anonymous: "bare sockets, short visits" };
const LATE_MS = 30000;         /* a consumer this far behind is marked */

const still = window.matchMedia("(prefers-reduced-motion: reduce)");

function setText(element, text)
{
    if (element.textContent !== text)
        element.textContent = text;
}

/* keyed keeps one element for each id; `make` builds one that is new, those that are gone are removed. */
function keyed(parent, elements, ids, make)
{
    for (const [id, element] of elements) {
        if (!ids.includes(id)) {
            element.remove();
            elements.delete(id);
        }
    }
    ids.forEach((id) => {
        if (!elements.has(id)) {
            elements.set(id, make(id));
            parent.append(elements.get(id));
        }
    });
}

/* Boxes */

export const iconOf = (kind) => icon(ICONS[kind] ? kind : "exec");

function makeBox(kind, onclick)
{
    const part = (name) => h("span", { class: name });
    return h("button", { type: "button", class: "station", "data-kind": kind, "aria-expanded": "false", onclick },
             h("span", { class: "station-head" }, iconOf(kind), part("station-name"), part("station-state")),
             part("station-kind"), part("station-rates"), part("station-costs"));
}

/* What a box writes of its work: [word, rate] for what it can do, or does. */
function worksOf(one)
{
    const { published, delivered, requests, served } = one.rates;
    return [["gives", published, one.gives.length], ["takes", delivered, one.takes.length],
            ["asks", requests, one.asks.length], ["serves", served, one.serves.length]]
        .filter(([, rate, can]) => can || rate);
}

export const percent = (share) => `${share >= 0.0995 ? Math.round(share * 100) : Number((share * 100).toFixed(1))} %`;

function costsOf(one)
{
    const costs = [one.share === null ? null : `CPU ${percent(one.share)}`, one.pss === null ? null : size(one.pss),
                   one.restarts ? `↻ ${one.restarts}` : null].filter(Boolean);
    if (costs.length === 0 && one.sessions.length)
        return `${number(one.sessions.length)} session${one.sessions.length > 1 ? "s" : ""}`;
    return costs.join(" · ");
}

const lagOf = (one) => `lag ${number(one.lag)}${one.oldest_ms ? ` · ${duration(one.oldest_ms)}` : ""}`;
const toneOf = (one) => TONES[one.state] ?? (one.oldest_ms > LATE_MS ? "busy" : "good");

function fillBox(box, one)
{
    const find = (name) => box.querySelector(`.station-${name}`);
    box.dataset.tone = toneOf(one);
    box.title = one.name;
    setText(find("name"), one.name);
    setText(find("state"), STATES[one.state] ?? one.state);
    find("state").classList.toggle("calm", one.state === "running" || one.state === "here");
    setText(find("kind"), `${KINDS[one.kind] ?? one.kind}${one.replicas > 1 ? ` × ${one.replicas}` : ""}`);
    find("rates").replaceChildren(...worksOf(one).map(([word, rate]) =>
        h("span", { class: rate === 0 ? "station-rate idle" : "station-rate" }, h("span", { class: "word" }, word), " ",
          h("b", {}, perSecond(rate)), "/s")));
    const behind = one.lag > 0 && (one.oldest_ms > 1000 || one.lag > 100);
    find("costs").classList.toggle("late", one.oldest_ms > LATE_MS);
    setText(find("costs"), behind ? lagOf(one) : costsOf(one));
}

function fillStream(box, stream)
{
    const healthy = stream.health === "healthy";
    box.dataset.tone = healthy ? "good" : "bad";
    const disk = `${size(stream.bytes)} on disk`;
    box.title = `${stream.name}: ${stream.topics.join(", ")}\n${disk}`;
    setText(box.querySelector(".station-name"), stream.name);
    setText(box.querySelector(".station-state"), healthy ? "" : stream.health);
    setText(box.querySelector(".station-rates"), `${perSecond(stream.rate)}/s`);
    const few = (stream.segments ?? 1) <= 1;   /* a segment has its place on the disk before its events come */
    setText(box.querySelector(".station-kind"), `${number(stream.events)} event${stream.events === 1 ? "" : "s"}${few ? "" : ` · ${disk}`}`);
}

function fillBroker(box, broker)
{
    box.dataset.tone = "good";
    setText(box.querySelector(".station-name"), broker.name);
    setText(box.querySelector(".station-kind"), "broker");
    setText(box.querySelector(".station-costs"), broker.broker ? costsOf({ ...broker.broker, sessions: [] })
        : `${number(broker.info?.sessions ?? 0)} sessions`);
}

function put(element, { x, y, width, height })
{
    element.style.transform = `translate(${x}px, ${y}px)`;
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
}

/* Belts */

/* A strand's pattern moves along its path; speed and breadth follow the rate, and without one it stands. */
function setMotion(line, rate)
{
    const moving = rate > 0 && !still.matches;
    line.style.strokeWidth = `${1.75 + Math.min(3.5, Math.log10(1 + (rate ?? 0)) * 1.2)}px`;
    line.classList.toggle("moving", rate > 0);
    if (moving && !line.motion)
        line.motion = line.animate([{ strokeDashoffset: DASH }, { strokeDashoffset: 0 }],
                                   { duration: DASH / PIXELS_PER_SECOND * 1000, iterations: Infinity });
    if (line.motion && !moving) {
        line.motion.cancel();
        line.motion = null;
    }
    line.motion?.updatePlaybackRate(Math.min(6, 0.6 + Math.log10(1 + rate) * 1.5));
}

function makeBelt(id, hover)
{
    const group = svg("g", { class: "belt" });
    group.dataset.id = id;
    group.append(svg("rect", { class: "belt-room", width: 34 }),
                 ...["gives", "takes", "asks"].map((name) => svg("path", { class: `strand ${name}` })),
                 svg("circle", { class: "pulley", r: 8 }), svg("circle", { class: "hub", r: 2.5 }),
                 svg("circle", { class: "pulley", r: 6 }), svg("circle", { class: "hub", r: 2 }));
    group.addEventListener("pointerenter", () => hover(id));
    group.addEventListener("pointerleave", () => hover(null));
    return group;
}

function fillBelt(group, one, { belt })
{
    const [room, gives, takes, asks, shaftPulley, shaftHub, boxPulley, boxHub] = group.children;
    const { x } = belt;
    const inward = Math.sign(belt.to - belt.from);
    const [from, to] = [belt.from + inward * 9, belt.to - inward * 9];  /* the pulleys hang between box and shaft */
    const line = (at, start, end) => `M${at} ${start}L${at} ${end}`;
    room.setAttribute("x", x - 17);
    room.setAttribute("y", Math.min(belt.from, belt.to));
    room.setAttribute("height", Math.abs(belt.to - belt.from));
    gives.setAttribute("d", line(x - 6, from, to));
    takes.setAttribute("d", line(x + 6, to, from));
    const serves = (one.rates.served ?? 0) > (one.rates.requests ?? 0);
    asks.setAttribute("d", serves ? line(x + 13, to, from) : line(x + 13, from, to));
    for (const [circle, y] of [[shaftPulley, to], [shaftHub, to], [boxPulley, from], [boxHub, from]]) {
        circle.setAttribute("cx", x);
        circle.setAttribute("cy", y);
    }
    const shown = (element, can, rate) => {
        const there = Boolean(can || rate);
        element.toggleAttribute("hidden", !there);
        setMotion(element, rate);
        return there;
    };
    const strands = [shown(gives, one.gives.length, one.rates.published), shown(takes, one.takes.length, one.rates.delivered),
                     shown(asks, one.asks.length + one.serves.length, (one.rates.requests ?? 0) + (one.rates.served ?? 0))];
    group.toggleAttribute("hidden", !strands.includes(true));
}

/* newBoard({select(id), hover(id or null)}) returns {element, draw(floor, width), select(id), mark(ids)}. */
export function newBoard({ select, hover })
{
    const drawing = svg("svg", { class: "belts", "aria-hidden": "true" });
    const shaft = svg("rect", { class: "shaft", width: "100%", rx: 10 });
    const belts = svg("g");
    drawing.append(shaft, belts);
    const more = h("span", { class: "stream-more" });
    const element = h("div", { class: "board", role: "group", "aria-label": "Nodes, programs and streams" }, drawing, more);
    const boxes = new Map();
    const groups = new Map();
    let plan = null;

    function make(id, kind)
    {
        const box = makeBox(kind, () => select(id));
        box.dataset.id = id;
        for (const [type, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]])
            box.addEventListener(type, () => hover(on ? id : null));
        return box;
    }

    function drawShaft({ y, height, broker, segments, hidden, more: rest })
    {
        const inner = { y: y + 9, height: height - 18 };
        shaft.setAttribute("y", y + 4);
        shaft.setAttribute("height", height - 8);
        put(boxes.get("broker"), { x: 0, y, width: broker, height });
        for (const segment of segments)
            put(boxes.get(segment.id), { ...segment, ...inner });
        more.hidden = hidden === 0;
        more.textContent = `+ ${hidden} streams`;
        if (rest)
            put(more, { ...rest, ...inner });
    }

    function draw(floor, width)
    {
        plan = layout(width, floor.stations, floor.streams);
        const inShaft = ({ id }) => plan.shaft.segments.some((segment) => segment.id === id);
        const shown = plan.list ? floor.streams : floor.streams.filter(inShaft);
        const kinds = new Map([["broker", "broker"], ...shown.map(({ id }) => [id, "stream"]),
                               ...floor.stations.map((one) => [one.id, one.kind])]);
        element.classList.toggle("list", plan.list);
        element.style.height = plan.list ? "" : `${plan.height}px`;
        keyed(element, boxes, [...kinds.keys()], (id) => make(id, kinds.get(id)));
        keyed(belts, groups, plan.list ? [] : floor.stations.map(({ id }) => id), (id) => makeBelt(id, hover));
        fillBroker(boxes.get("broker"), floor.broker);
        shown.forEach((stream) => fillStream(boxes.get(stream.id), stream));
        floor.stations.forEach((one) => fillBox(boxes.get(one.id), one));
        if (plan.list)
            return;
        const stations = new Map(floor.stations.map((one) => [one.id, one]));
        for (const box of plan.boxes) {
            put(boxes.get(box.id), box);
            fillBelt(groups.get(box.id), stations.get(box.id), box);
        }
        drawShaft(plan.shaft);
    }

    return {
        element, draw,
        select(chosen)
        {
            for (const [id, box] of boxes)
                box.setAttribute("aria-expanded", String(id === chosen));
        },
        focus: (id) => boxes.get(id)?.focus(),
        /* beside puts an element of the board's own frame next to a box's belt, over the shaft */
        beside(tip, id)
        {
            const box = plan.boxes.find((one) => one.id === id);
            const { y, height } = plan.shaft;
            const x = Math.min(box.belt.x + 24, element.clientWidth - tip.offsetWidth - 4);
            tip.style.transform = `translate(${x}px, ${box.side === "above" ? y - 44 : y + height + 44 - tip.offsetHeight}px)`;
        },
        /* mark brings out these stations, and dims the others; null: all are alike */
        mark(ids)
        {
            element.classList.toggle("marking", ids !== null);
            for (const [id, one] of [...boxes, ...groups])
                one.classList.toggle("marked", ids?.has(id) ?? false);
        },
    };
}
