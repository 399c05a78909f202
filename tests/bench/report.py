#!/usr/bin/env python3
"""From results to what people read: a table, JSON, an SVG chart, the page docs/performance.md.

    report.py [--docs] [results.json]      writes the table and the chart anew; --docs: into docs/ too

A result is a row {peer, load, value, unit, server, client, ratio}: the median of its runs, what the two processes had
to spend for it, and how it compares with the fastest QUIC peer of the same run that is not weft; of a crowd also
server_busy, the share of the time in which the server had something to do. Nothing is measured here, and nothing is
written into the page but what lies between its two markers.
"""
import argparse
import html
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADS = {
    "down": ("bulk, server to client, 1 stream", "Gbit/s", True),
    "up": ("bulk, client to server, 1 stream", "Gbit/s", True),
    "jumbo": ("bulk, server to client, datagrams of 9,000 bytes", "Gbit/s", True),
    "largest": ("bulk, server to client, datagrams as large as loopback takes", "Gbit/s", True),
    "handshakes": ("full handshakes, one at a time", "us of server CPU each", False),
    "crowd": ("full handshakes, {crowd} at a time", "us of server CPU each", False),
    "requests": ("100-byte request and reply, 100 in flight, 1 connection", "a second", True),
}
LARGER = {"jumbo": "weft, 9,000 bytes", "largest": "weft, 64 KiB"}  # shown among `down` in the chart
BUSY = 0.9  # a server of a crowd that had something to do for less of the time waited for its clients
CUT = 8  # a bar of costs is no longer than so many times the shortest
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def title_of(load, about):
    return LOADS[load][0].format(crowd=about.get("crowd"))


def is_ours(row):
    return row["peer"] in ("weft", "weft plain")


def add_ratios(rows):
    """ratio: better than the best other QUIC peer by this factor, for rates and costs alike."""
    for load, (_, _, more_is_better) in LOADS.items():
        mine = [row for row in rows if row["load"] == load]
        others = [row["value"] for row in mine if not is_ours(row) and row["quic"]]
        if not others:
            continue
        best = max(others) if more_is_better else min(others)
        for row in mine:
            row["ratio"] = row["value"] / best if more_is_better else best / row["value"]


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


# ---- text ------------------------------------------------------------------------------------------------------------


def row_as_text(row):
    besides = [number(row[side]) if row.get(side) else "" for side in ("server", "client")]
    notes = "  (busy machine)" if row["busy"] else ""
    if "server_busy" in row:
        besides[0] = f"{row['server_busy']:.0%}"
        notes += "  (the clients were the limit)" if row["server_busy"] < BUSY else ""
    ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
    return (f"  {row['peer']:<14}{number(row['value']):>22}{besides[0]:>17}{besides[1]:>9}{ratio:>18}"
            f"{row['spread']:>9.0%}{notes}")


def rows_as_text(found):
    lines = []
    for load, (_, unit, _) in LOADS.items():
        mine = [row for row in found["results"] if row["load"] == load]
        if not mine:
            continue
        besides = {"handshakes": ("", ""), "crowd": ("server busy", "")}.get(load, ("GB/CPU-s server", "client"))
        lines.append(f"\n{title_of(load, found['about'])}")
        lines.append(f"  {'':<14}{unit:>22}{besides[0]:>17}{besides[1]:>9}{'of the best peer':>18}{'spread':>9}")
        lines += map(row_as_text, sorted(mine, key=lambda row: -row.get("ratio", 0)))
    return lines


def scale_as_text(scale):
    lines = []
    if latency := scale.get("latency"):
        lines.append("\nround trip of 100 bytes, one at a time, us        p50      p99")
        for name, title in (("bare", "epoll UDP echo"), ("weft", "weft"), ("added", "added"), ("plain", "weft plain"),
                            ("plain_added", "added")):
            figures = latency.get(f"{name}_us")
            if not figures:
                continue
            lines.append(f"  {title:<43}{figures['p50']:>8.1f} {figures['p99']:>8.1f}")
    if idle := scale.get("idle"):
        lines.append(f"\n{idle['connections']:,} idle connections")
        lines.append(f"  {idle['bytes_each']:,.0f} resident bytes each in the server; opened in {idle['seconds_to_open']:.0f} s")
        lines.append(f"  a keep-alive each 30 s takes {idle['server_core_share']:.1%} of a core in the server, "
                     f"{idle['client_core_share']:.1%} in the client that sends them")
    if active := scale.get("active"):
        lines.append(f"\n{active['connections']:,} active connections, each asks for the echo of 1 KiB every second")
        lines.append(f"  p50 {active['p50_ms']:.2f} ms, p99 {active['p99_ms']:.2f} ms; "
                     f"{active['requests_per_second']:,.0f} requests a second")
    return lines


