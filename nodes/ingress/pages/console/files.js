/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of files: a folder's content is asked for when it is opened. */
import { download, h, icon } from "/assets/dom.js";
import { decoded, empty, problem } from "/assets/parts.js";
import { serverKey } from "/assets/settings.js";
import { size } from "/assets/words.js";

export const artifactPath = (path) => `/api/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;

/* storeKey is the key in the artifact store of a URI of MLflow's, or null where the files are elsewhere. */
export function storeKey(uri)
{
    const start = /^mlflow-artifacts:(?:\/\/[^/]*)?\/+/;
    return start.test(uri ?? "") ? decoded(uri.replace(start, "").replace(/\/$/, "")) : null;
}

/* A link sends no key: where there is one, the page fetches the file itself. */
function saver(call, href, name)
{
    return async (event) => {
        if (!serverKey())
            return;
        event.preventDefault();
        const entry = event.currentTarget;
        entry.setAttribute("aria-busy", "true");
        try {
            const response = await call(href);
            download(name, response.headers.get("content-type") ?? "application/octet-stream", await response.blob());
        } catch (error) {
            entry.after(problem(error));
        }
        entry.removeAttribute("aria-busy");
    };
}

function file(call, item)
{
    return h("li", {}, item.href
        ? h("a", { class: "file", href: item.href, download: item.name, onclick: saver(call, item.href, item.name) }, icon("save"),
            item.name)
        : h("span", { class: "file" }, item.name), h("span", { class: "hint" }, size(item.size)));
}

function folder(call, list, item)
{
    const inside = h("div", { hidden: true });
    const button = h("button", { type: "button", class: "folder", "aria-expanded": "false", onclick: () => {
        const open = inside.hidden;
        inside.hidden = !open;
        button.setAttribute("aria-expanded", String(open));
        if (open)
            fill(call, list, item.path, inside);
    } }, icon("right"), `${item.name}/`);
    return h("li", {}, button, inside);
}

async function fill(call, list, path, place)
{
    place.setAttribute("aria-busy", "true");
    try {
        const items = await list(path);
        place.replaceChildren(items.length === 0 ? empty("Nothing is in here.") : h("ul", { class: "files" },
            items.map((item) => (item.folder ? folder(call, list, item) : file(call, item)))));
    } catch (error) {
        place.replaceChildren(problem(error, () => fill(call, list, path, place)));
    }
    place.removeAttribute("aria-busy");
}

/* tree shows what list(path) tells of a folder ("" is the top): [{name, path, folder, size, href}]. `refill()` asks anew. */
export function tree(call, list)
{
    const element = h("div", { class: "tree" });
    const refill = () => fill(call, list, "", element);
    refill();
    return { element, refill };
}

/* storeFiles lists a folder of the artifact store. */
export function storeFiles(call)
{
    return async (path) => {
        const items = [];
        for (let after = ""; after !== null;) {
            const prefix = path ? `${path}/` : "";
            const query = new URLSearchParams({ prefix, max: 1000, ...after ? { after } : {} });
            const page = await (await call(`/api/artifacts?${query}`)).json();
            items.push(...page.folders.map((name) => ({ name: name.slice(prefix.length, -1), path: name.slice(0, -1), folder: true })));
            items.push(...page.objects.map((object) => ({ name: object.path.slice(prefix.length), path: object.path, size: object.size,
                                                          href: artifactPath(object.path) })));
            after = page.next ?? null;
        }
        return items;
    };
}
