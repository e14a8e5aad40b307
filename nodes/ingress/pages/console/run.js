/* SPDX-License-Identifier: Apache-2.0 */
/* The page of one run, or of several beside each other: what they are, their metrics as plots, parameters, tags, files. */
import { h, icon } from "/assets/dom.js";
import { artifactPath, storeKey, tree } from "/assets/files.js";
import { Curves } from "/assets/curves.js";
import { labels } from "/assets/mlflow.js";
import { badge, empty, facts, hash, head, link, problem, soon, when, wide } from "/assets/parts.js";
import { duration, number, time } from "/assets/words.js";

/* A file of a run as the tree wants it; those in the store have a link, those in a folder of the tracker's machine have none. */
function fileList(tracker, id)
{
    return async (path) => {
        const { root, files } = await tracker.files(id, path);
        const key = storeKey(root);
        return files.map((file) => ({ name: file.path.split("/").at(-1), path: file.path, folder: file.is_dir, size: file.file_size,
                                      href: key !== null && !file.is_dir ? artifactPath(`${key}/${file.path}`) : null }));
    };
}

class Page {
    constructor(ctx, tracker, ids)
    {
        Object.assign(this, { ctx, tracker, ids, runs: [], closed: false });
        this.heading = h("div", { class: "screen-head" });
        this.trouble = h("div");
        this.body = h("div", { class: "stack" });
        this.curves = new Curves(tracker);
        this.element = h("section", { class: "screen", "aria-busy": "true" },
            h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/runs" }, "Runs")), this.heading,
                this.trouble, this.body);
        this.reload = soon(() => this.load(), 500);
        this.unwatch = ctx.watch(["run.metric", "run.updated", "run.param", "run.tag", "run.output"], "new",
            (event) => this.onEvent(event));
        this.start();
    }

    close()
    {
        this.closed = true;
        this.unwatch();
        this.reload.stop();
        this.curves.close();
    }

    onEvent({ topic, data })
    {
        if (!this.ids.includes(data?.run_id))
            return;
        if (topic === "run.metric")
            this.curves.add(data.run_id, data.key, { step: data.step ?? 0, timestamp: data.timestamp, value: data.value });
        this.reload();
    }

    /* start draws the page; load then only brings what changes up to date. */
    async start()
    {
        await this.load();
        if (this.closed || this.runs.length === 0)
            return;
        this.body.replaceChildren(this.aboutBox = h("div"), this.curves.element, this.valuesBox = h("div"),
                                  ...this.ids.length === 1 ? [this.filesBox(this.runs[0]),
                                      this.versionsBox = h("section", { class: "sheet" })] : []);
        this.draw();
        if (this.ids.length === 1)
            this.loadVersions();
    }

    async load()
    {
        try {
            const runs = await Promise.all(this.ids.map((id) => this.tracker.run(id)));
            if (this.closed)
                return;
            this.runs = runs;
            this.names = labels(runs);
            this.trouble.replaceChildren();
            this.draw();
        } catch (error) {
            if (!this.closed)
                this.trouble.replaceChildren(problem(error, () => (this.aboutBox ? this.load() : this.start())));
        }
        this.element.removeAttribute("aria-busy");
    }

    draw()
    {
        const [run] = this.runs;
        const single = this.runs.length === 1;
        this.heading.replaceChildren(h("h1", {}, single ? run.name : `${this.runs.length} runs`), single ? badge(run.status) : "");
        if (!this.aboutBox)
            return;
        this.aboutBox.replaceChildren(single ? this.about(run) : this.table("Runs", ["State", "Start", "Duration"], (item, name) => ({
            State: badge(item.status), Start: time(item.start), Duration: this.lasted(item) }[name])));
        this.valuesBox.replaceChildren(...single ? this.lists(run) : this.comparisons());
        this.curves.setRuns(this.runs);
    }

    lasted(run)
    {
        return duration((run.end ?? (run.status === "RUNNING" ? Date.now() : null)) - run.start);
    }

