/* SPDX-License-Identifier: Apache-2.0 */
/* The model picker: what /v1/models offers, the choice remembered. While there is none it asks again. */
import { models } from "/assets/api.js";
import { byId, h } from "/assets/dom.js";
import { saveSettings, settings } from "/assets/settings.js";

const AGAIN_MS = 5000;

let known = [];
let wait = 0;
let again = () => {};

export const currentModel = () => known.find((model) => model.id === byId("model").value) ?? null;

export function setUpModels(refresh, changed)
{
    again = refresh;
    byId("model").addEventListener("change", () => {
        saveSettings({ model: byId("model").value });
        changed();
    });
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden)
            refresh();
    });
}

function nameOf(model)
{
    const about = [model.lineshaft?.kind, model.lineshaft?.version && `v${model.lineshaft.version.slice(0, 8)}`].filter(Boolean);
    return about.length > 0 ? `${model.id} (${about.join(", ")})` : model.id;
}

/* loadModels asks the server; on failure it shows that there is none, plans the next try, and throws what api.js threw. */
export async function loadModels()
{
    let problem = null;
    try {
        known = await models();
    } catch (error) {
        known = [];
        problem = error;
    }
    const select = byId("model");
    const wanted = settings().model;
    const none = problem?.code === "unreachable" ? "No server" : "No model is ready";
    select.replaceChildren(...known.map((model) => h("option", { value: model.id }, nameOf(model))));
    if (known.length === 0)
        select.append(h("option", { value: "" }, none));
    select.disabled = known.length === 0;
    if (known.some((model) => model.id === wanted))
        select.value = wanted;
    clearTimeout(wait);
    if (known.length === 0 && problem?.status !== 401)
        wait = setTimeout(again, AGAIN_MS);
    if (problem)
        throw problem;
}
