/* SPDX-License-Identifier: Apache-2.0 */
/* The view Events: a live tail. Topics are filtered by the server, the text here; the address has both:
 * #/events/PATTERN,PATTERN/TEXT/FROM. However fast events come, the page draws once a frame and keeps a bounded number of rows. */
import { copyText, h, icon } from "/assets/dom.js";
import { clockOf, dataOf, lineOf, placesOf, traceOf } from "/assets/event.js";
import { facts, hash } from "/assets/parts.js";
import { valid } from "/assets/topics.js";
import { number } from "/assets/words.js";

const ROWS_MAX = 2000;
const TEXT_MAX = 32 << 20;  /* of all rows' events together: those that are long push out more than one */
const FRAME_MAX = 100;      /* rows drawn in a frame; more than that nobody reads */
const ALL = ">";
const FROMS = [["new", "New"], ["last:100", "Last 100"], ["last:10000", "Last 10 000"], ["all", "All"]];

const isAll = (pattern) => pattern === ALL;

const textOf = (event) => JSON.stringify({ ...event, data: dataOf(event) }).toLowerCase();

/* One event whole: attributes, data, and where it leads. */
function wholeOf(event)
{
    const { data: json, data_base64: bytes, ...header } = event;
    const data = dataOf({ data: json, data_base64: bytes });
    const trace = traceOf(event);
    const pretty = typeof data === "string" ? data : JSON.stringify(data, null, 2) ?? "";
    const link = (text, href) => h("a", { class: "button", href }, text);
    return h("div", { class: "whole" },
        h("div", { class: "tools" },
          trace && h("a", { class: "button", href: hash("events", ALL, trace, "last:10000") }, icon("trace"), "Its trace"),
          placesOf(event).map(({ text, path }) => link(text, hash(...path))),
          link("Only this topic", hash("events", event.topic)),
          h("button", { type: "button", class: "button", onclick: () => copyText(JSON.stringify(event, null, 2)) }, icon("copy"), "Copy")),
        facts(Object.entries(header).map(([name, value]) =>
            [name, typeof value === "object" ? JSON.stringify(value) : String(value)])),
        h("pre", { tabindex: "0", "aria-label": "Data" }, pretty));
}

function rowOf({ event, length })
{
    const head = h("button", { type: "button", class: "row-head", tabindex: "-1", "aria-expanded": "false" },
                   h("time", { datetime: event.time ?? null }, clockOf(event)), h("span", { class: "row-topic" }, event.topic),
                   h("span", { class: "row-subject" }, event.subject ?? ""), h("span", { class: "row-line" }, lineOf(event)));
    const row = h("li", { class: "row" }, head);
    return Object.assign(row, { event, length });
}

function toggle(row)
{
    const head = row.firstElementChild;
    const open = head.getAttribute("aria-expanded") !== "true";
    head.setAttribute("aria-expanded", String(open));
    if (!open) {
        row.lastElementChild.remove();
        return;
    }
    row.append(wholeOf(row.event));
    row.scrollIntoView({ block: "nearest" });
}

/* newRows returns {element, push(event, length), filter(text), clear(), stop(), counts}: the list, which follows its end unless
 * one has scrolled away. counts: shown; passed, all that came; skipped, those that no frame had room for. */
