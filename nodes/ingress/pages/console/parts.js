/* SPDX-License-Identifier: Apache-2.0 */
/* Parts that the views of runs, workflows and models share: states, errors, empty places, tables of facts, sheets. */
import { setUpDialog } from "/assets/ask.js";
import { copyText, h, icon, iconButton } from "/assets/dom.js";
import { distance, sign, time } from "/assets/words.js";

export const hash = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
/* decoded is a part of an address in plain; what is not encoded stays as it is. */
export function decoded(part)
{
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

export const link = (text, ...parts) => h("a", { href: hash(...parts) }, text);

/* badge shows a state by colour, shape and word. */
export function badge(state, { small = false } = {})
{
    const { kind, mark, word } = sign(state);
    return h("span", { class: `state is-${kind}${small ? " small" : ""}`, title: word },
        h("span", { class: "state-mark", "aria-hidden": "true" }, mark),
             h("span", { class: small ? "unseen" : null }, word));
}

/* problem says what went wrong where it did, with a way to try again if there is one. */
export function problem(error, again = null)
{
    return h("div", { class: "fault", role: "alert" }, h("p", {}, error.message ?? String(error)),
             again && h("button", { type: "button", class: "button", onclick: again }, icon("retry"), "Try again"));
}

/* empty says that there is nothing, and the command that would bring something. */
export function empty(text, command = null)
{
    return h("div", { class: "view-empty" }, h("p", {}, text), command && h("p", { class: "command" }, h("code", {}, command),
             iconButton("copy", "Copy the command", () => copyText(command))));
}

/* when is an instant, with how far off it is. */
export const when = (at) => at && h("time", { datetime: new Date(at).toISOString(), title: distance(at) }, time(at));

/* facts is a list of names and values (nodes or texts); what is null, false or "" is left out. */
export function facts(pairs)
{
    const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
    return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/* wide lets a table be broader than the page; it can be scrolled by keyboard. */
export const wide = (label, table) => h("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": label }, table);

export const head = (...cells) => h("thead", {}, h("tr", {},
    cells.map((cell) => (cell instanceof Node ? cell : h("th", { scope: "col" }, cell)))));

/* soon returns a function that runs `work` once, `ms` after the first of many calls. */
export function soon(work, ms)
{
    let timer = null;
    const call = () => {
        timer ??= setTimeout(() => {
            timer = null;
            work();
        }, ms);
    };
    call.stop = () => clearTimeout(timer);
    return call;
}

/* stage shows one screen at a time in `root`: a screen is {element, close?, state?, turn?}. turn(parts) lets it follow a path itself,
 * true if it did. */
export function stage(root)
{
    let now = null;
    return {
        show(screen)
        {
            now?.close?.();
            now = screen;
            root.replaceChildren(...screen ? [screen.element] : []);
        },
        turn: (parts) => now?.turn?.(parts) ?? false,
        state: (snapshot) => now?.state?.(snapshot),
    };
}

/* sheet asks in a dialog. `submit` does the work (it may fail: then the sheet says so and stays); the promise ends with what it
 * returned, or null if the sheet was closed. */
export function sheet({ title, content, yes, danger = false, submit })
{
    const id = `sheet-${Math.random().toString(36).slice(2)}`;
    const trouble = h("p", { class: "fault", role: "alert", hidden: true });
    const doIt = h("button", { type: "submit", class: `button ${danger ? "danger" : "primary"}` }, yes);
    const form = h("form", { method: "dialog" }, h("header", {}, h("h2", { id }, title),
        h("button", { type: "button", class: "plain", "data-close": true, "aria-label": "Close" })), content, trouble,
        h("footer", {}, h("button", { type: "button", class: "button", "data-close": true }, "Cancel"), doIt));
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": id }, form);
    document.body.append(dialog);
    setUpDialog(dialog);
    dialog.showModal();
    return new Promise((resolve) => {
        let result = null;
        form.addEventListener("submit", async (event) => {
            event.preventDefault();
            doIt.disabled = true;
            trouble.hidden = true;
            try {
                result = await submit();
                dialog.close();
            } catch (error) {
                trouble.textContent = error.message;
                trouble.hidden = false;
                doIt.disabled = false;
            }
        });
        dialog.addEventListener("close", () => {
            dialog.remove();
            resolve(result);
        }, { once: true });
    });
}
