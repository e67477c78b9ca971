"""What people do: submit, wait for a start, poll, watch, and let containers report."""

import datetime
import os
import pathlib
import subprocess
import time

from house import HERE, SCRIPT, accounts, database, ids, ours, people_of, spent, token
from measure import cost

NOTHING = "12000000-0000-4000-8000-000000000001"
CONTAINERS = "43000000"


def of_requests(quick):
    """Flows that need no engine, in this order, each on the filled database; streams first, while the process is small."""
    return {
        "streams": lambda *where: streams(*where, quick),
        "polls": lambda *where: polls(*where, 10 if quick else 30),
        "containers": lambda *where: containers(*where, 8 if quick else 20),
        "submits": lambda *where: submits(*where, 10 if quick else 60),
    }


def submits(server, postgres, name, scenarios, load, seconds, rate=500):
    """So many submits a second of many people, and how many rows there are afterwards."""
    count = lambda: int(postgres.ask(name, "SELECT count(*) FROM execution"))
    path = scenarios.write(load.folder / "submits.json", [scenarios.submit() for _ in range(rate * seconds)])
    before = count()
    act = lambda: load.run(server, path, seconds + 5, 32, kind="open", rate=rate, once=True)
    figures = cost(postgres, server, act)
    accepted = figures["statuses"].get("200", 0)
    return {**figures, "accepted": accepted, "lost": accepted - (count() - before), "asked_rate": rate}


def polls(server, postgres, name, scenarios, load, seconds, plugins=1000, every_s=5):
    """Plugins that ask for their list again and again, with the tag of the last answer."""
    path = "/api/v1/execution/user?updated_at=2026-03-01&include=script&exclude=params,results"
    people = len(scenarios.tokens) - 2
    scenarios.write(load.folder / "polls.json", [("GET", path, 2 + n % people, None) for n in range(plugins)])
    begun = time.monotonic()
    act = lambda: load.run(server, load.folder / "polls.json", seconds, plugins, kind="poll", every_s=every_s)
    figures = cost(postgres, server, act)
    busy = (figures["server_ms"] + figures["database_ms"]) * figures["answers"] / 1000
    figures["cpu_share"] = busy / (time.monotonic() - begun) / os.cpu_count()
    figures["unchanged"] = figures["statuses"].get("304", 0) / max(figures["answers"], 1)
    return {**figures, "plugins": plugins, "every_s": every_s, "people": people}


