"""Builds one version inside its sandbox: checks `src/main.py`, then makes the environment and fills it from
`requirements.txt`. Standard library only, Python 3.9 and later, run with -I. Each printed line is a line of the build log.

    install.py --plan=/build/plan.json --script=/script --out=/te/out --work=/work \
        [--environment=/env --requirements=/build/requirements.txt] [--uv=/tools/uv] [--links=/links/0 …]

Exit codes: 0 done, result.json is written · 1 no environment can be made here · 3 a mistake of the author ·
4 the index or the network does not answer · 5 a package has no wheel, and the plan allows nothing else.
"""

import ast
import importlib.metadata
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

FAILED, AUTHOR, NETWORK, NO_WHEEL = 1, 3, 4, 5
TIMEOUT_S = 10
MAIN = "src/main.py"

# Words of pip and uv, in lower case, by which their failures are told apart.
NO_WHEEL_WORDS = (
    "no usable wheel", "no wheels with a matching", "no wheels are available", "building source distributions",
    "only-binary", "from versions:", "no matching distribution",
)
NETWORK_WORDS = (
    "failed to fetch", "error sending request", "connection refused", "connection reset", "connection broken",
    "timed out", "max retries exceeded", "newconnectionerror", "tunnel connection failed", "name resolution",
    "dns error", "unsuccessful tunnel", "proxyerror", "could not resolve host", "network is unreachable",
)


class Stop(Exception):
    """An end with an exit code and, as a rule, a sentence."""

    def __init__(self, code, sentence=None):
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def say(line):
    print(line, flush=True)


def options(arguments):
    """`--name=value` as a dict of lists."""
    known = {"plan", "script", "out", "work", "environment", "requirements", "uv", "links"}
    found = {name: [] for name in known}
    for argument in arguments:
        name, _, value = argument.partition("=")
        found[name[2:]].append(value)
    return found


# ------------------------------------------------------------------------------------------------ src/main.py


def check_main(script):
    """Reads, compiles and looks through the author's file; nothing of it is executed."""
    try:
        with open(os.path.join(script, *MAIN.split("/")), "rb") as file:
            source = file.read()
    except OSError:
        raise Stop(AUTHOR, f"{MAIN} is missing: an archive holds a file {MAIN} with a function run(params, logger).") from None
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        tree = ast.parse(source, MAIN)
        compile(source, MAIN, "exec", dont_inherit=True)
        found = list(definitions(tree.body))
    except SyntaxError as error:
        place = f"{MAIN}, line {error.lineno}" if error.lineno else MAIN
        text = f": {error.text.strip()[:200]}" if error.text and error.text.strip() else ""
        raise Stop(AUTHOR, f"{place}: {error.msg} (Python {python}){text}") from None
    except ValueError as error:
        raise Stop(AUTHOR, f"{MAIN} is not Python: {error}.") from None
    except (RecursionError, MemoryError):
        raise Stop(AUTHOR, f"{MAIN} is too deeply nested to be compiled.") from None
    if not found:
        raise Stop(AUTHOR, f"{MAIN} does not define run: it needs a function run(params, logger) at its top level.")
    if len(found) == 1:
        check_run(found[0])


def check_run(node):
    if isinstance(node, ast.AsyncFunctionDef) and not node.decorator_list:
        raise Stop(AUTHOR, f"{MAIN}, line {node.lineno}: run is an async function; it must be an ordinary one, run(params, logger).")
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return
    arguments = node.args
    places = len(arguments.posonlyargs) + len(arguments.args)
    needed = places - len(arguments.defaults)
    keywords = [a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None]
    if needed > 2 or (places < 2 and not arguments.vararg) or keywords:
        raise Stop(AUTHOR, f"{MAIN}, line {node.lineno}: run is called as run(params, logger); it must take these two.")


