/* SPDX-License-Identifier: Apache-2.0 */
/* Moving an alias of a model to another version: the question, and the move as it happens at each worker. */
import { h, icon } from "/assets/dom.js";
import { sheet } from "/assets/parts.js";
import { arrived, workersOf } from "/assets/serving.js";
import { duration } from "/assets/words.js";

export const DEFAULT_ALIAS = "champion";
const LATE_MS = 15000;

const place = (model, alias) => (model.aliases ?? []).find((item) => item.alias === alias)?.version ?? null;

/* What will happen, before it does. */
function foretold(model, alias, version, workers)
{
    if (!alias)
        return "Name an alias.";
    const now = place(model, alias);
    if (now === version)
        return `${alias} is at version ${version} already.`;
    const move = now === null ? `${alias} is set to version ${version}; there is no such alias yet.`
        : `${alias} moves from version ${now} to version ${version}.`;
    const then = workers.length === 0 ? "No worker serves this model now."
        : `Workers that follow models:/${model.name}@${alias} load it and go over to it; answers under way end with the version ` +
          `they began with. Now it is served by ${workers.map((worker) => worker.member).join(", ")}.`;
    return `${move} ${then}`;
}

/* askAlias asks which alias is to be moved to `version` (its number), and moves it: {alias, version, previous}, or null. The registry
 * is asked before, and again at the end: what was foretold must be what happens. */
export async function askAlias(tracker, name, version, workers)
{
    let model = await tracker.model(name);
    const told = h("p", { role: "status" });
    const field = h("input", { class: "input", id: "alias", list: "aliases", value: DEFAULT_ALIAS, required: true,
                               autocomplete: "off", maxlength: 255, oninput: () => tell() });
    const tell = () => { told.textContent = foretold(model, field.value.trim(), version, workers); };
    const known = [...new Set([DEFAULT_ALIAS, ...(model.aliases ?? []).map((item) => item.alias)])];
    tell();
    return sheet({
        title: `Promote version ${version} of ${name}`, yes: "Move the alias",
        content: [h("div", { class: "field" }, h("label", { for: "alias" }, "Alias"), field,
                    h("datalist", { id: "aliases" }, known.map((alias) => h("option", { value: alias })))), told],
        async submit()
        {
            const alias = field.value.trim();
            const expected = place(model, alias);
            model = await tracker.model(name);
            const previous = place(model, alias);
            tell();
            if (previous !== expected)
                throw new Error(`${alias} was moved meanwhile. Look again at what will happen now.`);
            if (previous === version)
                throw new Error(`${alias} is at version ${version} already.`);
            await tracker.setAlias(name, alias, version);
            return { alias, version, previous };
        },
    });
}

/* dropAlias asks whether an alias is to be removed, and removes it. */
export async function dropAlias(tracker, name, alias, version, changed)
{
    const done = await sheet({
        title: `Remove the alias ${alias}?`, yes: "Remove it", danger: true,
        content: [h("p", {}, `${alias} of ${name} points at version ${version} now. ` +
            "Workers that follow it keep what they serve, and find nothing when they start anew.")],
        submit: async () => { await tracker.deleteAlias(name, alias); return true; },
    });
    if (done)
        changed();
}

/* A Move shows how the workers go over to the version; `on` has back() and dismiss(). */
export class Move {
    constructor(name, { alias, version, previous }, workers, on)
    {
        Object.assign(this, { name, alias, version, workers, loaded: new Map(), late: false });
        this.list = h("ul", { class: "plain-list", "aria-live": "polite" });
        const back = previous === null ? `Remove ${alias} again` : `Back to version ${previous}`;
        this.element = h("section", { class: "sheet move", "aria-label": "The move of an alias" },
            h("div", { class: "screen-head" }, h("h2", {}, `${alias}: version ${version}`),
              h("button", { type: "button", class: "button", onclick: on.back }, icon("retry"), back),
              h("button", { type: "button", class: "plain small", "aria-label": "Close", title: "Close", onclick: on.dismiss },
                  icon("close"))), this.list);
        setTimeout(() => { this.late = true; this.draw(); }, LATE_MS);
        this.draw();
    }

    onEvent({ topic, data })
    {
        if (topic === "model.loaded" && String(data.version) === this.version) {
            this.loaded.set(data.worker, data.duration_ms ?? null);
            this.draw();
        }
    }

    draw()
    {
        const workers = arrived(this.workers, this.loaded, this.version);
        const line = ({ member, there, ms }) => h("li", { "data-worker": member, "data-there": String(there) },
            h("span", { class: `state ${there ? "is-good" : "is-busy"}` },
                h("span", { class: "state-mark", "aria-hidden": "true" }, there ? "✓" : "▸"),
              `${member} `), there ? `serves version ${this.version}${ms === null ? "" : `, loaded in ${duration(ms)}`}`
                : this.late ? "has not loaded it: perhaps it follows another alias; its log says more" : "is loading it …");
        const now = JSON.stringify([workers, this.late]);
        if (now === this.drawn)
            return;
        this.drawn = now;
        this.list.replaceChildren(h("li", {}, h("span", { class: "state is-good" },
            h("span", { class: "state-mark", "aria-hidden": "true" }, "✓"), "registry "),
            `${this.alias} points at version ${this.version}`), ...workers.map(line),
            ...workers.length === 0 ? [h("li", { class: "hint" },
                "No worker serves this model; one that starts will take this version.")] : []);
    }

    /* What the bus tells of the workers counts as well: one that had the version already does not load it. */
    state(snapshot)
    {
        this.workers = workersOf(snapshot, this.name);
        this.draw();
    }
}
