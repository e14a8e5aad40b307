/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers to build elements. No function here takes HTML: text stays text. */
import { ICONS } from "/assets/icons.js";

const SVG = "http://www.w3.org/2000/svg";

/* h makes an element: `on…` are listeners, other properties attributes (null and false leave one out, true is empty). */
export function h(name, properties = {}, ...children)
{
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
        if (key.startsWith("on"))
            element.addEventListener(key.slice(2), value);
        else if (value !== null && value !== undefined && value !== false)
            element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

/* svg makes an element of a drawing. */
export function svg(name, attributes = {}, ...children)
{
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes))
        element.setAttribute(key, value);
    element.append(...children);
    return element;
}

export function icon(name)
{
    return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, ...ICONS[name].map((d) => svg("path", { d })));
}

/* iconButton is a button whose label is read and shown as a tooltip, but not drawn. */
export function iconButton(name, label, onclick, properties = {})
{
    return h("button", { type: "button", class: "plain small", "aria-label": label, title: label, onclick, ...properties },
             icon(name));
}

export const byId = (id) => document.getElementById(id);

/* notify shows one line for a moment and has it read out. */
let noticeTimer = 0;
export function notify(text)
{
    const notice = byId("notice");
    notice.textContent = text;
    notice.classList.add("shown");
    clearTimeout(noticeTimer);
    noticeTimer = setTimeout(() => notice.classList.remove("shown"), 3500);
}

export async function copyText(text)
{
    try {
        await navigator.clipboard.writeText(text);
    } catch {
        copyBySelection(text);  /* plain http off loopback has no clipboard interface */
    }
    notify("Copied");
}

function copyBySelection(text)
{
    const focused = document.activeElement;
    const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus();
}

export function download(name, type, text)
{
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = h("a", { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}
