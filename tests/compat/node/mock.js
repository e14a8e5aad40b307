// SPDX-License-Identifier: Apache-2.0
// What the tests share. OPENAI_BASE_URL: the server under test, lineshaft or the mock itself; MOCK_URL: the mock behind it
// (tests/mock/README.md); OPENAI_KEYED_BASE_URL: the same with an API key.
"use strict";
const assert = require("node:assert/strict");
const OpenAI = require("openai");

const baseURL = process.env.OPENAI_BASE_URL;
const mockURL = new URL(process.env.MOCK_URL || baseURL);
const through = process.env.THROUGH_LINESHAFT === "1"; // else it is the mock alone
const TEXT = "Grüß dich, 日本語 \"quoted\"\nand more 🎉";
const PATIENCE_MS = 30000;

const state = async () => (await fetch(new URL("/mock/state", mockURL))).json();
const reset = () => fetch(new URL("/mock/reset", mockURL), { method: "POST" });

// The mock's state, as soon as `holds` is true of it.
async function until(holds) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const now = await state();
        if (holds(now)) return now;
        assert.ok(Date.now() < end, `the mock never came to it: ${JSON.stringify({ ...now, last_body: undefined })}`);
        await new Promise((done) => setTimeout(done, 10));
    }
}

const client = (more) => new OpenAI({ baseURL, apiKey: "any", ...more });
const ask = (model, content = "hello", more = {}) => ({ model, messages: [{ role: "user", content }], ...more });

// What the mock's model "fixed" says; it is started with --tokens 4.
const TOKENS = 4;
const fixed = (count, sign = "") => Array.from({ length: count }, (_, i) => `${sign}${i ? " " : ""}tok${i}`).join("");

const WEATHER = { type: "function", function: { name: "get_weather", description: "weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } };
const TIME = { type: "function", function: { name: "get_time", description: "time of a zone",
    parameters: { type: "object", properties: { zone: { type: "string" } }, required: ["zone"] } } };
const CALLS = [["get_weather", { city: "Zürich" }], ["get_time", { zone: "CET" }]];

module.exports = { OpenAI, baseURL, through, TEXT, state, reset, until, client, ask, fixed, TOKENS, TOOLS: [WEATHER, TIME], CALLS };
