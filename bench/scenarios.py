"""The kinds of requests, what the existing server needed for them, and what ours may need."""

import json
import random

from house import PASSWORD, SCRIPT, USER, token

# CPU ms of the existing server and of its database for the same request, as they were measured on a quiet machine of two cores
# with PostgreSQL 15, 100,000 executions and 1,000,000 log lines; and how many times less ours has to need.
REFERENCE = {
    "health": (1.16, 0.13, 50),
    "own profile": (2.61, 0.32, 10),
    "scripts": (3.95, 0.59, 10),
    "list of an admin": (8.16, 71.5, 60),
    "the same, short": (10.4, 25.3, 10),
    "list of a user": (11.9, 5.81, 10),
    "one execution": (3.40, 0.50, 10),
    "its log": (5.03, 0.77, 10),
    "log line": (5.23, 0.96, 10),
    "progress": (5.34, 1.02, 10),
    "end of a run": (8.07, 39.1, 40),
    "sign-in": (114.0, 5.2, 1),
}
# These have a budget of their own against the existing server, which counts instead of the one against the bare handler.
BY_REFERENCE = ("health", "list of an admin", "end of a run")
OF_BARE, P99_OF_P50, GROWTH = 1.6, 6.0, 1.3

# What one file of requests draws from; enough that neither server answers from what it has just seen.
DRAWN = 5_000
OWN = "/api/v1/execution/user?updated_at=2026-05-20&page=1&per_page=100"
ALL = "/api/v1/execution?page=1&per_page=50"


class Scenarios:
    """The requests of each kind on a database of so many executions. Tokens: of the user, of the administrator, of many people."""

    def __init__(self, rows, accounts):
        self.rows = rows
        self.tokens = [token(account) for account in accounts]

    def somebody(self):
        return random.randrange(2, len(self.tokens))

    def submit(self):
        return ("POST", f"/api/v1/script/{SCRIPT}/run", self.somebody(), {"task_name": f"bench {random.random()}", "from_year": 1900})

    def any(self):
        return f"/api/v1/execution/30000000-0000-4000-8000-{random.randint(1, self.rows):012}"

    def open(self):
        newest = min(self.rows, 100_000)
        return f"/api/v1/execution/30000000-0000-4000-8000-{self.rows // 10 * 10 - 10 * random.randint(0, newest // 10 - 1):012}"

    def draw(self):
        """By name: a function that draws method, path, token, body."""
        user, admin = 0, 1
        return {
            "health": lambda: ("GET", "/api-health", None, None),
            "own profile": lambda: ("GET", "/api/v1/user/me", user, None),
            "scripts": lambda: ("GET", "/api/v1/script", user, None),
            "list of an admin": lambda: ("GET", ALL, admin, None),
            "the same, short": lambda: ("GET", ALL + "&exclude=params,results&include=script_name,user_name&sort=start_date%20desc", admin, None),
            "list of a user": lambda: ("GET", OWN + "&exclude=params", user, None),
            "list of the plugin": lambda: ("GET", OWN + "&include=script&exclude=params,results", user, None),
            "one execution": lambda: ("GET", self.any(), admin, None),
            "its log": lambda: ("GET", self.any() + "/log", admin, None),
            "log line": lambda: ("POST", self.open() + "/log", admin, {"text": "processed tile 12 of 977", "level": "INFO"}),
            "progress": lambda: ("PATCH", self.open(), admin, {"progress": random.randint(1, 99)}),
            "end of a run": None,
            "submit": self.submit,
            "sign-in": lambda: ("POST", "/auth", None, {"email": USER, "password": PASSWORD}),
        }

    def requests(self, name):
        draw = self.draw()[name]
        return [draw() for _ in range(1 if name == "health" else DRAWN)]

    def ends(self, prefix, first, count):
        """Requests that end running executions, each once."""
        results = {"type": "CloudResults", "name": "bench"}
        path = f"/api/v1/execution/{prefix}-0000-4000-8000-"
        return [("PATCH", f"{path}{n:012}", 1, {"status": "FINISHED", "results": results}) for n in range(first, first + count)]

    def write(self, path, requests, tokens=None):
        """The file that `load` reads."""
        lines = [(method, target, who, None if body is None else json.dumps(body)) for method, target, who, body in requests]
        path.write_text(json.dumps({"tokens": tokens or self.tokens, "requests": lines}))
        return path
