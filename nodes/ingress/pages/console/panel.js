/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of one box of the diagram: its topics with rates, its consumers, requests, processes, and its own numbers. */
import { percent, iconOf } from "/assets/board.js";
import { h, iconButton } from "/assets/dom.js";
import { topicsOf } from "/assets/floor.js";
import { facts, hash, head, wide } from "/assets/parts.js";
import { perSecond } from "/assets/rates.js";
import { distance, duration, number, size } from "/assets/words.js";

const TOPICS_MAX = 8;
const cell = (text) => h("td", { class: "number" }, text);
const tableOf = (label, heads, rows) => wide(label, h("table", { class: "table" }, heads, h("tbody", {}, rows)));
const numberHead = (text) => h("th", { scope: "col", class: "number" }, text);

function section(title, ...content)
{
    const found = content.flat().filter(Boolean);
    return found.length ? h("section", {}, h("h3", {}, title), found) : null;
}

/* The patterns, then what flowed of them. */
function topics(title, patterns, { snapshot, meter })
{
    if (patterns.length === 0)
        return null;
    const found = topicsOf(snapshot, meter, patterns);
    const rows = found.slice(0, TOPICS_MAX).map(({ topic, rate, events }) => h("tr", {},
        h("td", { class: "mono" }, h("a", { href: hash("events", topic) }, topic)), cell(`${perSecond(rate)}/s`), cell(number(events))));
    return section(title,
        h("p", { class: "patterns mono" },
          h("a", { href: hash("events", patterns.join(",")), title: "Follow these events" }, patterns.join("  "))),
        rows.length > 0 && tableOf(title, head("topic", numberHead("now"), numberHead("events")), rows),
        found.length > TOPICS_MAX && h("p", { class: "hint" }, `and ${number(found.length - TOPICS_MAX)} more topics`));
}

function consumers(one)
{
    return section("Consumers", one.consumers.map((consumer) => facts([
        ["name", consumer.name], ["stream", consumer.stream], ["members", number(consumer.members)],
        ["behind", `${number(consumer.pending)} events`],
        ["the oldest", consumer.oldest_ms ? `for ${duration(consumer.oldest_ms)}` : null],
        ["in flight", `${number(consumer.in_flight)} of ${number(consumer.window)}`], ["done", number(consumer.acked)],
        ["refused", consumer.naked ? number(consumer.naked) : null],
        ["too late", consumer.expired ? number(consumer.expired) : null],
        ["given up", consumer.dead ? h("a", { href: hash("events", `$dlq.${consumer.name}`) },
                                       `${number(consumer.dead)} dead letters`) : null]])));
}

function services(one, meter)
{
    const rows = one.services.map(({ topic, slots, busy, waiting }) => h("tr", {}, h("td", { class: "mono" }, topic),
        cell(`${perSecond(meter.rate("services", topic, "requests"))}/s`), cell(slots ? `${busy} of ${slots}` : "not ready"),
        cell(number(waiting))));
    return section("Serves", rows.length > 0 && tableOf("Requests that it serves",
        head("request", numberHead("now"), numberHead("busy"), numberHead("waiting")), rows));
}

function processes(one)
{
    return section("Processes", one.processes.map((process) => facts([
        ["process", `${process.name}${process.pid ? `, pid ${process.pid}` : ""}`],
        ["state", `${process.state} for ${duration(Date.now() - process.since_us / 1000)}`],
        ["CPU", process.share === null ? "–" : `${percent(process.share)}, ${duration(process.cpu_ms)} in all`],
        ["memory", process.pss === null ? null : `${size(process.pss)} PSS, ${size(process.rss)} resident`],
        ["in the group", process.processes > 1 ? `${process.processes} processes` : null],
        ["restarts", process.restarts ? number(process.restarts) : "none"], ["last end", process.last_end]])));
}

function sessions(one)
{
    const found = one.sessions.slice(0, 20).map((session) => facts([
        ["member", session.member], ["connected", distance(session.since_us / 1000)],
        ["published", number(session.published ?? 0)], ["delivered", number(session.delivered ?? 0)],
        ["requests", `${number(session.requests ?? 0)} asked, ${number(session.served ?? 0)} served`]]));
    return section("Sessions", found);
}

