"""One kind of request: its highest rate, what it costs, and how long answers take at half of that rate."""

import json
import subprocess
import sys

from house import HERE, SCRIPT, ids, spent

# Executions that are made for each second of the scenario that ends them.
ENDS_A_SECOND = 2_500
PREFIX = {"ours": "41000000", "bare": "42000000"}


class Load:
    """The load generator."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def begin(self, server, requests, seconds, connections, **kind):
        job = {"address": server.address, "requests": str(requests), "seconds": seconds, "connections": connections, **kind}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([str(self.program)], text=True, **pipes)
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        process.stdin = None
        return process

    def end(self, process):
        figures, trouble = process.communicate()
        if process.returncode:
            sys.exit(f"The load generator failed: {trouble}")
        return json.loads(figures)

    def run(self, *job, **kind):
        return self.end(self.begin(*job, **kind))


def cost(postgres, server, act):
    """Figures of what `act` does, with CPU ms of each of its answers."""
    before = server.cpu(), postgres.cpu()
    figures = act()
    each = 1000 / max(figures["answers"], 1)
    figures["server_ms"] = spent(before[0], server.cpu()) * each
    figures["database_ms"] = spent(before[1], postgres.cpu()) * each
    return figures


def scenario(name, servers, postgres, database, scenarios, load, seconds, rounds, connections):
    """By server: rate, p50, p99 at half of it, costs, memory. The servers take turns, the best round of each counts."""
    path = load.folder / "requests.json"
    ending = name == "end of a run"
    done = dict.fromkeys(servers, 1)
    if ending:
        count = int(ENDS_A_SECOND * seconds * (rounds + 1))
        for side in servers:
            postgres.ask(database, (HERE / "open.sql").read_text(), prefix=PREFIX[side], count=count, script=SCRIPT, user=ids(postgres, database)[0])
    else:
        scenarios.write(path, scenarios.requests(name))

    def send(side, share, kind, **more):
        if ending:
            scenarios.write(path, scenarios.ends(PREFIX[side], done[side], int(ENDS_A_SECOND * seconds * share)))
        figures = load.run(servers[side], path, seconds * share, connections, kind=kind, once=ending, **more)
        done[side] += figures["answers"] + connections
        return figures

    best, wrong = {}, None
    for side in servers:
        send(side, 0.2, "closed")
    for _ in range(rounds):
        for side, server in servers.items():
            figures = cost(postgres, server, lambda: send(side, 0.9, "closed"))
            wrong = wrong or figures["first_wrong"]
            if side not in best or figures["rate"] > best[side]["rate"]:
                best[side] = figures
    found = {}
    for side, server in servers.items():
        calm = send(side, 0.9, "open", rate=best[side]["rate"] / 2)
        wrong = wrong or calm["first_wrong"]
        found[side] = {
            "rate": best[side]["rate"],
            "p50_ms": calm["p50_ms"],
            "p99_ms": calm["p99_ms"],
            "server_ms": best[side]["server_ms"],
            "database_ms": best[side]["database_ms"],
            "memory_mib": server.memory_mib(),
        }
    return {**found, "wrong": wrong}
