/* SPDX-License-Identifier: Apache-2.0 */
/* The view Flow: the bus at work. Figures, the diagram with a panel for one box, and the topics as a table. */
import { newBoard } from "/assets/board.js";
import { h } from "/assets/dom.js";
import { floorOf, related, topicsOf } from "/assets/floor.js";
import { newPanel } from "/assets/panel.js";
import { hash, wide } from "/assets/parts.js";
import { perSecond, TOPICS_TOLD } from "/assets/rates.js";
import { sortedTable } from "/assets/sorted.js";
import { distance, number, size } from "/assets/words.js";

const TIP_TOPICS = 3;

/* What all streams and programs do together. */
const FIGURES = [
    ["events in", (meter) => `${perSecond(meter.rate("broker", "events_in", "total"))}/s`],
    ["delivered", (meter) => `${perSecond(meter.rate("broker", "delivered", "total"))}/s`],
    ["requests", (meter) => `${perSecond(meter.rate("broker", "requests", "total"))}/s`],
    ["sessions", (meter, snapshot) => number(snapshot.broker?.sessions ?? 0)],
    ["memory (PSS)", (meter, snapshot) => size(memoryOf(snapshot)) || "–"],
];

function memoryOf(snapshot)
{
    const all = (snapshot.supervisors ?? []).flatMap(({ processes }) => processes.map(({ pss }) => pss));
    return all.some((pss) => typeof pss === "number") ? all.reduce((sum, pss) => sum + (pss ?? 0), 0) : null;
}

function newFigures()
{
    const values = FIGURES.map(() => h("dd", {}, "–"));
    const curve = h("div", { class: "spark", role: "img", "aria-label": "Events in the last minute and a half" });
    const bars = [];
    return {
        element: h("div", { class: "figures" },
                   h("dl", {}, FIGURES.map(([name], i) => h("div", {}, h("dt", {}, name), values[i]))), curve),
        draw(meter, snapshot)
        {
            FIGURES.forEach(([, read], i) => { values[i].textContent = read(meter, snapshot); });
            const history = meter.history();
            const most = Math.max(1, ...history);
            while (bars.length < history.length)
                curve.append(bars[bars.push(h("i")) - 1]);
            history.forEach((value, i) => { bars[i].style.height = `${Math.max(value > 0 ? 6 : 2, value / most * 100)}%`; });
            curve.title = `at most ${perSecond(most)} events a second in the last ${history.length} s`;
        },
    };
}

const topicColumns = (now) => [
    { title: "Topic", key: ({ topic }) => topic,
      cell: ({ topic }, before) => before ?? h("a", { class: "mono", href: hash("events", topic), title: "Follow its events" }, topic) },
    { title: "Stream", key: ({ stream }) => stream ?? "", cell: ({ stream }) => stream ?? "none keeps it" },
    { title: "Events/s", number: true, key: ({ rate }) => rate, cell: ({ rate }) => perSecond(rate) },
    { title: "Bytes/s", number: true, key: ({ bytesRate }) => bytesRate,
      cell: ({ bytesRate }) => (bytesRate === null ? "–" : size(bytesRate)) },
    { title: "Events", number: true, key: ({ events }) => events, cell: ({ events }) => number(events) },
    { title: "Latest", number: true, key: ({ last_us }) => last_us,
      cell: ({ last_us }) => (now() - last_us / 1000 < 1500 ? "now" : distance(last_us / 1000, now())) },
];