function newRows(onCount)
{
    const list = h("ol", { class: "rows", "aria-label": "Events, the latest last" });
    const scroller = h("div", { class: "rows-scroll" }, list);
    const toEnd = h("button", { type: "button", class: "button to-end", hidden: true, onclick: toNewest },
                    icon("arrowDown"), "To the newest");
    const counts = { shown: 0, passed: 0, skipped: 0 };
    let queue = [];
    let kept = 0;          /* length of what the rows hold */
    let frame = 0;
    let following = true;
    let wanted = "";

    function follow()
    {
        if (following)
            scroller.scrollTop = scroller.scrollHeight;
        toEnd.hidden = following;
    }

    function toNewest()
    {
        following = true;
        follow();
    }

    /* The one row that Tab reaches; arrows go on from there. */
    function reach(head)
    {
        list.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
        head?.setAttribute("tabindex", "0");
    }

    function draw()
    {
        const rows = queue.splice(0, FRAME_MAX).map(rowOf);
        frame = queue.length ? requestAnimationFrame(draw) : 0;
        kept = rows.reduce((sum, row) => sum + row.length, kept);
        list.append(...rows);
        while (list.childElementCount > ROWS_MAX || (kept > TEXT_MAX && list.childElementCount > 1)) {
            kept -= list.firstElementChild.length;
            list.firstElementChild.remove();
        }
        counts.shown = list.childElementCount;
        if (!list.querySelector("[tabindex='0']"))
            reach(list.lastElementChild?.firstElementChild);
        follow();
        onCount(counts);
    }

    /* What waits has no gaps but one in front: the end of a long history is whole. */
    function push(event, length)
    {
        counts.passed++;
        if (wanted && !textOf(event).includes(wanted))
            return;
        queue.push({ event, length });
        if (queue.length >= ROWS_MAX + FRAME_MAX)
            counts.skipped += queue.splice(0, FRAME_MAX).length;
        frame ||= requestAnimationFrame(draw);
    }

    scroller.addEventListener("scroll", () => {
        following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
        toEnd.hidden = following;
    }, { passive: true });
    list.addEventListener("click", (event) => {
        const head = event.target.closest(".row-head");
        if (!head)
            return;
        following = false;
        reach(head);
        toggle(head.parentElement);
    });
    list.addEventListener("keydown", (event) => {
        const head = event.target.closest(".row-head");
        const shown = head ? [...list.children].filter((row) => !row.hidden) : [];
        const at = shown.indexOf(head?.parentElement);
        const next = { ArrowDown: shown[at + 1], ArrowUp: shown[at - 1], Home: shown[0], End: shown.at(-1) }[event.key];
        if (!next)
            return;
        event.preventDefault();
        reach(next.firstElementChild);
        next.firstElementChild.focus();
    });

    return {
        element: h("div", { class: "rows-frame" }, scroller, toEnd),
        push, counts,
        filter(text)
        {
            wanted = text.trim().toLowerCase();
            for (const row of list.children)
                row.hidden = wanted !== "" && !textOf(row.event).includes(wanted);
            follow();
        },
        clear()
        {
            queue = [];
            kept = 0;
            Object.assign(counts, { shown: 0, passed: 0, skipped: 0 });
            following = true;
            list.replaceChildren();
            onCount(counts);
        },
        stop: () => cancelAnimationFrame(frame),
    };
}

function emptyText(from)
{
    if (from === "new")
        return "Nothing yet. What comes from now on is shown here; “Last 100” shows what came before.";
    return from === "all" ? "Nothing yet that these topics match."
        : `None of the last ${number(Number(from.slice(5)))} events of each stream matches; “All” looks through all that are stored.`;
}

function segments(onchange)
{
    const inputs = FROMS.map(([value, text]) => [h("input", { type: "radio", name: "from", value, onchange }), text]);
    return {
        element: h("fieldset", { class: "from" }, h("legend", { class: "unseen" }, "Where to begin"),
                   h("div", { class: "segments" }, inputs.map(([input, text]) => h("label", {}, input, h("span", {}, text))))),
        get value() { return inputs.find(([input]) => input.checked)?.[0].value ?? "new"; },
        set value(from) { inputs.forEach(([input]) => { input.checked = input.value === from; }); },
    };
}

