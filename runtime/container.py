"""First process of a container: fetches the parameters, starts the runner, sends its journal and its result to the API, and
ends as the runner ended. What cannot be sent is sent again until it is; the journal's offset keeps it from being stored
twice. Standard library only, Python 3.9 and later."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = 0.2  # seconds between two looks at the journal
CHUNK = 256 << 10  # bytes of the journal in one request
PATIENCE = 3.0  # seconds that a runner gets to end by itself when it is told to
SECRETS = ("/run/secrets/trends-earth", ".trends-earth")  # of a cluster, of one daemon


def take_secrets():
    """The run's password, and variables that its script alone may read. A file that can be taken away is."""
    for path in SECRETS:
        try:
            with open(path, encoding="utf-8") as file:
                secrets = json.load(file)
        except FileNotFoundError:
            continue
        try:
            os.remove(path)
        except OSError:
            pass
        return secrets
    raise FileNotFoundError(SECRETS[0])


class Gone(Exception):
    """The API does not know this run any more: nobody waits for it."""


class Api:
    def __init__(self, password):
        self.password = password
        self.base = os.environ["API_URL"].rstrip("/")
        self.execution = os.environ["EXECUTION_ID"]
        self.token = None

    def sign_in(self):
        body = {"email": os.environ["API_USER"], "password": self.password}
        self.token = self.send("POST", "/auth", body)["access_token"]

    def send(self, method, path, body=None):
        """One request; its answer. Large bodies go packed."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if data is not None and len(data) > 1000:
            data, headers["Content-Encoding"] = gzip.compress(data, 5), "gzip"
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        request = urllib.request.Request(self.base + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def call(self, method, what, body=None):
        """Until it is answered: the API may be away for a while, the run is not."""
        path, pause, refused = f"/api/v1/execution/{self.execution}{what}", 0.1, 0
        while True:
            try:
                if self.token is None:
                    self.sign_in()
                return self.send(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    self.token, refused = None, refused + 1
                if refused > 1 or (400 <= error.code < 500 and error.code not in (401, 408, 429)):
                    raise Gone(f"{method} {path}: {error.code} {error.read(500)!r}") from error
                reason = str(error)
            except (OSError, ValueError, KeyError) as error:
                reason = str(error)
            if pause > 5:
                print(f"the API does not answer ({reason}); trying again", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 15.0)


class Journal:
    """Sends what the runner writes, from the offset that is stored on."""

    def __init__(self, api, path):
        self.api, self.path, self.offset = api, path, 0

    def ship(self):
        """Sends the next whole lines; False if there are none."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                chunk = file.read(CHUNK)
        except FileNotFoundError:
            return False
        end = chunk.rfind(b"\n") + 1
        if not end:
            if len(chunk) < CHUNK:
                return False
            end = len(chunk)  # no word of the runner is so long
        piece = {"offset": self.offset, "next": self.offset + end, "lines": chunk[:end].decode("utf-8", "replace")}
        self.offset = self.api.call("POST", "/journal", piece)["data"]["offset"]
        return True

    def say(self, **word):
        """A word of our own, after all of the runner's."""
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # it was killed in the middle of a line
                    file.write(b"\n")
            file.write(json.dumps({"at": time.time(), **word}).encode() + b"\n")


def memory_limit():
    """Bytes, if the kernel has ended something here because they were used up; else None."""
    ways = (
        ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory.max"),
        ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    )
    for events, limit in ways:
        try:
            with open(events, encoding="ascii") as file:
                counts = dict(line.split() for line in file)
            with open(limit, encoding="ascii") as file:
                most = file.read().strip()
        except (OSError, ValueError):
            continue
        if int(counts.get("oom_kill", 0)):
            return int(most) if most.isdigit() else None
    return None


class Unit:
    def __init__(self, folder, variables):
        self.folder, self.variables, self.stopped, self.runner = folder, variables, None, None

    def path(self, name):
        return os.path.join(self.folder, name)

    def stop(self, *_):
        """Asked to end: so is the runner, whose last words are still sent."""
        if self.stopped is None:
            self.stopped = time.monotonic()
            if self.runner and self.runner.poll() is None:
                self.runner.terminate()

    def start(self):
        env = {**self.variables, **os.environ}
        env.update(TE_PARAMS=self.path("params.json"), TE_JOURNAL=self.path("journal.ndjson"), TE_OUT=self.folder)
        env.setdefault("TE_SCRIPT", "/script")
        env.update(HOME=os.getcwd(), PYTHONUNBUFFERED="1")
        command = [sys.executable, "-I", "-B", "-X", "utf8", os.path.join(HERE, "runner.py")]
        self.runner = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, preexec_fn=offer)

    def wait(self, journal):
        """The runner's exit code, once it has ended; its journal is sent meanwhile."""
        while self.runner.poll() is None:
            if not journal.ship():
                time.sleep(TICK)
            if self.stopped is not None and time.monotonic() - self.stopped > PATIENCE:
                self.runner.kill()
        if os.getpid() == 1:  # what the script has left behind ends with it
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self.runner.returncode


def offer():
    """Where memory runs out, the script goes, and not the one who tells of it."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def run(api, unit):
    params = api.call("GET", "/params")["data"]
    with open(unit.path("params.json"), "w", encoding="utf-8") as file:
        json.dump(params, file)
    journal = Journal(api, unit.path("journal.ndjson"))
    if unit.stopped is None:
        unit.start()
    if unit.runner is None:
        return 128 + signal.SIGTERM
    code = unit.wait(journal)
    limit = memory_limit() if code == -signal.SIGKILL and unit.stopped is None else None
    if limit:
        sentence = f"The run used more than its limit of {limit:,} bytes of memory and was stopped."
        journal.say(failed={"class": "out_of_memory", "message": sentence})
    while journal.ship():
        pass
    if code == 0 and os.path.exists(unit.path("result.json")):
        with open(unit.path("result.json"), "rb") as file:
            result = file.read()
        api.call("PATCH", "", b'{"results":' + result + b',"status":"FINISHED"}')
    return 128 - code if code < 0 else code


def main():
    secrets = take_secrets()
    unit = Unit(tempfile.mkdtemp(prefix="te-"), secrets["variables"])
    signal.signal(signal.SIGTERM, unit.stop)
    signal.signal(signal.SIGINT, unit.stop)
    try:
        code = run(Api(secrets["password"]), unit)
    except Gone as error:
        print(f"nobody waits for this run any more: {error}", file=sys.stderr, flush=True)
        if unit.runner:
            unit.runner.kill()
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
