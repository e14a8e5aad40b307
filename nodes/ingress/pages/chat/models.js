/* SPDX-License-Identifier: Apache-2.0 */
/* The model picker: what /v1/models offers, the choice remembered. While there is none it says why, and asks again. */
import { models } from "/assets/api.js";
import { byId, copyText, h, iconButton } from "/assets/dom.js";
import { saveSettings, settings } from "/assets/settings.js";

const AGAIN_MS = 5000;
const TRAIN = "lineshaft workflow run train";

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

/* Why there is no model, and what brings one; a server that is away or wants a key is another matter. */
function drawLack(problem, waits)
{
    const lack = byId("lack");
    const words = problem ? [problem.message] : [
        h("strong", {}, "No model is ready"), `: ${waits ? `a worker says ${waits}` : "no worker on the bus has one"}. This trains one: `,
        h("span", { class: "command" }, h("code", {}, TRAIN), iconButton("copy", "Copy the command", () => copyText(TRAIN))),
        " How far it is: ", h("a", { href: "/console#/models" }, "models"), ", ", h("a", { href: "/console#/workflows" }, "workflows")];
    lack.hidden = known.length > 0 || problem?.status === 401;
    if (lack.dataset.why === `${problem?.message} ${waits}`)
        return;   /* it is not read out again */
    lack.dataset.why = `${problem?.message} ${waits}`;
    lack.replaceChildren(...words);
}

/* loadModels asks the server; on failure it shows that there is none, plans the next try, and throws what api.js threw. */
export async function loadModels()
{
    let problem = null;
    let waits = null;
    try {
        ({ list: known, waits } = await models());
    } catch (error) {
        known = [];
        problem = error;
    }
    drawLack(problem, waits);
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