function newTopics(ctx)
{
    const now = () => (ctx.snapshot()?.now_us ?? Date.now() * 1000) / 1000;
    const table = sortedTable({ caption: "Topics", columns: topicColumns(now), sort: [2, -1], id: ({ topic }) => topic });
    const filter = h("input", { class: "input", type: "search", placeholder: "Filter", "aria-label": "Filter the topics",
                                autocomplete: "off" });
    const count = h("span", { class: "hint" });
    let all = [];
    function show()
    {
        const wanted = all.filter(({ topic }) => topic.includes(filter.value.trim()));
        table.draw(wanted);
        const few = wanted.length < all.length ? `${number(wanted.length)} of ` : "";
        const text = all.length >= TOPICS_TOLD ? `${few}the ${number(all.length)} busiest` : number(wanted.length);
        if (count.textContent !== text)
            count.textContent = text;
    }
    filter.addEventListener("input", show);
    return {
        element: h("section", { class: "sheet topics" },
                   h("div", { class: "tools" }, h("h2", {}, "Topics"), count, h("span", { class: "push" }, filter)),
                   wide("Topics", table.element)),
        draw(snapshot, meter)
        {
            all = topicsOf(snapshot, meter, [">", "$sys.>", "$dlq.>"])
                .map((topic) => ({ ...topic, bytesRate: meter.rate("topics", topic.topic, "bytes") }));
            show();
        },
    };
}

/* The card beside a belt: which topics go over it. Without any there is none. */
function fillTip(tip, one, snapshot, meter)
{
    const lines = [["to the shaft", one.gives], ["from the shaft", one.takes]].flatMap(([way, patterns]) => {
        const moving = topicsOf(snapshot, meter, patterns).filter(({ rate }) => rate > 0);
        const shown = moving.slice(0, TIP_TOPICS).map(({ topic, rate }) =>
            h("span", { class: "mono" }, topic, h("b", {}, `${perSecond(rate)}/s`)));
        return shown.length === 0 ? []
            : [h("p", {}, way, shown, moving.length > shown.length && `and ${moving.length - shown.length} more`)];
    });
    tip.replaceChildren(...lines);
    return lines.length > 0;
}

export const view = {
    id: "flow",
    title: "Flow",
    mount(root, ctx)
    {
        const meter = ctx.rates();
        const figures = newFigures();
        const board = newBoard({ select, hover });
        const panel = newPanel(() => select(null));
        const topics = newTopics(ctx);
        const tip = h("div", { class: "tip", hidden: true });
        const title = h("h1", {}, "Flow");
        const wait = h("p", { class: "wait" }, "Waiting for the first look at the bus…");
        const stage = h("div", { class: "flow-stage", hidden: true },
            h("div", { class: "flow-main" }, h("div", { class: "flow-board" }, board.element, tip), topics.element), panel.element);
        let floor = null;
        let chosen = null;
        let hovered = null;

        function find(id)
        {
            const all = floor ? [floor.broker, ...floor.streams, ...floor.stations] : [];
            return all.find((one) => one.id === id) ?? null;
        }

        function select(id)
        {
            const before = chosen;
            chosen = id === chosen ? null : id;
            board.select(chosen);
            drawPanel();
            if (chosen !== null)
                panel.focus();
            else if (before !== null)
                board.focus(before);
        }

        function drawPanel()
        {
            const one = find(chosen);    /* a program may go while its panel is open */
            stage.classList.toggle("with-panel", one !== null);
            panel.draw(one, { snapshot: ctx.snapshot(), meter });
        }

        function hover(id)
        {
            hovered = floor?.stations.some((one) => one.id === id) ? id : null;
            board.mark(hovered ? new Set([hovered, ...related(floor.stations, find(hovered))]) : null);
            drawTip();
        }

        function drawTip()
        {
            const one = find(hovered);
            tip.hidden = !one || one.kind === "anonymous" || board.element.classList.contains("list")
                || !fillTip(tip, one, ctx.snapshot(), meter);
            if (!tip.hidden)
                board.beside(tip, hovered);
        }

        function draw()
        {
            if (!floor)
                return;
            board.draw(floor, board.element.clientWidth);
            drawPanel();
            drawTip();
        }

        root.append(h("div", { class: "sheet flow-head" }, title, figures.element), wait, stage);
        const watcher = new ResizeObserver(draw);
        watcher.observe(board.element);
        return {
            state(snapshot)
            {
                floor = floorOf(snapshot, meter);
                wait.hidden = true;
                stage.hidden = false;
                if (title.textContent !== floor.broker.name)
                    title.textContent = floor.broker.name;
                figures.draw(meter, snapshot);
                topics.draw(snapshot, meter);
                draw();
            },
            unmount: () => watcher.disconnect(),
        };
    },
};