def definitions(body):
    """The nodes that give a module the name `run`, also within `if`, `try`, `with` and loops; not within functions."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name == "run":
                yield node
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            # What a star brings is not known before it runs.
            if any((name.asname or name.name.split(".")[0]) in ("run", "*") for name in node.names):
                yield node
            continue
        if isinstance(node, ast.AnnAssign) and node.value is None:
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from definitions(getattr(node, name, None) or [])
        for handler in getattr(node, "handlers", None) or []:
            yield from definitions(handler.body)
        for case in getattr(node, "cases", None) or []:
            yield from definitions(case.body)
        for part in expressions(node):
            if isinstance(part, ast.Name) and part.id == "run" and isinstance(part.ctx, ast.Store):
                yield part


def expressions(node):
    """The expressions of a statement itself, without the statements in it and without functions' insides."""
    waiting = [child for child in ast.iter_child_nodes(node) if not isinstance(child, (ast.stmt, ast.ExceptHandler))]
    while waiting:
        part = waiting.pop()
        yield part
        if not isinstance(part, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            waiting.extend(child for child in ast.iter_child_nodes(part) if not isinstance(child, ast.stmt))


# ------------------------------------------------------------------------------------------------ the index


def silent(url, insecure):
    """Why an index does not answer; None if it does, whatever it says."""
    host = urllib.parse.urlsplit(url).hostname
    context = ssl.create_default_context()
    if host in insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"{url}/pip/", method="HEAD", headers={"User-Agent": "pip/24.0 trends-earth"})
    try:
        opener.open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}" if error.code >= 502 else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, (socket.timeout, TimeoutError)):
            return "no answer in time"
        return str(reason).strip() or type(reason).__name__
    except Exception as error:  # a broken answer is an answer of nobody
        return type(error).__name__
    return None


def check_indexes(plan):
    """True if every index answers. If one does not, that ends the build, unless folders of packages may be enough."""
    for url in plan["indexes"]:
        why = silent(url, plan["insecure"])
        if why:
            host = urllib.parse.urlsplit(url).netloc
            sentence = f"The package index {host} does not answer."
            if not plan["links"]:
                print(f"({host}: {why})", file=sys.stderr)
                raise Stop(NETWORK, sentence)
            say(f"{sentence} Only the folders of packages are looked into.")
            return False
    return True


# ------------------------------------------------------------------------------------------------ installing


