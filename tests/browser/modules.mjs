/* SPDX-License-Identifier: Apache-2.0 */
/* For node the modules of the pages lie in several folders; for them themselves all is at /assets/NAME. Import this first, then
 * `await import("/assets/NAME")`. */
import { readdirSync } from "node:fs";
import { register } from "node:module";

const pages = new URL("../../nodes/ingress/pages/", import.meta.url);
const files = ["common", "console", "chat"].flatMap((folder) =>
    readdirSync(new URL(folder, pages)).map((name) => [`/assets/${name}`, new URL(`${folder}/${name}`, pages).href]));
const hook = `const files = new Map(${JSON.stringify(files)});
    export const resolve = (name, context, next) => next(files.get(name) ?? name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
