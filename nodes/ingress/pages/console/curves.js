/* SPDX-License-Identifier: Apache-2.0 */
/* The plots of some runs: one for each metric that has a line, with the choice of axes for all. Points that come live are added. */
import { h } from "/assets/dom.js";
import { labels } from "/assets/mlflow.js";
import { empty, problem, soon } from "/assets/parts.js";
import { Plot } from "/assets/plot.js";
import { line, Points, smooth } from "/assets/series.js";

const ASKED_MAX = 60;   /* metrics whose last step is 0 are asked whether they are lines, at most so many */
const DRAW_MS = 250;

const axes = { along: "step", log: false, weight: 0 };

/* One metric of all runs: its points by run, and the plot. They are fetched when the plot comes into sight. */
class Curve {
    constructor(owner, key)
    {
        Object.assign(this, { owner, key, points: new Map(), plot: new Plot(key), seen: false });
        this.trouble = h("div");
        this.element = h("div", { class: "sheet curve", "data-metric": key }, this.plot.element, this.trouble);
        this.draw = soon(() => this.drawNow(), DRAW_MS);
    }

    close()
    {
        this.draw.stop();
        this.plot.close();
    }

    add(runId, points)
    {
        if (!this.points.has(runId))
            this.points.set(runId, new Points());
        this.points.get(runId).add(points);
        if (this.seen)
            this.draw();
    }

    async fetch()
    {
        this.seen = true;
        this.trouble.replaceChildren();
        this.element.setAttribute("aria-busy", "true");
        try {
            for (const run of this.owner.runs.filter((item) => item.metrics.has(this.key) || this.points.has(item.id)))
                await this.owner.tracker.history(run.id, this.key, (points) => this.add(run.id, points));
        } catch (error) {
            this.trouble.replaceChildren(problem(error, () => this.fetch()));
        }
        this.element.removeAttribute("aria-busy");
        this.draw();
    }

    drawNow()
    {
        const runs = this.owner.runs.filter((run) => this.points.has(run.id));
        this.plot.show(runs.map((run) => {
            const { xs, ys } = line(this.points.get(run.id).list, axes.along, run.start ?? 0);
            return { name: this.owner.runs.length === 1 ? this.key : this.owner.names.get(run.id),
                tone: this.owner.runs.indexOf(run), xs, ys: smooth(ys, axes.weight) };
        }), axes);
    }
}

export class Curves {
    constructor(tracker)
    {
        Object.assign(this, { tracker, runs: [], curves: new Map(), asked: new Set(), closed: false });
        this.plots = h("div", { class: "curves" });
        this.sight = new IntersectionObserver((entries) => {
            for (const { target, isIntersecting } of entries) {
                const curve = this.curves.get(target.dataset.metric);
                if (isIntersecting && !curve.seen)
                    curve.fetch();
            }
        }, { rootMargin: "200px" });
        this.none = empty("No metric of this has more than one point yet; the last values stand below.");
        this.none.hidden = true;
        this.element = h("section", { "aria-label": "Metrics" }, this.tools(), this.none, this.plots);
    }

    close()
    {
        this.closed = true;
        this.sight.disconnect();
        this.curves.forEach((curve) => curve.close());
    }

    tools()
    {
        const change = (name, value) => {
            axes[name] = value;
            this.curves.forEach((curve) => curve.seen && curve.drawNow());
        };
        const choice = (value, text) => h("label", {}, h("input", { type: "radio", name: "along", value, checked: axes.along === value,
                                                                   onchange: () => change("along", value) }), h("span", {}, text));
        return h("div", { class: "tools" }, h("h2", {}, "Metrics"),
            h("fieldset", { class: "bare" }, h("legend", { class: "unseen" }, "Horizontal axis"),
                h("div", { class: "segments" }, choice("step", "Step"),
              choice("time", "Time"), choice("since", "Since start"))),
            h("label", { class: "check" }, h("input", { type: "checkbox", checked: axes.log,
                onchange: (event) => change("log", event.target.checked) }),
              "Logarithmic"),
            h("label", { class: "check" }, "Smooth", h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: axes.weight,
              oninput: (event) => change("weight", event.target.valueAsNumber) })),
            h("p", { class: "hint" }, "Drag in a plot to look closer, double click for all of it."));
    }

    /* setRuns takes the runs as they are now: {id, name, start, metrics}. */
    setRuns(runs)
    {
        this.runs = runs;
        this.names = labels(runs);
        const last = new Map(runs.flatMap((run) => [...run.metrics.values()].map((metric) => [metric.key, metric])));
        for (const key of [...last.keys()].sort()) {
            if (runs.some((run) => run.metrics.get(key)?.step > 0))
                this.require(key);
            else if (!this.asked.has(key) && this.asked.size < ASKED_MAX)
                this.ask(key);
        }
        this.showNone();
    }

    /* Metrics that are logged without steps look like single values: whether they are, the tracker knows. */
    async ask(key)
    {
        this.asked.add(key);
        const run = this.runs.find((item) => item.metrics.has(key));
        try {
            if (await this.tracker.hasLine(run.id, key) && !this.closed)
                this.require(key);
        } catch {
            this.asked.delete(key);  /* the next change asks again */
        }
    }

    require(key)
    {
        let curve = this.curves.get(key);
        if (!curve) {
            curve = new Curve(this, key);
            this.curves.set(key, curve);
            const after = [...this.curves.keys()].sort().find((other) => other > key && this.curves.get(other).element.isConnected);
            this.plots.insertBefore(curve.element, after === undefined ? null : this.curves.get(after).element);
            this.sight.observe(curve.element);
        }
        this.showNone();
        return curve;
    }

    showNone()
    {
        this.none.hidden = this.curves.size > 0;
    }

    add(runId, key, point)
    {
        const curve = this.curves.get(key) ?? (point.step > 0 ? this.require(key) : null);
        curve?.add(runId, [point]);
        if (!curve)
            this.asked.delete(key);
    }
}