def run(command, extra=None):
    """Runs a command with its output in ours; returns its exit code and its last lines, in lower case."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **(extra or {})},
    )
    last = []
    for raw in child.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        if line:
            say(line[:5000])
            last = last[-199:] + [line.lower()]
    return child.wait(), "\n".join(last)


def uv_environment(work):
    return {
        "UV_CACHE_DIR": os.path.join(work, "uv"),
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_COMPILE_BYTECODE": "1",
        "UV_HTTP_TIMEOUT": "15",
        "UV_HTTP_RETRIES": "1",
        "UV_CONCURRENT_DOWNLOADS": "16",
        "UV_CONCURRENT_BUILDS": "2",
        "UV_CONCURRENT_INSTALLS": "4",
    }


class Uv:
    def __init__(self, to):
        self.uv, self.environment, self.extra = to.uv, to.environment, uv_environment(to.work)

    def make(self):
        command = [self.uv, "venv", "--no-project", "--allow-existing", "--quiet", "--python", sys.executable, self.environment]
        return run(command, self.extra)[0] == 0

    def install(self, arguments, plan):
        insecure = [word for host in plan["insecure"] for word in ("--allow-insecure-host", host)]
        command = [self.uv, "pip", "install", "--python", python_of(self.environment), "--color", "never", *insecure, *arguments]
        return run(command, self.extra)


class Venv:
    """A virtual environment with a pip of its own."""

    own_pip = True

    def __init__(self, to):
        self.environment = to.environment

    def make(self):
        more = [] if self.own_pip else ["--without-pip"]
        return run([sys.executable, "-I", "-m", "venv", *more, self.environment])[0] == 0

    def pip(self):
        return [python_of(self.environment), "-I", "-m", "pip"]

    def install(self, arguments, plan):
        insecure = [word for host in plan["insecure"] for word in ("--trusted-host", host)]
        bundle = os.environ.get("SSL_CERT_FILE")
        certificates = ["--cert", bundle] if bundle else []
        command = [
            *self.pip(), "--isolated", "--disable-pip-version-check", "--no-input", "--no-color", "--no-cache-dir",
            "--timeout", str(TIMEOUT_S), "--retries", "1", *certificates, *insecure,
            "install", "--progress-bar", "off", "--no-warn-script-location", *arguments,
        ]
        return run(command, {"PIP_CONFIG_FILE": os.devnull})


class HostPip(Venv):
    """A virtual environment without pip, filled by the pip of the interpreter that makes it."""

    own_pip = False

    def pip(self):
        return [sys.executable, "-I", "-m", "pip", "--python", python_of(self.environment)]


RUNGS = {"uv": Uv, "venv": Venv, "pip": HostPip}


def python_of(environment):
    return os.path.join(environment, "bin", "python")


class Places:
    def __init__(self, found):
        self.uv = found["uv"][0] if found["uv"] else None
        self.environment = found["environment"][0]
        self.requirements = found["requirements"][0]
        self.work = found["work"][0]


def make_environment(plan, to):
    """The first rung that can make an environment."""
    for name in plan["rungs"]:
        rung = RUNGS[name](to)
        if rung.make():
            return name, rung
        say(f"The installer {name} cannot make an environment here.")
    raise Stop(FAILED, "No environment can be made: neither uv nor venv works. On Debian and Ubuntu: apt install python3-venv")


def install(plan, to):
    online = check_indexes(plan)
    name, rung = make_environment(plan, to)
    arguments = ["--requirement", to.requirements]
    indexes = plan["indexes"] if online else []
    if not indexes:
        arguments.append("--no-index")
    for place, url in enumerate(indexes):
        arguments += ["--extra-index-url" if place else "--index-url", url]
    for link in plan["links"]:
        arguments += ["--find-links", link]
    wheels = plan["policy"] == "wheels"
    if wheels:
        arguments += ["--only-binary", ":all:"]
    code, words = rung.install(arguments, plan)
    if code != 0:
        if online:
            check_indexes({**plan, "links": []})
        if any(word in words for word in NETWORK_WORDS):
            raise Stop(NETWORK, "A package could not be downloaded: the network or the package index failed.")
        if "no space left on device" in words or code < 0:
            raise Stop(FAILED, "The packages could not be installed: the build ran out of space or was stopped.")
        if wheels and any(word in words for word in NO_WHEEL_WORDS):
            raise Stop(NO_WHEEL, "Not every package has a wheel for this Python.")
        raise Stop(AUTHOR, "The packages of requirements.txt could not be installed; see the lines above.")
    return name


def frozen(environment):
    """What was installed, as pip writes it down."""
    minor = ".".join(map(str, sys.version_info[:2]))
    lines = set()
    for folder in ("lib", "lib64"):
        path = os.path.join(environment, folder, f"python{minor}", "site-packages")
        for distribution in importlib.metadata.distributions(path=[path]):
            name = re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"])).lower()
            if name == "pip":
                continue
            lines.add(f"{name}{source_of(distribution) or '==' + distribution.version}")
    return sorted(lines)


def source_of(distribution):
    """` @ <URL>` of a package that does not come from an index."""
    try:
        direct = json.loads(distribution.read_text("direct_url.json") or "null")
        if not direct or direct["url"].startswith("file:"):
            return None
        commit = direct.get("vcs_info", {}).get("commit_id")
        return f" @ git+{direct['url']}@{commit}" if commit else f" @ {direct['url']}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def build(arguments):
    found = options(arguments)
    with open(found["plan"][0], encoding="utf-8") as file:
        plan = json.load(file)
    check_main(found["script"][0])
    result = {"frozen": [], "rung": None}
    if found["requirements"]:
        plan["links"] = [*found["links"], *plan["pages"]]
        to = Places(found)
        for note in plan["notes"]:
            say(note)
        os.makedirs(os.environ.get("TMPDIR", to.work), exist_ok=True)
        result["rung"] = install(plan, to)
        result["frozen"] = frozen(to.environment)
        say(f"Installed {len(result['frozen'])} packages: {', '.join(result['frozen'])}"[:5000])
    part = os.path.join(found["out"][0], "result.json.part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(part, os.path.join(found["out"][0], "result.json"))


def main():
    try:
        build(sys.argv[1:])
    except Stop as stop:
        if stop.sentence:
            say(stop.sentence)
        sys.exit(stop.code)


if __name__ == "__main__":
    main()
