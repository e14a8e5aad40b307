/* SPDX-License-Identifier: Apache-2.0 */
/* A table whose columns sort: the heads are buttons, the order is told to screen readers, and rows keep their elements. */
import { h } from "/assets/dom.js";

/* sortedTable({caption, columns, sort, id}) returns {element, draw(items)}. A column is {title, key(item), cell(item) -> text or
 * node, number?}; `sort` is [index, 1 or -1] to begin with; `id(item)` names an item. What is equal stays in the order it came in. */
export function sortedTable({ caption, columns, sort, id })
{
    let [by, direction] = sort;
    let items = [];
    const rows = new Map();   /* id -> {row, texts} */
    const body = h("tbody");
    const heads = columns.map((column, i) => h("th", { scope: "col", class: column.number ? "number" : null },
        h("button", { type: "button", class: "sort", onclick: () => turn(i) }, column.title)));
    const element = h("table", { class: "table" }, h("caption", { class: "unseen" }, caption),
                      h("thead", {}, h("tr", {}, heads)), body);

    function turn(column)
    {
        direction = column === by ? -direction : columns[column].number ? -1 : 1;
        by = column;
        draw(items);
    }

    const cellOf = (column) => h("td", { class: column.number ? "number" : null });
    const compare = (a, b) => {
        const [x, y] = [columns[by].key(a), columns[by].key(b)];
        const order = typeof x === "string" ? x.localeCompare(y) : (x ?? -1) - (y ?? -1);
        return order * direction;
    };

    function rowOf(item)
    {
        const known = rows.get(id(item)) ?? { row: h("tr", {}, columns.map(cellOf)), texts: [] };
        rows.set(id(item), known);
        columns.forEach((column, i) => {
            const cell = column.cell(item, known.texts[i]);
            if (cell !== known.texts[i])
                known.row.children[i].replaceChildren(cell);
            known.texts[i] = cell;
        });
        return known.row;
    }

    function draw(next)
    {
        items = next;
        heads.forEach((head, i) => {
            if (i === by)
                head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
            else
                head.removeAttribute("aria-sort");
        });
        const ids = new Set(items.map(id));
        for (const gone of [...rows.keys()].filter((key) => !ids.has(key))) {
            rows.get(gone).row.remove();
            rows.delete(gone);
        }
        const focused = body.contains(document.activeElement) ? document.activeElement : null;
        const wanted = [...items].sort(compare).map(rowOf);
        wanted.forEach((row, i) => {
            if (body.children[i] !== row)
                body.insertBefore(row, body.children[i] ?? null);
        });
        focused?.focus({ preventScroll: true });   /* a row that moved has lost it */
    }

    return { element, draw };
}
