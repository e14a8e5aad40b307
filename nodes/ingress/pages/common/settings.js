/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of this browser, in localStorage; the key for the server only in sessionStorage: it ends with the tab. */
const KEY = "lineshaft.settings";
const SERVER_KEY = "lineshaft.key";
const DEFAULTS = { model: "", system: "", temperature: null, maxTokens: null, seed: null };

/* Storage may be refused (private windows, policies): then the value lives as long as the page. */
const memory = new Map();

export function readText(key, storage = () => localStorage)
{
    try {
        return storage().getItem(key) ?? memory.get(key) ?? null;
    } catch {
        return memory.get(key) ?? null;
    }
}

export function writeText(key, value, storage = () => localStorage)
{
    if (value === null)
        memory.delete(key);
    else
        memory.set(key, value);
    try {
        if (value === null)
            storage().removeItem(key);
        else
            storage().setItem(key, value);
    } catch {
        /* memory has it */
    }
}

export function settings()
{
    try {
        return { ...DEFAULTS, ...JSON.parse(readText(KEY) ?? "{}") };
    } catch {
        return { ...DEFAULTS };
    }
}

export function saveSettings(changes)
{
    writeText(KEY, JSON.stringify({ ...settings(), ...changes }));
}

/* Which chat this tab shows, so that a reload shows it again. */
export const shownChat = () => readText("lineshaft.chat", () => sessionStorage);
export const saveShownChat = (id) => writeText("lineshaft.chat", id, () => sessionStorage);

export const serverKey = () => readText(SERVER_KEY, () => sessionStorage);
export const saveServerKey = (value) => writeText(SERVER_KEY, value || null, () => sessionStorage);
