/* SPDX-License-Identifier: Apache-2.0 */
/* The list of chats at the side: by day, searched in titles and texts, each with its menu. */
import { byId, h, icon } from "/assets/dom.js";
import { toggleMenu } from "/assets/menu.js";

const DAY = 24 * 60 * 60 * 1000;

function dayOf(time)
{
    const today = new Date().setHours(0, 0, 0, 0);
    if (time >= today)
        return "Today";
    if (time >= today - DAY)
        return "Yesterday";
    return time >= today - 7 * DAY ? "Last seven days" : "Earlier";
}

function matches(chat, words)
{
    const text = [chat.title, ...chat.messages.map((message) => message.content)].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
}

/* drawHistory lists `chats` (the latest first) with `current` marked; `menuOf(chat)` gives the items of a chat's menu. */
export function drawHistory(chats, { current, open, menuOf })
{
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = chats.filter((chat) => matches(chat, words));
    const groups = new Map();
    for (const chat of found) {
        const day = dayOf(chat.updated);
        if (!groups.has(day))
            groups.set(day, []);
        groups.get(day).push(entry(chat, chat.id === current, open, menuOf));
    }
    const nothing = words.length > 0 ? "No chat has these words." : "Chats are kept here, in this browser only.";
    byId("chats").replaceChildren(...(found.length === 0 ? [h("p", { class: "hint" }, nothing)] : [...groups].flatMap(
        ([day, entries]) => [h("h2", { class: "day" }, day), h("ul", {}, entries)])));
}

function entry(chat, isCurrent, open, menuOf)
{
    const title = chat.title || "New chat";
    const more = h("button", {
        type: "button", class: "plain small more", "aria-label": `More for ${title}`, "aria-haspopup": "menu",
        "aria-expanded": "false", onclick: () => toggleMenu(more, menuOf(chat)),
    }, icon("more"));
    return h("li", { class: "chat" },
             h("button", { type: "button", class: "chat-open", "aria-current": isCurrent ? "page" : null, title,
                           onclick: () => open(chat) }, title),
             more);
}
