/* SPDX-License-Identifier: Apache-2.0 */
/* The theme: "system", "light" or "dark", kept in localStorage; theme-early.js applies it at the start. */
import { readText, writeText } from "/assets/settings.js";

const KEY = "lineshaft.theme";

export function theme()
{
    const value = readText(KEY);
    return value === "light" || value === "dark" ? value : "system";
}

export function setTheme(value)
{
    writeText(KEY, value === "system" ? null : value);
    if (value === "system")
        delete document.documentElement.dataset.theme;
    else
        document.documentElement.dataset.theme = value;
}