function numbers(one)
{
    const named = one.sessions.filter((session) => Object.keys(session.stats ?? {}).length);
    const pairs = ({ member, stats }) => [["member", member],
        ...Object.entries(stats).map(([name, value]) => [name.replaceAll("_", " "), number(value)])];
    return named.length === 0 ? null
        : h("details", {}, h("summary", {}, "Numbers of its own"), named.map((session) => facts(pairs(session))));
}

function streamParts(stream, given)
{
    const { retain = {} } = stream;
    const limits = [retain.age_ms && duration(retain.age_ms), retain.bytes && size(retain.bytes),
                    retain.count && `${number(retain.count)} events`].filter(Boolean);
    return [facts([["health", stream.problem ? `${stream.health}: ${stream.problem}` : stream.health],
        ["now", `${perSecond(stream.rate)}/s`],
        ["holds", `${number(stream.events)} events`], ["numbers", `${number(stream.first)} to ${number(stream.next - 1)}`],
        ["on disk", `${size(stream.bytes)} in ${number(stream.segments ?? 0)} segments`],
        ["durability", stream.durability], ["keeps", limits.join(", ") || "everything"], ["consumers", number(stream.consumers ?? 0)],
        ["duplicates", stream.duplicates ? number(stream.duplicates) : null]]), topics("Topics", stream.topics, given)];
}

function brokerParts({ info, processes: own })
{
    return [info && facts([["version", info.server], ["up", duration(info.uptime_ms)], ["connections", number(info.connections)],
        ["sessions", number(info.sessions)], ["requests", `${number(info.requests)} under way, ${number(info.requests_waiting)} waiting`],
        ["memory account", `${size(info.memory)} of ${size(info.memory_max)}`], ["rejected", number(info.counters?.rejected ?? 0)],
        ["dead letters", number(info.counters?.dead_letters ?? 0)]]), processes({ processes: own })];
}

/* panelParts: what the panel says of a box, `given` {snapshot, meter}. */
function panelParts(one, given)
{
    if (one.kind === "broker")
        return brokerParts(one);
    if (one.id.startsWith("stream:"))
        return streamParts(one, given);
    if (one.kind === "anonymous")
        return [h("p", {}, "Events from bare sockets, which never said HELLO, and from programs that came and went within a moment: "
                    + "all that flowed, less what sessions published."),
                facts([["now", `${perSecond(one.rates.published)}/s`]])];
    return [one.kind === "consumer" && h("p", {}, "A durable consumer for a program outside the topology."),
            consumers(one), services(one, given.meter), topics("Gives", one.gives, given), topics("Takes", one.takes, given),
            processes(one), sessions(one), numbers(one)];
}

/* newPanel(onClose) returns {element, draw(one, given)}: draw with null empties and hides it. What is folded open stays so. */
export function newPanel(onClose)
{
    const title = h("h2", { tabindex: "-1" });
    const body = h("div", { class: "panel-body" });
    const element = h("aside", { class: "panel sheet", hidden: true, "aria-label": "Details" },
                      h("header", {}, title, iconButton("close", "Close", onClose)), body);
    element.addEventListener("keydown", (event) => {
        if (event.key === "Escape")
            onClose();
    });
    return {
        element,
        focus: () => title.focus(),
        draw(one, given)
        {
            element.hidden = one === null;
            const fold = document.activeElement?.matches("summary") && body.contains(document.activeElement);
            if (!one || (!fold && body.contains(document.activeElement)) || selecting(body))
                return;   /* what is being copied or gone through stands still */
            const kind = one.id.startsWith("stream:") ? "stream" : one.kind;
            const open = body.querySelector("details")?.open;
            title.replaceChildren(iconOf(kind), one.name, h("span", { class: "hint" }, kind));
            body.replaceChildren(...panelParts(one, given).flat().filter(Boolean));
            if (open && body.querySelector("details"))
                body.querySelector("details").open = true;
            if (fold)
                body.querySelector("summary")?.focus({ preventScroll: true });
        },
    };
}

function selecting(element)
{
    const selection = document.getSelection();
    return selection.rangeCount > 0 && !selection.isCollapsed && element.contains(selection.anchorNode);
}