def python_as_text(python):
    lines = [f"\nthe Python package{'':>16}{'weft':>12}{'aioquic':>12}{'':>8}"]
    titles = {"down": ("down, Gbit/s", 3), "up": ("up, Gbit/s", 3), "requests": ("requests in batches, a second", 0),
              "plain": ("requests by stream objects", 0)}
    for load, (title, digits) in titles.items():
        mine, its = (statistics.median(row[0] for row in python["rounds"][f"{load} {who}"]) for who in ("weft", "aioquic"))
        lines.append(f"  {title:<32}{mine:>12,.{digits}f}{its:>12,.{digits}f}{mine / its:>7.1f}x")
    return lines


def as_text(found):
    about = found["about"]
    lines = [f"{about['machine']}; medians of {about['rounds']}", *rows_as_text(found)]
    lines += scale_as_text(found.get("scale", {}))
    if "python" in found:
        lines += python_as_text(found["python"])
    lines += [f"\nnot measured: {what}" for what in found.get("missing", [])]
    lines.append("\nhow each was set: datagrams of 1,452 bytes and AES-128-GCM, windows that never limit; and")
    lines += [f"  {name:<14}{settings}" for name, settings in about["settings"].items()]
    return "\n".join(lines) + "\n"


# ---- the targets -----------------------------------------------------------------------------------------------------


def judged(title, must, aim, measured, met_must, met_aim):
    return title, must, aim, measured, "aim" if met_aim and met_must else "must" if met_must else "**missed**"


def bulk_targets(of):
    found = []
    for load, title in (("down", "bulk, server to client"), ("up", "bulk, client to server")):
        row, tls = of("weft", load), of("TLS over TCP", load)
        if not row:
            continue
        rate, ratio = row["value"], row.get("ratio", 0)
        beside = rate / tls["value"] if tls else 0
        found.append(judged(title, "1.5 x the fastest QUIC peer, 10 Gbit/s", "as fast as TLS over TCP",
                            f"{rate:.1f} Gbit/s, {ratio:.2f} x the peer, {beside:.2f} x TLS over TCP",
                            ratio >= 1.5 and rate >= 10, beside >= 1))
        sides = {"down": ("server", "client"), "up": ("client", "server")}[load]
        for role, side in zip(("sender", "receiver"), sides):
            found.append(judged(f"GB a CPU second, {title[6:]}, {role}", "1.6", "2", f"{row[side]:.2f}", row[side] >= 1.6,
                                row[side] >= 2))
    return found


def plain_latency(latency):
    added = latency.get("plain_added_us")
    return f" (by `make build`: {added['p50']:.1f} / {added['p99']:.1f})" if added else ""


def targets(found):
    """(what, must, aim, measured, what of it is met) of each."""
    by = {(row["peer"], row["load"]): row for row in found["results"]}

    def of(peer, load):
        return by.get((peer, load))

    rows, scale = bulk_targets(of), found.get("scale", {})
    for load, where in (("handshakes", ""), ("crowd", ", in a crowd")):
        if row := of("weft", load):
            cost, ratio = row["value"], 1 / row.get("ratio", 1)
            rows.append(judged(f"full handshake, server CPU{where}", "0.75 x the best peer", "150 us",
                               f"{cost:.0f} us, {ratio:.2f} x", ratio <= 0.75, cost <= 150))
    if row := of("weft", "requests"):
        rate, ratio = row["value"], row.get("ratio", 0)
        rows.append(judged("100-byte requests, 100 in flight", "2 x the fastest QUIC peer", "400,000 a second",
                           f"{rate:,.0f} a second, {ratio:.2f} x", ratio >= 2, rate >= 400000))
    if latency := scale.get("latency"):
        p50, p99 = (latency["added_us"][name] for name in ("p50", "p99"))
        rows.append(judged("added round-trip time, p50 / p99", "15 / 40 us", "8 / 20 us", f"{p50:.1f} / {p99:.1f} us{plain_latency(latency)}",
                           p50 <= 15 and p99 <= 40, p50 <= 8 and p99 <= 20))
    if idle := scale.get("idle"):
        count, size, share = idle["connections"], idle["bytes_each"] / 1024, idle["server_core_share"]
        rows.append(judged(f"resident memory of an idle connection, {count:,} of them", "10 KiB", "4 KiB",
                           f"{size:.1f} KiB", size <= 10, size <= 4))
        rows.append(judged("connections with a keep-alive every 30 s", "100,000 under 10 % of a core", "250,000",
                           f"{count:,} at {share:.1%}", count >= 100000 and share < 0.1, count >= 250000))
    if active := scale.get("active"):
        count, p99 = active["connections"], active["p99_ms"]
        rows.append(judged("20,000 active connections, 1 KiB/s each: p99", "under 20 ms", "under 5 ms",
                           f"{p99:.1f} ms, {count:,} of them", count >= 20000 and p99 < 20, p99 < 5))
    return rows