def containers(server, postgres, name, scenarios, load, seconds, many=200):
    """Containers that write four lines and a step of progress every four seconds each; all lines are there afterwards."""
    user = ids(postgres, name)[0]
    postgres.ask(name, (HERE / "open.sql").read_text(), prefix=CONTAINERS, count=many, script=SCRIPT, user=user)
    requests = []
    for step in range(max(seconds // 4, 1)):
        for part in range(5):
            for n in range(1, many + 1):
                one = f"/api/v1/execution/{CONTAINERS}-0000-4000-8000-{n:012}"
                line = {"text": f"step {step}, line {part}", "level": "INFO"}
                requests.append(("POST", one + "/log", 1, line) if part else ("PATCH", one, 1, {"progress": step}))
    scenarios.write(load.folder / "containers.json", requests)
    act = lambda: load.run(server, load.folder / "containers.json", seconds + 30, many, kind="open", rate=many * 5 / 4, once=True)
    figures = cost(postgres, server, act)
    lines = int(postgres.ask(name, f"SELECT count(*) FROM execution_log WHERE execution_id::text LIKE '{CONTAINERS}%'"))
    return {**figures, "containers": many, "lines_sent": len(requests) * 4 // 5, "lines_there": lines}


def streams(server, postgres, name, scenarios, load, quick, many=2000):
    """Readers of live logs: what memory they take while nothing happens, and whether lines reach them all."""
    rows = postgres.ask(name, "SELECT user_id, id FROM execution WHERE status = 'RUNNING' ORDER BY id").splitlines()
    own = {}
    for account, execution in (row.split("|") for row in rows):
        own.setdefault(account, []).append(execution)
    people = [(who, own[account]) for who, account in enumerate(people_of(postgres, name), 2) if account in own]
    # Sixteen streams a person are allowed.
    watched = [(who, runs[n % len(runs)]) for n in range(16) for who, runs in people][:many]
    requests = [("GET", f"/api/v1/execution/{execution}/log/stream?last-id=999999999", who, None) for who, execution in watched]
    scenarios.write(load.folder / "streams.json", requests)
    before, seconds = server.memory_mib(), 35 if quick else 60
    watching = load.begin(server, load.folder / "streams.json", seconds, len(watched), kind="stream")
    # Lines get numbers above the cursor, so that nothing old is read before.
    postgres.ask(name, "SELECT setval(pg_get_serial_sequence('execution_log', 'id'), 1000000000)")
    told = watching.stderr.readline().strip()
    postgres_before, server_before, begun = postgres.cpu(), server.cpu(), time.monotonic()
    time.sleep(5 if quick else 15)
    busy = spent(server_before, server.cpu()) + spent(postgres_before, postgres.cpu())
    share = busy / (time.monotonic() - begun) / os.cpu_count()
    memory = server.memory_mib()
    spoken = sorted({execution for _, execution in watched})
    lines = [("POST", f"/api/v1/execution/{execution}/log", 1, {"text": "to whom it may concern", "level": "INFO"}) for execution in spoken]
    scenarios.write(load.folder / "lines.json", lines)
    load.run(server, load.folder / "lines.json", 20, 16, kind="closed", once=True)
    figures = load.end(watching)
    return {
        "streams": len(watched),
        "opened": told == "open",
        "wrong": len(watched) - figures["statuses"].get("200", 0),
        "first_wrong": figures["first_wrong"],
        "before_mib": before,
        "idle_mib": memory,
        "idle_cpu_share": share,
        "lines_sent": len(watched),
        "lines_read": figures["lines"],
    }


def engine(binary, postgres, folder, scenarios, load, quick):
    """On an empty server with a worker: from a submit to its keeper, and how many runs that do nothing a second."""
    folder = folder / "engine"
    folder.mkdir(mode=0o711)
    with database(postgres) as name:
        accounts(binary, postgres.url(name), folder / "data")
        with ours(binary, postgres, name, folder / "data", worker=True, MAX_CONCURRENT_EXECUTIONS_PER_USER="100000") as server:
            admin = token(ids(postgres, name)[1])
            subprocess.run([str(binary), "script", "import", str(HERE / "noop"), "--id", NOTHING, "--data-dir", str(folder / "data")], env=server.env, check=True, stdout=subprocess.DEVNULL)
            state = wait(lambda: postgres.ask(name, f"SELECT status FROM script WHERE id = '{NOTHING}'"), ("SUCCESS", "FAIL"), 180)
            if state != "SUCCESS":
                return {"trouble": f"The script was not built ({state}): {server.log.read_text()[-500:]}"}
            found = {"idle_mib": server.memory_mib(), "first_answer_ms": server.first_answer_ms}
            found |= starts(server, postgres, name, admin, folder / "data" / "runs", 20 if quick else 100)
            found |= ends(server, postgres, name, admin, scenarios, load, 60 if quick else 400)
            return found


def wait(ask, wanted, seconds, pause=0.1):
    """What is answered once it is one of those wanted, or at last; asked again after each pause."""
    end = time.monotonic() + seconds
    while (answer := ask()) not in wanted and time.monotonic() < end:
        time.sleep(pause)
    return answer


def starts(server, postgres, name, admin, runs, many):
    """One submit at a time on an idle server. A keeper's first act is to make the file of its unit's output."""
    waits, whole = [], []
    for n in range(many):
        begun = time.time()
        status, answer = server.ask("POST", f"/api/v1/script/{NOTHING}/run", admin, {"n": n})
        if status != 200:
            return {"trouble": f"A submit was answered {status}: {answer}"}
        run = answer["data"]["id"]
        over = ("FINISHED", "FAILED", "CANCELLED")
        state = wait(lambda: postgres.ask(name, f"SELECT status FROM execution WHERE id = '{run}'"), over, 60)
        if state != "FINISHED":
            return {"trouble": f"A run that does nothing is {state}."}
        whole.append(float(postgres.ask(name, f"SELECT EXTRACT(EPOCH FROM end_date - start_date) FROM execution WHERE id = '{run}'")) * 1000)
        born = subprocess.run(["stat", "-c", "%w", str(pathlib.Path(runs) / run / "stdout.log")], text=True, capture_output=True, check=False).stdout
        if len(born) > 30:
            # Nanoseconds, of which datetime knows the first six digits.
            moment = datetime.datetime.strptime(born[:26] + born.strip()[-6:], "%Y-%m-%d %H:%M:%S.%f %z")
            waits.append((moment.timestamp() - begun) * 1000)
    waits.sort()
    whole.sort()
    at = lambda times, share: times[min(len(times) - 1, int(share * len(times)))] if times else None
    return {"start_p50_ms": at(waits, 0.5), "start_p99_ms": at(waits, 0.99), "whole_p50_ms": at(whole, 0.5), "starts": len(waits)}


def ends(server, postgres, name, admin, scenarios, load, many):
    """All submitted at once; a second of the time from the first start to the last end."""
    mark = postgres.ask(name, "SELECT max(start_date) FROM execution")
    requests = [("POST", f"/api/v1/script/{NOTHING}/run", 0, {"n": n}) for n in range(many)]
    path = scenarios.write(load.folder / "nothing.json", requests, [admin])
    load.run(server, path, 60, 8, kind="closed", once=True)
    open_ones = f"SELECT count(*) FROM execution WHERE start_date > '{mark}' AND end_date IS NULL"
    # Seldom, for whoever asks works on the same cores.
    wait(lambda: postgres.ask(name, open_ones), ("0",), 300, 1)
    seconds = postgres.ask(name, f"SELECT EXTRACT(EPOCH FROM max(end_date) - min(start_date)) FROM execution WHERE start_date > '{mark}'")
    finished = int(postgres.ask(name, f"SELECT count(*) FROM execution WHERE start_date > '{mark}' AND status = 'FINISHED'"))
    return {"nothing_runs": many, "nothing_finished": finished, "nothing_rate": finished / float(seconds)}
