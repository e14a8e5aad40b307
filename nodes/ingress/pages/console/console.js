/* SPDX-License-Identifier: Apache-2.0 */
/* The console's shell: which view is shown, the one live connection, and what the views are given. */
import { fromMlflow } from "/assets/address.js";
import { ask, setUpDialog } from "/assets/ask.js";
import { byId, h, notify } from "/assets/dom.js";
import { isUp } from "/assets/floor.js";
import { view as flow } from "/assets/flow.js";
import * as http from "/assets/http.js";
import { decoded, empty, hash } from "/assets/parts.js";
import { newMeter } from "/assets/rates.js";
import { view as models } from "/assets/registry.js";
import { view as runs } from "/assets/runs.js";
import { saveServerKey, serverKey } from "/assets/settings.js";
import { openStream } from "/assets/stream.js";
import { view as events } from "/assets/tail.js";
import { setUpTheme } from "/assets/theme.js";
import { view as workflows } from "/assets/workflows.js";

/* A view is {id, title, mount(root, ctx)}; mount builds into root and returns {state(snapshot), path(parts), unmount()}, each
 * optional. `#/ID/PART/PART` shows the view ID; the parts are its own. All are loaded at once: one that came later might be of
 * another version of the server. */
const VIEWS = [flow, events, runs, workflows, models];
const LINK_TEXTS = { connecting: "Connecting…", open: "Live", away: "The bus is away", lost: "Connection lost, trying again",
                     refused: "A key is wanted" };
const HIDDEN_MS = 20000;   /* a browser has six connections for a server: a tab that nobody looks at for so long gives its back */

const page = {
    snapshot: null,
    meter: newMeter(),
    shown: null,     /* one of VIEWS */
    mounted: null,   /* what its mount returned */
};

/* call is http.call that asks for a key when the server wants one, or another, and goes on with it. */
async function call(path, options = {})
{
    for (;;) {
        const key = serverKey();
        try {
            return await http.call(path, options);
        } catch (error) {
            if (error.status !== 401 || (serverKey() === key && !await askForKey()))
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
        snapshot.supervisors = (snapshot.supervisors ?? []).filter(isUp);
        page.snapshot = snapshot;
        page.meter.add(snapshot);
        page.mounted?.state?.(snapshot);
    },
    onLink: drawLink,
});

/* While nothing comes no rate is known: nothing on the page moves as if it were live. */
function drawLink(state, text = "")
{
    const root = document.documentElement;
    byId("link").title = text;
    if (root.dataset.link === state)
        return;
    root.dataset.link = state;
    byId("link").dataset.state = state;
    byId("link").textContent = LINK_TEXTS[state];
    byId("key").hidden = state !== "refused";
    if (state !== "open" && page.snapshot) {
        page.meter.clear();
        page.mounted?.state?.(page.snapshot);
    }
}

const ctx = {
    call,
    go(hash) { location.hash = hash; },
    snapshot: () => page.snapshot,
    rates: () => page.meter,      /* of rates.js */
    notify,
    watch: stream.watch,          /* of stream.js */
};

/* What is shown at an address that no view has. */
const nowhere = {
    id: "nowhere", title: "No such view",
    mount: (root) => ({
        path: () => root.replaceChildren(empty(`There is no view “${decoded(location.hash)}”. The views stand above, as tabs.`)),
    }),
};

function route()
{
    const address = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    const ours = fromMlflow(address);
    if (ours) {
        location.replace(hash(...ours));
        return;
    }
    const [id, ...parts] = address;
    const view = id === "" ? VIEWS[0] : VIEWS.find((one) => one.id === id) ?? nowhere;
    if (view !== page.shown)
        show(view);
    page.mounted.path?.(parts);
}

function show(view)
{
    page.mounted?.unmount?.();
    page.shown = view;
    document.title = `${view.title} · lineshaft`;
    for (const tab of byId("tabs").children) {
        if (tab.dataset.view === view.id)
            tab.setAttribute("aria-current", "page");
        else
            tab.removeAttribute("aria-current");
    }
    const root = h("div", { class: `view-${view.id}` });
    byId("view").replaceChildren(root);
    page.mounted = view.mount(root, ctx);
    if (page.snapshot)
        page.mounted.state?.(page.snapshot);
}

/* The connection is given back when the page has been hidden for a while, and taken again when it is looked at. */
function watchVisibility()
{
    let timer = 0;
    let closed = false;
    document.addEventListener("visibilitychange", () => {
        clearTimeout(timer);
        if (document.hidden) {
            timer = setTimeout(() => {
                closed = true;
                stream.close();
            }, HIDDEN_MS);
        } else if (closed) {
            closed = false;
            stream.reconnect();
        }
    });
}

function start()
{
    setUpTheme(byId("theme"));
    setUpDialog(byId("ask"));
    byId("tabs").append(...VIEWS.map(({ id, title }) => h("a", { href: `#/${id}`, "data-view": id }, title)));
    byId("key").addEventListener("click", async () => {
        if (await askForKey())
            location.reload();   /* what the view asked for was refused as well */
    });
    document.querySelector(".skip").addEventListener("click", (event) => {
        event.preventDefault();  /* its address would be taken for a view's */
        byId("view").focus();
    });
    window.addEventListener("hashchange", route);
    watchVisibility();
    route();
    document.documentElement.dataset.ready = "true";
}

start();
