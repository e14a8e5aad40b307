/* SPDX-License-Identifier: Apache-2.0 */
/* A plot of one metric of one or several runs, drawn by uPlot: drag to look closer, double click for all of it. */
import uPlot from "/assets/uPlot.esm.js";
import { h } from "/assets/dom.js";
import { told, thin, within } from "/assets/series.js";
import { number, pad } from "/assets/words.js";

const HEIGHT = 220;
const TONES = 8;
const LINES_FULL = 8;   /* so many lines have all points that can be seen; of more each has fewer, for uPlot's table has them all */
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];

/* clock writes a time of an axis whose marks are `step` seconds apart. */
function clock(seconds, step)
{
    const date = new Date(seconds * 1000);
    if (step >= 86400)
        return `${date.getMonth() + 1}-${pad(date.getDate())}`;
    const short = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
    return step >= 60 ? short : `${short}:${pad(date.getSeconds())}${step < 1 ? `.${Math.floor(date.getMilliseconds() / 100)}` : ""}`;
}

export class Plot {
    constructor(title)
    {
        this.area = h("div", { class: "plot-area" });
        this.words = h("p", { class: "unseen" });
        this.ink = h("span", { class: "plot-ink", hidden: true });
        this.grid = h("span", { class: "plot-grid", hidden: true });
        this.tones = Array.from({ length: TONES }, (_, i) => h("span", { class: `tone-${i}`, hidden: true }));
        this.element = h("figure", { class: "plot" }, h("figcaption", {}, title), this.area, this.words, this.ink, this.grid, this.tones);
        this.lines = [];
        this.along = "step";
        this.log = false;
        this.chart = null;
        this.drawn = null;         /* [min, max] of x for which the data were thinned */
        this.observer = new ResizeObserver(() => this.chart?.setSize({ width: this.width(), height: HEIGHT }));
        this.observer.observe(this.area);
        this.repaint = () => this.build();
        this.scheme = matchMedia("(prefers-color-scheme: dark)");
        this.scheme.addEventListener("change", this.repaint);
        this.themes = new MutationObserver(this.repaint);
        this.themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    }

    close()
    {
        this.observer.disconnect();
        this.themes.disconnect();
        this.scheme.removeEventListener("change", this.repaint);
        this.chart?.destroy();
        this.chart = null;
    }

    width()
    {
        return Math.max(200, this.area.clientWidth);
    }

    colour(probe)
    {
        return getComputedStyle(probe).color;
    }

    /* show draws lines [{name, tone, xs, ys}] along "step", "time" or "since". What was zoomed in stays so. */
    show(lines, { along, log })
    {
        const same = this.chart && along === this.along && log === this.log && lines.length === this.lines.length &&
            lines.every((line, i) => line.name === this.lines[i].name);
        Object.assign(this, { lines, along, log });
        this.words.textContent = lines.map((line) => told(line.name, line, number)).join(". ");
        if (!same)
            this.build();
        else
            this.refresh();
    }

    /* The data for uPlot between two x (null: all), as many points as can be seen. */
    data(range)
    {
        const buckets = Math.max(32, Math.floor(this.width() * LINES_FULL / Math.max(LINES_FULL, this.lines.length)));
        const tables = this.lines.map((line) => {
            const { xs, ys } = thin(range ? within(line, ...range) : line, buckets);
            return [xs, this.log ? ys.map((y) => (y > 0 ? y : null)) : ys];
        });
        return tables.length > 0 ? uPlot.join(tables) : [[]];
    }

    zoomed()
    {
        const { min, max } = this.chart.scales.x;
        const [first, last] = this.extent();
        return min > first || max < last ? [min, max] : null;
    }

    extent()
    {
        const filled = this.lines.filter((line) => line.xs.length > 0);
        return [Math.min(...filled.map((line) => line.xs[0])), Math.max(...filled.map((line) => line.xs.at(-1)))];
    }

    refresh()
    {
        const range = this.drawn;
        this.chart.setData(this.data(range), range === null);
        this.tellLast(this.chart);
    }

    /* Where no pointer is the legend tells the last point. */
    tellLast(chart)
    {
        if (chart.cursor.idx === null || chart.cursor.idx === undefined)
            chart.setLegend({ idxs: chart.data.map((column) => column.findLastIndex((value) => Number.isFinite(value))) }, false);
    }

    /* Another part is looked at: its lines are thinned anew, for what was left out before may be seen now. */
    onScale(key)
    {
        if (key !== "x" || !this.chart)
            return;
        const range = this.zoomed();
        if (String(range) === String(this.drawn))
            return;
        this.drawn = range;
        queueMicrotask(() => this.chart?.setData(this.data(range), range === null));
    }

    build()
    {
        this.chart?.destroy();
        this.drawn = null;
        this.chart = new uPlot(this.options(), this.data(null), this.area);
        this.tellLast(this.chart);
    }

    options()
    {
        const axis = { stroke: () => this.colour(this.ink), font: "12px system-ui, sans-serif", ticks: { show: false },
                       grid: { stroke: () => this.colour(this.grid), width: 1 } };
        const xValue = this.along === "time" ? (x) => clock(x, 0.1) : this.along === "since" ? (x) => `${number(x)} s` : number;
        return {
            width: this.width(), height: HEIGHT,
            cursor: { drag: { x: true, y: false, dist: 8 }, sync: { key: this.along, setSeries: false }, points: { size: 7 } },
            scales: { x: { time: false }, y: { distr: this.log ? 3 : 1 } },
            axes: [{ ...axis, space: 60, size: 28, values: (_, marks, __, ___, step) => marks.map((x) =>
                         (this.along === "time" ? clock(x, step) : this.along === "since" ? `${number(x)} s` : number(x))) },
                   { ...axis, size: 64, values: (_, marks) => marks.map((y) => (y === null ? "" : number(y))) }],
            series: [{ label: { step: "step", time: "time", since: "since start" }[this.along],
                       value: (_, x) => (x === null ? "–" : xValue(x)) },
                     ...this.lines.map((line) => this.series(line))],
            hooks: { setScale: [(_, key) => this.onScale(key)], setCursor: [(chart) => this.tellLast(chart)] },
        };
    }

    series(line)
    {
        const colour = this.colour(this.tones[line.tone % TONES]);
        const few = line.xs.length <= 50;
        return { label: line.name, stroke: colour, width: 1.75, dash: DASHES[line.tone % DASHES.length],
                 points: { show: few, size: 5, stroke: colour, fill: colour },
                 value: (_, y) => (y === null || y === undefined ? "–" : number(y)) };
    }
}
