/* SPDX-License-Identifier: Apache-2.0 */
/* The dialog of the settings. */
import { setUpDialog } from "/assets/ask.js";
import { byId } from "/assets/dom.js";
import { saveServerKey, saveSettings, serverKey, settings } from "/assets/settings.js";

const NUMBERS = { "set-temperature": "temperature", "set-tokens": "maxTokens", "set-seed": "seed" };

export function setUpDialogs(actions)
{
    setUpDialog(byId("settings"));
    setUpDialog(byId("ask"));
    byId("settings").querySelector("form").addEventListener("submit", onSave);
    byId("export-all").addEventListener("click", actions.exportAll);
    byId("delete-all").addEventListener("click", actions.deleteAll);
}

export function openSettings()
{
    const values = settings();
    byId("set-system").value = values.system;
    for (const [id, name] of Object.entries(NUMBERS))
        byId(id).value = values[name] ?? "";
    byId("set-key").value = serverKey() ?? "";
    byId("settings-problem").hidden = true;
    byId("settings").showModal();
}

function onSave(event)
{
    const changes = { system: byId("set-system").value.trim() };
    for (const [id, name] of Object.entries(NUMBERS)) {
        const input = byId(id);
        if (!input.validity.valid) {
            event.preventDefault();
            byId("settings-problem").textContent = `${input.labels[0].textContent}: ${input.validationMessage}`;
            byId("settings-problem").hidden = false;
            input.focus();
            return;
        }
        changes[name] = input.value === "" ? null : input.valueAsNumber;
    }
    saveSettings(changes);
    if (byId("set-key").value !== (serverKey() ?? ""))
        saveServerKey(byId("set-key").value.trim());
}
