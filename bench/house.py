"""What a measurement stands on: a PostgreSQL, databases, the two servers, and what their processes have cost."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
USER, ADMIN, PASSWORD = "user@example.org", "admin@example.org", "Bench-1-password-of-no-worth"
SCRIPT = "10000000-0000-4000-8000-000000000001"
TICK = os.sysconf("SC_CLK_TCK")


def run(*words, **more):
    """What a program prints; ends everything if it fails."""
    done = subprocess.run([str(word) for word in words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode:
        sys.exit(f"{words[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Postgres:
    """A PostgreSQL of its own with the settings of a fresh installation; as the account `postgres` where this is root."""

    def __init__(self, folder):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        initdb = found[-1] if found else shutil.which("initdb")
        if not initdb:
            sys.exit("PostgreSQL is not installed.")
        self.bin, self.home, self.port = pathlib.Path(initdb).parent, folder / "postgres", free_port()
        self.become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if not self.home.exists():
            self.home.mkdir(parents=True)
            if self.become:
                folder.chmod(0o711)
                shutil.chown(self.home, "postgres")
            run(*self.become, self.bin / "initdb", "-D", self.home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8")

    def __enter__(self):
        # Its output goes to the log: a pipe would stay open as long as it lives.
        words = ["-l", self.home / "log", "-o", f"-p {self.port} -k {self.home}", "start"]
        subprocess.run([str(word) for word in [*self.become, self.bin / "pg_ctl", "-D", self.home / "data", "-w", "-s", *words]], check=True)
        lines = run(*self.become, "cat", self.home / "data" / "postmaster.pid").split()
        self.pid = int(lines[0])
        return self

    def __exit__(self, *_):
        run(*self.become, self.bin / "pg_ctl", "-D", self.home / "data", "-w", "-s", "-m", "fast", "stop")

    def url(self, database):
        return f"postgresql://postgres:x@127.0.0.1:{self.port}/{database}"

    def ask(self, database, sql, **values):
        """What a statement answers, a text."""
        words = [word for name, value in values.items() for word in ("-v", f"{name}={value}")]
        return run("psql", self.url(database), "-qAt", "-v", "ON_ERROR_STOP=1", *words, input=sql).strip()

    def has(self, database):
        return self.ask("postgres", f"SELECT count(*) FROM pg_database WHERE datname = '{database}'") == "1"

    def cpu(self):
        """Seconds of each living process; autovacuum is left out: it comes when it likes, and for what others wrote."""
        spent = {self.pid: ticks(self.pid)}
        for pid in children(self.pid):
            with contextlib.suppress(OSError):
                if b"autovacuum" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    spent[pid] = ticks(pid)
        return spent


@contextlib.contextmanager
def database(postgres, template=None):
    """A database for one use: empty, or a copy."""
    name = f"bench_{secrets.token_hex(4)}"
    copy = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
    postgres.ask("postgres", f"CREATE DATABASE {name}{copy}")
    postgres.ask("postgres", "CHECKPOINT")
    try:
        yield name
    finally:
        postgres.ask("postgres", f"DROP DATABASE {name} WITH (FORCE)")


def filled(postgres, binary, rows, folder):
    """The name of a database with so many executions, ten log lines each; made where it is not there yet."""
    recipe = (HERE / "fill.sql").read_bytes() + b"".join(path.read_bytes() for path in sorted((HERE.parent / "migrations" / "postgres").iterdir()))
    name = f"filled_{rows}_{hashlib.sha256(recipe).hexdigest()[:8]}"
    if postgres.has(name):
        return name
    postgres.ask("postgres", "CREATE DATABASE filling")
    accounts(binary, postgres.url("filling"), folder)
    run(binary, "script", "import", HERE.parent / "examples" / "trend", "--id", SCRIPT, "--data-dir", folder, env=environment(postgres.url("filling")))
    user, admin = ids(postgres, "filling")
    postgres.ask("filling", (HERE / "fill.sql").read_text(), rows=rows, lines=10, script=SCRIPT, user=user, admin=admin)
    postgres.ask("postgres", f"ALTER DATABASE filling RENAME TO {name}")
    return name


def accounts(binary, url, folder):
    """The user and the administrator, who have passwords."""
    for email, role in ((USER, "USER"), (ADMIN, "SUPERADMIN")):
        create = (binary, "user", "create", email, "--role", role, "--data-dir", folder)
        run(*create, input=PASSWORD + "\n", env=environment(url))


def ids(postgres, database):
    """Of the user and of the administrator."""
    return [postgres.ask(database, f"""SELECT id FROM "user" WHERE email = '{email}'""") for email in (USER, ADMIN)]


SECRET = secrets.token_hex(32)


def environment(url, **more):
    """Of a server: no limits, and only errors in the log."""
    calm = {"RATE_LIMITING_ENABLED": "false", "RUST_LOG": "error"}
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "DATABASE_URL": url, "JWT_SECRET_KEY": SECRET, **calm, **more}


def token(account):
    """An access token as a sign-in gives it, without the hash that a sign-in costs."""
    now = int(time.time())
    claims = {"fresh": False, "iat": now, "nbf": now, "exp": now + 36_000, "type": "access", "sub": account, "csrf": secrets.token_hex(16), "jti": secrets.token_hex(16)}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    mark = hmac.new(SECRET.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(mark).rstrip(b"=")]).decode()


def people_of(postgres, database):
    """The ids of the people of a filled database."""
    return postgres.ask(database, """SELECT id FROM "user" WHERE email LIKE 'person%' ORDER BY id""").split()


class Server:
    """A running server. `first_answer_ms`: from its start to its first answer."""

    def __init__(self, words, env, log):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = log
        self.words = [str(word).replace("LISTEN", self.address) for word in words]
        self.env = {**env, "LISTEN": self.address}

    def __enter__(self):
        begun = time.perf_counter()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.words, env=self.env, stdout=log, stderr=log)
        while time.perf_counter() - begun < 30:
            with contextlib.suppress(OSError):
                self.ask("GET", "/api-health")
                self.first_answer_ms = (time.perf_counter() - begun) * 1000
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.002)
        self.process.kill()
        sys.exit(f"{self.words[0]} does not answer:\n{pathlib.Path(self.log).read_text()}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method, path, token=None, body=None):
        """Status and document of one answer."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None

    def cpu(self):
        """Seconds of the process, of its living children and of those that have ended."""
        return {self.process.pid: ticks(self.process.pid, True)} | {pid: ticks(pid, True) for pid in below(self.process.pid)}

    def memory_mib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


def ours(binary, postgres, name, folder, worker=False, **more):
    words = [binary, "serve", "--listen", "LISTEN", "--data-dir", folder, *([] if worker else ["--no-worker"])]
    return Server(words, environment(postgres.url(name), **more), folder.parent / "server.log")


def bare(program, postgres, name, folder):
    return Server([program], environment(postgres.url(name)), folder.parent / "bare.log")


def ticks(pid, with_ended=False):
    """Seconds of processor time."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11 : 15 if with_ended else 13]) / TICK


def children(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def below(pid):
    """Children, their children, and so on."""
    return [one for child in children(pid) for one in (child, *below(child))]


def spent(before, after):
    """Seconds that processes have used between two looks."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
