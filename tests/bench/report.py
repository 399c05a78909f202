"""From results to what people read: a table, JSON, an SVG chart.

A result is a row {peer, load, value, unit, server, client, ratio}: the median of its runs, what the two processes had
to spend for it, and how it compares with the fastest QUIC peer of the same run that is not weft.
"""
import html
import json

LOADS = {
    "down": ("bulk, server to client, 1 stream", "Gbit/s", True),
    "up": ("bulk, client to server, 1 stream", "Gbit/s", True),
    "handshakes": ("full handshakes", "us of server CPU each", False),
    "requests": ("100-byte request and reply, 100 in flight, 1 connection", "a second", True),
}


def add_ratios(rows):
    """ratio: better than the best other QUIC peer by this factor, for rates and costs alike."""
    for load, (_, _, more_is_better) in LOADS.items():
        mine = [row for row in rows if row["load"] == load]
        others = [row["value"] for row in mine if row["peer"] != "weft" and row["quic"]]
        if not others:
            continue
        best = max(others) if more_is_better else min(others)
        for row in mine:
            row["ratio"] = row["value"] / best if more_is_better else best / row["value"]


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(rows):
    lines = []
    for load, (title, unit, _) in LOADS.items():
        mine = [row for row in rows if row["load"] == load]
        if not mine:
            continue
        lines.append(f"\n{title}")
        lines.append(f"  {'':<14}{unit:>22}{'GB/CPU-s server':>17}{'client':>9}{'of the best peer':>18}{'spread':>9}")
        for row in sorted(mine, key=lambda row: -row.get("ratio", 0)):
            per_cpu = [number(row[side]) if row.get(side) else "" for side in ("server", "client")]
            ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
            lines.append(f"  {row['peer']:<14}{number(row['value']):>22}{per_cpu[0]:>17}{per_cpu[1]:>9}{ratio:>18}"
                         f"{row['spread']:>8.0%}{'  (busy machine)' if row['busy'] else ''}")
    return "\n".join(lines)


def chart(rows, note):
    """One group of horizontal bars a load, weft's in colour."""
    groups = [(load, [row for row in rows if row["load"] == load]) for load in LOADS]
    groups = [(load, mine) for load, mine in groups if mine]
    height = 40 + sum(44 + 24 * len(mine) for _, mine in groups) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif" font-size="13">',
           f'<rect width="760" height="{height}" fill="#fff"/>']
    y = 30
    for load, mine in groups:
        title, unit, more_is_better = LOADS[load]
        best = max(row["value"] for row in mine)
        words = "more is better" if more_is_better else "less is better"
        out.append(f'<text x="16" y="{y}" font-weight="bold">{html.escape(title)}</text>'
                   f'<text x="744" y="{y}" text-anchor="end" fill="#666">{html.escape(unit)}, {words}</text>')
        y += 14
        for row in sorted(mine, key=lambda row: row["value"], reverse=more_is_better):
            width = 460 * row["value"] / best
            fill = "#0b7285" if row["peer"] == "weft" else "#adb5bd"
            out.append(f'<text x="120" y="{y + 14}" text-anchor="end">{html.escape(row["peer"])}</text>'
                       f'<rect x="130" y="{y + 2}" width="{width:.1f}" height="16" rx="2" fill="{fill}"/>'
                       f'<text x="{136 + width:.1f}" y="{y + 14}">{number(row["value"])}</text>')
            y += 24
        y += 30
    out.append(f'<text x="16" y="{height - 12}" fill="#666" font-size="11">{html.escape(note)}</text></svg>')
    return "\n".join(out)


def as_json(rows, about):
    return json.dumps({"about": about, "results": rows}, indent=1) + "\n"
