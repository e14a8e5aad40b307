# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios and ranges of the measured cells, as text for a terminal and as Markdown for docs/benchmarks.md."""
import statistics

BEGIN = "<!-- bench: begin (written by `make bench`, not by hand) -->"
END = "<!-- bench: end -->"


def size_text(size):
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def value_of(block):
    return "p50_us" if block["case"] == "ack1" else "rate"


def median(cells, key):
    return statistics.median(cell[key] for cell in cells)


def ratio(block, row):
    """Median over the rounds of this row against the block's first row in the same round; None without a pair."""
    key = value_of(block)
    base = {cell["round"]: cell[key] for cell in block["rows"][0]["cells"]}
    pairs = [cell[key] / base[cell["round"]] for cell in row["cells"] if base.get(cell["round"])]
    return statistics.median(pairs) if pairs else None


def quantity(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k" if value >= 1e5 else f"{value / 1e3:.1f} k"


def goal_text(block, row):
    if row["goal"] is None:
        return ""
    sign, got = ("<=", lambda r: r <= row["goal"]) if block["case"] == "ack1" else (">=", lambda r: r >= row["goal"])
    reached = ratio(block, row)
    if reached is None:
        return f"{sign} {row['goal']}"
    return f"{sign} {row['goal']}: {'met' if got(reached) else 'missed'}"


def header(block):
    if block["case"] == "ack1":
        return ["system", "p50 us", "min - max", "p99 us", "ratio", "goal", "server us", "client us"]
    return ["system", "events/s", "min - max", "ratio", "goal", "server us", "client us", "lost"]


def columns(block, row):
    """The row's texts under header(block)."""
    cells = row["cells"]
    if not cells:
        return [row["label"], row["problem"] or "no result"] + [""] * (len(header(block)) - 2)
    values = [cell[value_of(block)] for cell in cells]
    reached = ratio(block, row)
    ratio_text = f"{reached:.2f}" if reached is not None else ""
    cpu = [f"{median(cells, 'server_us'):.2f}", f"{median(cells, 'client_us'):.2f}"]
    label = row["label"] + (f" ({row['problem']})" if row["problem"] else "")
    if block["case"] == "ack1":
        return [label, f"{statistics.median(values):.0f}", f"{min(values):.0f} - {max(values):.0f}",
                f"{median(cells, 'p99_us'):.0f}", ratio_text, goal_text(block, row)] + cpu
    lost = sum(cell["lost"] for cell in cells)
    return [label, quantity(statistics.median(values)), f"{quantity(min(values))} - {quantity(max(values))}",
            ratio_text, goal_text(block, row)] + cpu + [str(lost) if block["case"] == "live" else ""]


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                               for i, (text, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def block_text(block):
    table = [header(block)] + [columns(block, row) for row in block["rows"]]
    return f"\n{block['title']}, {size_text(block['size'])} (window {block['window']})\n{aligned(table)}"


SERVER_NAMES = {"zmq:gc": "zmq-gc", "zmq:router": "zmq-router", "redis": "Redis", "nats": "NATS (JetStream on)",
                "lineshaft:durable": "lineshaft, durable", "lineshaft:live": "lineshaft, live"}


def memory_rows(memory):
    return [["server, MiB resident", "idle", "after load", "highest"]] + [
        [SERVER_NAMES[name], *(f"{seen[key]:.0f}" for key in ("idle", "loaded", "peak"))] for name, seen in memory.items()]


def memory_text(memory):
    return "\n" + aligned(memory_rows(memory))


def markdown_table(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join(lines)


def markdown(result):
    known = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    parts = [
        f"Measured {result['date']} by `{result['command']}`: {result['rounds']} rounds of {result['cell_seconds']} s a cell, "
        f"{result['took_seconds']} s in all.\n"
        f"{known['processor']}, {known['cores']} cores, {known['memory_gib']} GiB; Linux {known['kernel']}; {known['file_system']}, "
        f"fdatasync of 4 KiB p50 {known['fdatasync_4k_p50_us']:.0f} us; load average {known['load_before']} before, "
        f"{known['load_after']} after.\n{versions}."]
    for block in result["blocks"]:
        parts.append(f"### {block['title']}, {size_text(block['size'])}")
        parts.append(markdown_table([header(block)] + [columns(block, row) for row in block["rows"]]))
    parts.append("### Memory")
    parts.append(markdown_table(memory_rows(result["memory_mib"])))
    return "\n\n".join(parts)


def write_between(path, marks, markdown_text):
    """Replaces what stands between the two marks."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"bench: {path} lacks the lines\n  {marks[0]}\n  {marks[1]}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n\n{markdown_text}\n\n{end}{after}")


def write_document(path, result):
    write_between(path, (BEGIN, END), markdown(result))