# ---- the chart -------------------------------------------------------------------------------------------------------


def charted(rows):
    """(load, [(name, value, colour)]) of each group, best first."""
    for load in LOADS:
        if load in LARGER:
            continue
        bars = [(row["peer"], row["value"], "#0b7285" if is_ours(row) else "#adb5bd")
                for row in rows if row["load"] == load]
        if load == "down":
            bars += [(LARGER[row["load"]], row["value"], "#66b2c0") for row in rows if row["load"] in LARGER]
        if bars:
            yield load, sorted(bars, key=lambda bar: bar[1], reverse=LOADS[load][2])


def chart(found):
    """One group of horizontal bars a load, weft's in colour."""
    about, groups = found["about"], list(charted(found["results"]))
    note = f"{about['machine']}; medians of {about['rounds']}; loopback"
    height = 30 + sum(44 + 24 * len(bars) for _, bars in groups) + 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" width="800" height="{height}" '
           'font-family="sans-serif" font-size="13">', f'<rect width="800" height="{height}" fill="#fff"/>']
    y = 30
    for load, bars in groups:
        title, (_, unit, more_is_better) = title_of(load, about), LOADS[load]
        widest = max(value for _, value, _ in bars)
        if not more_is_better:  # one that costs far more than the others does not make them all look alike
            widest = min(widest, CUT * min(value for _, value, _ in bars))
        words = "more is better" if more_is_better else "less is better"
        out.append(f'<text x="16" y="{y}" font-weight="bold">{html.escape(title)}</text>'
                   f'<text x="784" y="{y}" text-anchor="end" fill="#666">{html.escape(unit)}, {words}</text>')
        y += 14
        for name, value, colour in bars:
            width = 500 * min(value / widest, 1)
            cut = " (cut off)" if value > widest else ""
            out.append(f'<text x="150" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>'
                       f'<rect x="160" y="{y + 2}" width="{width:.1f}" height="16" rx="2" fill="{colour}"/>'
                       f'<text x="{166 + width:.1f}" y="{y + 14}">{number(value)}{cut}</text>')
            y += 24
        y += 30
    out.append(f'<text x="16" y="{height - 12}" fill="#666" font-size="11">{html.escape(note)}</text></svg>')
    return "\n".join(out) + "\n"


# ---- files -----------------------------------------------------------------------------------------------------------


def write(found, out):
    (out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "table.txt").write_text(as_text(found))
    (out / "chart.svg").write_text(chart(found))


def as_page(found):
    lines = ["| what | must | aim | measured | met |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in targets(found)]
    return "\n".join([*lines, "", "![Bars: weft beside the others](performance.svg)", "", "```", as_text(found).rstrip(), "```"])


def put_into_docs(found):
    page = ROOT / "docs/performance.md"
    text = page.read_text()
    before, rest = text.split(BEGIN + "\n")
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{as_page(found)}\n{END}{after}")
    (ROOT / "docs/performance.svg").write_text(chart(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=ROOT / "build/bench/results.json")
    parser.add_argument("--docs", action="store_true", help="put them into docs/performance.md and docs/performance.svg")
    args = parser.parse_args()
    found = json.loads(args.results.read_text())
    write(found, args.results.parent)
    if args.docs:
        put_into_docs(found)


if __name__ == "__main__":
    main()
