"""Results as tables in Markdown, and the budgets that they miss."""

from scenarios import BY_REFERENCE, GROWTH, OF_BARE, P99_OF_P50, REFERENCE


def both(figures):
    """CPU ms of server and database together."""
    return figures["server_ms"] + figures["database_ms"]


def budgets(results):
    """A sentence for each budget that is missed."""
    missed = []
    for name, found in results["scenarios"].items():
        mine = found["ours"]
        if name in REFERENCE:
            *theirs, times = REFERENCE[name]
            if both(mine) * times > sum(theirs):
                missed.append(f"{name}: {both(mine):.3f} ms CPU is {sum(theirs) / both(mine):.0f} times less than the existing server's, not {times}.")
        if "bare" in found and name not in BY_REFERENCE and both(mine) > OF_BARE * both(found["bare"]):
            missed.append(f"{name}: {both(mine):.3f} ms CPU is {both(mine) / both(found['bare']):.2f} times the bare handler's, not {OF_BARE}.")
        if mine["p99_ms"] > P99_OF_P50 * mine["p50_ms"]:
            missed.append(f"{name}: p99 is {mine['p99_ms'] / max(mine['p50_ms'], 0.001):.1f} times p50, not {P99_OF_P50:g}.")
        if found["wrong"]:
            missed.append(f"{name}: a wrong answer: {found['wrong'][:200]}")
    flows = results["flows"]
    for value, most, sentence in limits(flows):
        if value is None or value > most:
            missed.append(f"{sentence}: {'no figure' if value is None else f'{value:.4g}'}, not {most:g}.")
    if "trouble" in flows.get("engine", {}):
        missed.append(f"engine: {flows['engine']['trouble']}")
    return missed


def limits(flows):
    """(figure, the most that it may be, what it is) of all flows that were run."""
    if "idle" in flows:
        yield flows["idle"]["memory_mib"], 40, "idle memory, MiB"
        yield flows["idle"]["first_answer_ms"], 300, "first answer, ms after the start"
    if "submits" in flows:
        yield flows["submits"]["lost"], 0, "submits that were accepted and lost"
        yield flows["submits"]["wrong"], 0, "submits that were refused"
        yield flows["submits"]["asked_rate"] * 0.98 - flows["submits"]["rate"], 0, "submits a second that were missed"
    if "polls" in flows:
        yield flows["polls"]["wrong"], 0, "polls that were refused"
    if "streams" in flows:
        yield flows["streams"]["idle_mib"], 150, "memory with streams, MiB"
        yield flows["streams"]["lines_sent"] - flows["streams"]["lines_read"], 0, "lines that a stream did not show"
        yield flows["streams"]["wrong"], 0, "streams that were refused"
    if "containers" in flows:
        yield flows["containers"]["lines_sent"] - flows["containers"]["lines_there"], 0, "lines of containers that are not there"
        yield flows["containers"]["wrong"], 0, "reports of containers that were refused"
    if "engine" in flows and "trouble" not in flows["engine"]:
        yield flows["engine"]["start_p50_ms"], 50, "from submit to keeper, ms, p50"
        yield flows["engine"]["start_p99_ms"], 300, "from submit to keeper, ms, p99"
        yield -flows["engine"]["nothing_rate"], -40, "runs that do nothing a second, negative"


def tables(results):
    lines = [
        "| request | a second | p50 ms | p99 ms | CPU ms server + database | bare a second | bare CPU ms | ours : bare | existing CPU ms | existing : ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results["scenarios"].items():
        mine = found["ours"]
        cells = [name, f"{mine['rate']:,.0f}", f"{mine['p50_ms']:.2f}", f"{mine['p99_ms']:.2f}", cpu(mine)]
        if "bare" in found:
            cells += [f"{found['bare']['rate']:,.0f}", cpu(found["bare"]), f"{both(mine) / both(found['bare']):.2f}"]
        else:
            cells += ["", "", ""]
        if name in REFERENCE:
            server, database, _ = REFERENCE[name]
            cells += [f"{server:g} + {database:g}", f"{(server + database) / both(mine):.0f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *flow_table(results["flows"])])


def cpu(figures):
    return f"{figures['server_ms']:.3f} + {figures['database_ms']:.3f}"


def flow_table(flows):
    lines = ["| what | measured |", "|---|---|"]
    if idle := flows.get("idle"):
        lines.append(f"| first answer after the start | {idle['first_answer_ms']:.0f} ms |")
        lines.append(f"| memory, idle | {idle['memory_mib']:.0f} MiB |")
        lines.append(f"| memory, after all kinds of requests | {idle['memory_after_mib']:.0f} MiB |")
    if engine := flows.get("engine"):
        if "trouble" in engine:
            lines.append(f"| engine | {engine['trouble']} |")
        else:
            start = ", ".join("none" if engine[at] is None else f"{name} {engine[at]:.0f} ms" for name, at in (("p50", "start_p50_ms"), ("p99", "start_p99_ms")))
            lines.append(f"| from submit to keeper, {engine['starts']} one at a time | {start} |")
            lines.append(f"| from submit to the end of a run that does nothing | p50 {engine['whole_p50_ms']:.0f} ms |")
            lines.append(f"| runs that do nothing | {engine['nothing_finished']} of {engine['nothing_runs']} finished, {engine['nothing_rate']:.1f} a second |")
            lines.append(f"| memory with a worker, idle | {engine['idle_mib']:.0f} MiB |")
    if submits := flows.get("submits"):
        lines.append(f"| {submits['asked_rate']} submits a second | {submits['accepted']:,} accepted, {submits['wrong']} refused, {submits['lost']} lost; p50 {submits['p50_ms']:.1f} ms, p99 {submits['p99_ms']:.1f} ms |")
    if polls := flows.get("polls"):
        lines.append(f"| {polls['plugins']:,} plugins that poll every {polls['every_s']} s | {polls['cpu_share']:.0%} of the machine, {polls['unchanged']:.0%} of the answers are 304, {polls['wrong']} refused; p50 {polls['p50_ms']:.1f} ms, p99 {polls['p99_ms']:.1f} ms; {polls['server_ms']:.2f} + {polls['database_ms']:.2f} CPU ms each |")
    if streams := flows.get("streams"):
        lines.append(f"| {streams['streams']:,} idle streams | {streams['before_mib']:.0f} MiB before, {streams['idle_mib']:.0f} MiB with them, {streams['idle_cpu_share']:.1%} of the machine; {streams['lines_read']} of {streams['lines_sent']} lines were read |")
    if containers := flows.get("containers"):
        lines.append(f"| {containers['containers']} containers, 4 lines and a step of progress every 4 s each | {containers['lines_there']:,} of {containers['lines_sent']:,} lines are there, {containers['wrong']} requests refused; p50 {containers['p50_ms']:.1f} ms, p99 {containers['p99_ms']:.1f} ms |")
    return lines


def compare(small, large):
    """CPU of the same requests on two sets of data, and whether it has grown too much."""
    lines = [f"| request | {small['rows']:,} | {large['rows']:,} | growth |", "|---|---|---|---|"]
    missed = []
    for name in small["scenarios"]:
        if name in large["scenarios"]:
            before, after = (both(results["scenarios"][name]["ours"]) for results in (small, large))
            lines.append(f"| {name} | {before:.3f} | {after:.3f} | {after / before:.2f} |")
            if after > GROWTH * before:
                missed.append(f"{name} has grown by {after / before:.2f}, not {GROWTH}.")
    return "\n".join(lines), missed
