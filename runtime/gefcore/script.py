"""The author's `src` folder as a package: `gefcore.script.main`, and `from . import x` among its modules.
Python takes any module with a `__path__` for a package and looks there for what is inside."""

import os

ROOT = os.environ.get("TE_SCRIPT", "/script")
SRC = os.path.join(ROOT, "src")
__path__ = [SRC]


def owns(path):
    """Whether a file of code is the author's."""
    return path.startswith(ROOT + os.sep)