export const view = {
    id: "events",
    title: "Events",
    mount(root, ctx)
    {
        const suggestions = h("datalist", { id: "topics" });
        const patterns = h("input", { class: "input mono", id: "patterns", list: "topics", spellcheck: "false",
                                      autocomplete: "off", placeholder: "run.>, chat.completed",
                                      "aria-describedby": "patterns-problem" });
        const text = h("input", { class: "input", id: "words", type: "search", autocomplete: "off",
                                  placeholder: "any text of the event" });
        const fault = h("p", { class: "fault", id: "patterns-problem", role: "alert", hidden: true });
        const from = segments(go);
        const pause = h("button", { type: "button", class: "button pause", "aria-pressed": "false", onclick: () => setPaused(!paused) });
        const count = h("p", { class: "hint count" });
        const empty = h("p", { class: "rows-empty" });
        const rows = newRows(showCount);
        let paused = false;
        let held = 0;
        let stop = null;
        let shown = null;      /* what is followed: "PATTERNS FROM" */

        function setPaused(on)
        {
            paused = on;
            held = 0;
            pause.setAttribute("aria-pressed", String(on));
            pause.replaceChildren(icon(on ? "play" : "pause"), on ? "Go on" : "Pause");
            showCount();
        }

        function showCount()
        {
            const { shown: some, passed, skipped } = rows.counts;
            count.textContent = [`${number(some)} shown of ${number(passed)}`,
                                 skipped > 0 && `, ${number(skipped)} skipped: they came too fast`,
                                 paused && `; paused, ${number(held)} passed by`].filter(Boolean).join("");
            empty.hidden = some > 0;
        }

        function onEvent(event, length)
        {
            if (!paused) {
                rows.push(event, length);
                return;
            }
            if (held++ === 0 || held % 50 === 0)
                showCount();
        }

        const wanted = () => patterns.value.split(/[\s,]+/).filter(Boolean);

        /* The controls become an address, and the address is what is followed. */
        function go()
        {
            const list = wanted().length ? wanted() : [ALL];
            const wrong = list.find((pattern) => !valid(pattern));
            fault.hidden = !wrong;
            fault.textContent = wrong ? `“${wrong}” is no pattern: words of a-z 0-9 _ - with dots between, * for one word, `
                + "> at the end for the rest. Try run.> or *.failed" : "";
            if (!wrong)
                ctx.go(hash("events", list.join(","), text.value.trim(), from.value));
        }

        function follow(list, start)
        {
            shown = `${list} ${start}`;
            stop?.();
            rows.clear();
            setPaused(false);
            empty.textContent = emptyText(start);
            stop = ctx.watch(list, start, onEvent);
        }

        patterns.addEventListener("change", go);
        text.addEventListener("input", () => rows.filter(text.value));
        text.addEventListener("change", go);
        root.append(
            h("form", { class: "sheet filters", onsubmit: (event) => { event.preventDefault(); go(); } },
              h("div", { class: "field" }, h("label", { for: "patterns" }, "Topics"), patterns, suggestions),
              h("div", { class: "field" }, h("label", { for: "words" }, "Contains"), text), from.element,
              h("div", { class: "tools" }, pause,
                h("button", { type: "button", class: "button", onclick: () => rows.clear() }, icon("trash"), "Clear")),
              h("button", { class: "unseen", tabindex: "-1" }, "Follow"), fault),
            count, h("div", { class: "sheet rows-sheet" }, empty, rows.element));
        return {
            state(snapshot)
            {
                const topics = (snapshot.topics ?? []).map(({ topic }) => topic);
                const families = topics.filter((topic) => topic.includes(".")).map((topic) => `${topic.split(".")[0]}.>`);
                const all = [...new Set([...families, ...topics])].sort().slice(0, 300);
                if (all.join() !== [...suggestions.children].map((option) => option.value).join())
                    suggestions.replaceChildren(...all.map((value) => h("option", { value })));
                if (paused)
                    showCount();
            },
            path([list, contains, start])
            {
                const valids = (list || ALL).split(",").filter(valid);
                const chosen = valids.length ? valids : [ALL];
                const begin = FROMS.some(([value]) => value === start) ? start : `last:${chosen.some(isAll) ? 100 : 10000}`;
                patterns.value = chosen.join(", ");
                text.value = contains ?? "";
                from.value = begin;
                rows.filter(text.value);
                if (shown !== `${chosen} ${begin}`)
                    follow(chosen, begin);
            },
            unmount()
            {
                stop?.();
                rows.stop();
            },
        };
    },
};
