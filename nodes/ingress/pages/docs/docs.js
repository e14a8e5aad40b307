/* SPDX-License-Identifier: Apache-2.0 */
/* The API page: reads /openapi.json, lists the routes by tag, and sends what is typed. */
import { h } from "/assets/dom.js";

const SHOWN_MAX = 200000;

function resolve(document_, schema)
{
    const name = schema?.$ref?.split("/").pop();
    return name ? document_.components.schemas[name] : schema;
}

function headers(body)
{
    const key = document.getElementById("key").value;
    const type = body instanceof File ? body.type || "application/octet-stream" : "application/json";
    return { ...(body ? { "content-type": type } : {}), ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

/* The path with what was typed for its {names}, and the rest as the query. A name that takes the rest of the path keeps its slashes. */
function address(path, fields)
{
    const query = new URLSearchParams();
    for (const [parameter, input] of fields) {
        const typed = encodeURIComponent(input.value);
        if (parameter.in === "path")
            path = path.replace(`{${parameter.name}}`, parameter["x-lineshaft-slashes"] ? typed.replaceAll("%2F", "/") : typed);
        else if (input.value)
            query.set(parameter.name, input.value);
    }
    return query.size ? `${path}?${query}` : path;
}

async function send(method, url, body, result, signal)
{
    const response = await fetch(url, { method, headers: headers(body), body: body || undefined, signal });
    result.textContent = `${response.status} ${response.statusText}\n\n`;
    if ((response.headers.get("content-type") ?? "").startsWith("application/json")) {
        const text = await response.text();
        result.textContent += text.length < SHOWN_MAX ? JSON.stringify(JSON.parse(text), null, 2) : text.slice(0, SHOWN_MAX);
        return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let step = await reader.read(); !step.done && result.textContent.length < SHOWN_MAX; step = await reader.read()) {
        result.textContent += step.value;
        result.scrollTop = result.scrollHeight;
    }
}

function form(document_, path, method, operation)
{
    const schema = resolve(document_, operation.requestBody?.content["application/json"]?.schema);
    const file = operation.requestBody?.content["application/octet-stream"] !== undefined;
    const body = !operation.requestBody ? null
        : file ? h("input", { type: "file", "aria-label": "Body" }) : h("textarea", { spellcheck: "false", "aria-label": "Body" });
    const fields = operation.parameters.map((parameter) => [parameter, h("input", { class: "input", required: parameter.required })]);
    const result = h("pre", { class: "result", hidden: true, tabindex: "0", "aria-label": "Answer" });
    let running = null;
    const stop = h("button", { type: "button", class: "button", hidden: true, onclick: () => running?.abort() }, "Stop");
    const go = async (event) => {
        event.preventDefault();
        running?.abort();
        const mine = running = new AbortController();
        result.hidden = stop.hidden = false;
        result.textContent = "…";
        try {
            await send(method, address(path, fields), file ? body.files[0] : body?.value, result, mine.signal);
        } catch (error) {
            result.textContent += mine.signal.aborted ? "\n(stopped)" : `\n${error.message}`;
        }
        if (mine === running)
            stop.hidden = true;
    };
    if (body && !file)
        body.value = schema?.example ? JSON.stringify(schema.example, null, 2) : "{}";
    return h("form", { class: "try", onsubmit: go },
             fields.map(([parameter, input]) => h("label", {}, `${parameter.name}${parameter.required ? "" : " (optional)"}`,
                                                  parameter.description ? ` ${parameter.description}` : "", input)),
             body && h("label", {}, "Body", body),
             h("div", { class: "buttons" }, h("button", { class: "button" }, "Send"), stop), result);
}

function route(document_, path, method, operation)
{
    const details = h("details", { class: "route" },
                      h("summary", {}, h("span", { class: "method", "data-method": method }, method), h("span", { class: "path" }, path),
                        h("span", { class: "what" }, operation.summary)));
    details.addEventListener("toggle", () => details.append(form(document_, path, method, operation)), { once: true });
    return details;
}

const main = document.getElementById("routes");
try {
    const response = await fetch("/openapi.json");
    const document_ = await response.json();
    const groups = new Map();
    for (const [path, methods] of Object.entries(document_.paths))
        for (const [method, operation] of Object.entries(methods)) {
            const tag = operation.tags[0];
            groups.set(tag, [...(groups.get(tag) ?? []), route(document_, path, method.toUpperCase(), operation)]);
        }
    main.replaceChildren(...[...groups].flatMap(([tag, routes]) => [h("h2", {}, tag), ...routes]));
} catch (error) {
    main.replaceChildren(h("p", { role: "alert" }, `The document could not be read: ${error.message}`));
}