    about(run)
    {
        const tag = (key) => run.tags.get(key)?.value;
        const workflow = tag("lineshaft.workflow") && tag("lineshaft.workflow_run_id");
        return facts([
            ["Start", when(run.start)],
            ["Duration", this.lasted(run)],
            ["Run id", h("code", {}, run.id)],
            ["Task", workflow && link([tag("lineshaft.workflow"), tag("lineshaft.workflow_run_id"),
                tag("lineshaft.task")].join(" / "), "workflows",
                                      tag("lineshaft.workflow"), tag("lineshaft.workflow_run_id"), tag("lineshaft.task"))],
            ["Source", tag("mlflow.source.name")],
            ["Events", h("a", { href: hash("events", ">", run.id, "last:10000") }, "what happened in it")],
        ]);
    }

    /* Tables with a column per run: names down, values across; rows that differ are marked. */
    table(title, names, value)
    {
        return h("section", { class: "sheet" }, h("h2", {}, title), wide(title, h("table", { class: "table" },
            head("", ...this.runs.map((run, i) => h("th", { scope: "col" },
                h("span", { class: `swatch tone-${i % 8}`, "aria-hidden": "true" }),
                                                    link(this.names.get(run.id), "runs", run.id)))),
            h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
                this.runs.map((run) => h("td", {}, value(run, name)))))))));
    }

    comparisons()
    {
        const keys = (which) => [...new Set(this.runs.flatMap((run) => [...run[which].keys()]))].sort();
        const differ = (key) => new Set(this.runs.map((run) => run.params.get(key)?.value)).size > 1;
        const params = keys("params");
        const mark = (run, key) => {
            const text = run.params.get(key)?.value ?? "–";
            return differ(key) ? h("strong", {}, text) : text;
        };
        return [params.length > 0 && this.table("Parameters", [...params.filter(differ), ...params.filter((key) => !differ(key))], mark),
                this.table("Last values", keys("metrics"),
                    (run, key) => (run.metrics.has(key) ? number(Number(run.metrics.get(key).value)) : "–"))]
            .filter(Boolean);
    }

    lists(run)
    {
        const rows = (title, map, value, none = null) => h("section", { class: "sheet" }, h("h2", {}, title), map.size === 0 ? empty(none)
            : facts([...map].sort(([a], [b]) => a.localeCompare(b)).map(([key, item]) => [key, value(item)])));
        const tags = new Map([...run.tags].filter(([key]) => key !== "mlflow.runName"));
        return [rows("Last values", run.metrics,
            (item) => `${number(Number(item.value))}${item.step ? ` at step ${item.step}` : ""}`, "No metrics were logged."),
                rows("Parameters", run.params, (item) => item.value, "No parameters were logged."),
                tags.size > 0 && rows("Tags", tags, (item) => item.value)].filter(Boolean);
    }

    filesBox(run)
    {
        const files = tree(this.ctx.call, fileList(this.tracker, run.id));
        return h("section", { class: "sheet" }, h("div", { class: "screen-head" }, h("h2", {}, "Files"),
            h("button", { type: "button", class: "plain small", "aria-label": "Look again", title: "Look again",
                onclick: files.refill }, icon("retry"))),
            files.element);
    }

    async loadVersions()
    {
        try {
            const versions = await this.tracker.versionsOf(this.ids[0]);
            this.versionsBox.replaceChildren(h("h2", {}, "Models made of it"),
                versions.length === 0 ? empty("No version of a model was registered from this run.")
                : h("ul", { class: "plain-list" }, versions.map((version) => h("li", {},
                    link(`${version.name} version ${version.version}`, "models", version.name),
                    (version.aliases ?? []).map((alias) => h("span", { class: "alias" }, alias))))));
        } catch (error) {
            this.versionsBox.replaceChildren(problem(error, () => this.loadVersions()));
        }
    }
}

export const runPage = (ctx, tracker, ids) => new Page(ctx, tracker, ids);
