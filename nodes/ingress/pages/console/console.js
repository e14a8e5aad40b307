/* SPDX-License-Identifier: Apache-2.0 */
/* The console's shell: which view is shown, the one live connection, and what the views are given. */
import { ask, setUpDialog } from "/assets/ask.js";
import { byId, h, notify } from "/assets/dom.js";
import * as http from "/assets/http.js";
import { newMeter } from "/assets/rates.js";
import { saveServerKey, serverKey } from "/assets/settings.js";
import { openStream } from "/assets/stream.js";
import { setUpTheme } from "/assets/theme.js";

/* A view's module exports view = {mount(root, ctx)}; mount builds into root and returns {state(snapshot), path(parts), unmount()},
 * each optional. `#/ID/PART/PART` shows the view ID; the parts are its own. */
const VIEWS = [
    { id: "flow", title: "Flow", module: "/assets/flow.js" },
    { id: "events", title: "Events", module: "/assets/tail.js" },
    { id: "runs", title: "Runs", module: "/assets/runs.js" },
    { id: "workflows", title: "Workflows", module: "/assets/workflows.js" },
    { id: "models", title: "Models", module: "/assets/registry.js" },
];
const LINK_TEXTS = { connecting: "Connecting…", open: "Live", away: "The bus is away", lost: "Connection lost, trying again",
                     refused: "A key is wanted" };

const page = {
    snapshot: null,
    meter: newMeter(),
    shown: null,     /* the entry of VIEWS */
    mounted: null,   /* what its mount returned; null while it loads */
};

/* call is http.call that asks for a key when the server wants one, and goes on with it. */
async function call(path, options = {})
{
    for (;;) {
        try {
            return await http.call(path, options);
        } catch (error) {
            if (error.status !== 401 || !await askForKey())
                throw error;
        }
    }
}

/* One question at a time, whoever met the refusal; true if there is another key now. */
let asking = null;
function askForKey()
{
    asking ??= ask({ title: serverKey() ? "This key is not valid" : "This server wants a key", label: "Key", yes: "Go on",
                     type: "password" })
        .then((key) => {
            asking = null;
            if (key)
                saveServerKey(key);
            return Boolean(key);
        });
    return asking;
}

const stream = openStream({
    call,
    onState(snapshot)
    {
        page.snapshot = snapshot;
        page.meter.add(snapshot);
        page.mounted?.state?.(snapshot);
    },
    onLink: drawLink,
});

function drawLink(state, text = "")
{
    const link = byId("link");
    link.dataset.state = state;
    link.title = text;
    if (link.textContent !== LINK_TEXTS[state])
        link.textContent = LINK_TEXTS[state];
    byId("key").hidden = state !== "refused";
}

const ctx = {
    call,
    go(hash) { location.hash = hash; },
    snapshot: () => page.snapshot,
    rates: () => page.meter,      /* of rates.js */
    notify,
    watch: stream.watch,          /* of stream.js */
};

function decoded(part)
{
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

async function route()
{
    const [id, ...parts] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    const entry = VIEWS.find((view) => view.id === id) ?? VIEWS[0];
    if (entry !== page.shown)
        await show(entry);
    if (entry === page.shown)
        page.mounted?.path?.(parts);
}

/* show leaves the view that is there; a view that is asked for while this one loads wins. */
async function show(entry)
{
    page.mounted?.unmount?.();
    page.mounted = null;
    page.shown = entry;
    document.title = `${entry.title} · lineshaft`;
    for (const tab of byId("tabs").children) {
        if (tab.dataset.view === entry.id)
            tab.setAttribute("aria-current", "page");
        else
            tab.removeAttribute("aria-current");
    }
    const root = h("div", { class: `view-${entry.id}` });
    try {
        const { view } = await import(entry.module);
        if (page.shown !== entry)
            return;
        byId("view").replaceChildren(root);
        page.mounted = await view.mount(root, ctx) ?? {};
        if (page.snapshot)
            page.mounted.state?.(page.snapshot);
    } catch (error) {
        if (page.shown === entry)
            byId("view").replaceChildren(h("p", { class: "fault", role: "alert" },
                                           `This view could not be opened: ${error.message}. Reload the page to try again.`));
    }
}

function start()
{
    setUpTheme(byId("theme"));
    setUpDialog(byId("ask"));
    byId("tabs").append(...VIEWS.map(({ id, title }) => h("a", { href: `#/${id}`, "data-view": id }, title)));
    byId("key").addEventListener("click", async () => {
        if (await askForKey())
            stream.reconnect();
    });
    document.querySelector(".skip").addEventListener("click", (event) => {
        event.preventDefault();  /* its address would be taken for a view's */
        byId("view").focus();
    });
    window.addEventListener("hashchange", route);
    route().then(() => { document.documentElement.dataset.ready = "true"; });
}

start();
