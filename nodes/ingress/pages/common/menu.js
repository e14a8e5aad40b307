/* SPDX-License-Identifier: Apache-2.0 */
/* A pop-up menu at a button, by the ARIA authoring practices: arrows, Home and End move, Esc and Tab close. */
import { h, icon } from "/assets/dom.js";

let open = null;

function close(focusButton)
{
    if (!open)
        return;
    const { button, list } = open;
    open = null;
    list.remove();
    button.setAttribute("aria-expanded", "false");
    if (focusButton)
        button.focus();
}

/* toggleMenu shows `items` ({icon, label, danger, run}) at `button`, or closes the menu that is open there. */
export function toggleMenu(button, items)
{
    const same = open?.button === button;
    close(same);
    if (same)
        return;
    const list = h("div", { class: "menu", role: "menu", onkeydown: onKey }, items.map((item) =>
        h("button", { type: "button", role: "menuitem", tabindex: "-1", class: item.danger ? "danger" : null,
                      onclick: () => { close(true); item.run(); } }, icon(item.icon), item.label)));
    document.body.append(list);
    const at = button.getBoundingClientRect();
    const below = at.bottom + list.offsetHeight + 8 < window.innerHeight;
    list.style.top = `${below ? at.bottom + 4 : at.top - list.offsetHeight - 4}px`;
    list.style.left = `${Math.max(8, Math.min(at.right - list.offsetWidth, window.innerWidth - list.offsetWidth - 8))}px`;
    open = { button, list };
    button.setAttribute("aria-expanded", "true");
    list.firstElementChild.focus();
}

function onKey(event)
{
    const buttons = [...open.list.children];
    const now = buttons.indexOf(document.activeElement);
    const moves = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: -1 };
    if (event.key === "Escape" || event.key === "Tab") {
        event.stopPropagation();
        if (event.key === "Escape")
            event.preventDefault();
        close(true);
    } else if (event.key in moves) {
        event.preventDefault();
        buttons.at(moves[event.key] % buttons.length).focus();
    }
}

document.addEventListener("pointerdown", (event) => {
    if (open && !open.list.contains(event.target) && !open.button.contains(event.target))
        close(false);
});
window.addEventListener("resize", () => close(false));
