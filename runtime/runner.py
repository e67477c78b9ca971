"""Runs one execution inside its sandbox: imports the author's `src/main.py`, calls `run(params, logger)` and
leaves `result.json`, or in the journal the reason why there is none. Standard library only, Python 3.9 and later."""

import faulthandler
import importlib
import json
import os
import sys
import traceback

# Isolated (-I), Python has not even this file's folder on its path. The processes of `multiprocessing` read
# this part, too, and so find the script and its logger.
HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from gefcore import Failure, gee, results, script  # noqa: E402
from gefcore.journal import connect, journal  # noqa: E402

if script.SRC not in sys.path:
    sys.path.insert(0, script.SRC)
logger = connect()


def load():
    """The author's module, known as `gefcore.script.main` and as `main`."""
    if not os.path.isfile(os.path.join(script.SRC, "main.py")):
        raise Failure("script_error", "The script has no file src/main.py.")
    main = importlib.import_module("gefcore.script.main")
    sys.modules.setdefault("main", main)
    if not hasattr(main, "run"):
        raise Failure("script_error", "The script has no function run(params, logger) in src/main.py.")
    if not callable(main.run):
        raise Failure("script_error", "What src/main.py calls run is not a function.")
    return main


def read_params():
    try:
        with open(os.environ.get("TE_PARAMS", "/te/params.json"), encoding="utf-8") as file:
            params = json.load(file)
    except (OSError, ValueError) as error:
        raise Failure("infrastructure", f"The parameters could not be read: {error}") from error
    if not isinstance(params, dict):
        raise Failure("infrastructure", "The parameters are not a JSON object.")
    return {**params, "ENV": os.environ.get("ENV", "prod"), "EXECUTION_ID": os.environ.get("EXECUTION_ID")}


def execute():
    main = load()
    gee.initialise(getattr(main, "REQUIRES_GEE", None), logger)
    params = read_params()
    journal.write(phase="running")
    return main.run(params, logger)


def blames_input(error):
    """An author blames the parameters by an exception named UserInputError, or one with `te_user_input = True`."""
    named = any(kind.__name__ == "UserInputError" for kind in type(error).__mro__)
    return named or getattr(error, "te_user_input", False) is True


def explain(error):
    """The class of a failure, and a sentence for people."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, Failure):
        return error.kind, text
    if isinstance(error, MemoryError):
        return "out_of_memory", f"The script ran out of memory: {text}" if text else "The script ran out of memory."
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            return "script_error", f"The script called exit before it returned a result: {text}"
        code = f"({error.code})" if error.code else ""
        return "script_error", f"The script called exit{code} before it returned a result."
    if isinstance(error, KeyboardInterrupt):
        return "script_error", "The script was interrupted."
    if blames_input(error):
        return "user_input", text or f"The script refused its parameters ({name})."
    if isinstance(error, SyntaxError) and script.owns(error.filename or ""):
        place = os.path.relpath(error.filename, script.ROOT)
        return "script_error", f"The script is not valid Python: {name}: {error.msg} ({place}, line {error.lineno})."
    hint = " (is its package named in requirements.txt?)" if isinstance(error, ModuleNotFoundError) else ""
    return "script_error", f"The script failed with {name}: {text}{hint}" if text else f"The script failed with {name}."


def trace(error):
    """The traceback from the author's first line on, without what led there."""
    frame = error.__traceback__
    while frame and not script.owns(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame)).rstrip()


def report(error):
    if isinstance(error, MemoryError):
        traceback.clear_frames(error.__traceback__)  # what the script held, so that there is room to tell of it
    try:
        kind, sentence = explain(error)
    except Exception:  # an exception that cannot even say itself
        kind, sentence = "script_error", f"The script failed with {type(error).__name__}."
    cause = error.__cause__ if isinstance(error, Failure) else error
    if cause:
        try:
            journal.log("DEBUG" if kind == "user_input" else "ERROR", trace(cause))
        except Exception:
            pass  # the sentence below matters more
    journal.failed(kind, sentence)


def main():
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # what was printed before a kill is not lost
    owner = os.getpid()
    try:
        result = execute()
        if os.getpid() == owner:
            results.write(os.environ.get("TE_OUT", "/te/out"), result)
        code = 0
    except BaseException as error:  # exit() is an end like any other
        if os.getpid() != owner:
            raise  # a child that the script forked speaks for itself only
        report(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    # The outcome stands. Threads that the script left behind, or a library that crashes when Python is
    # taken down, must not hold it back or change it.
    os._exit(code)


if __name__ == "__main__":
    main()
