"""The journal: what a script says while it runs, a line of JSON a word; the server reads it as it grows.
Here too: the logger that a script is handed, and the way of all other log records into the journal."""

import json
import logging
import os
import sys
import time

from gefcore import script

MAX_TEXT = 10_000
CUT = " … [cut]"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Journal:
    """Appends lines to a file. A line is one `write`, which the kernel appends whole, so threads and
    forked children need no lock (and none can be left locked by a fork)."""

    def __init__(self, path):
        self.torn = False
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.file = -1
            print(f"The journal cannot be opened: {error}", file=sys.stderr)

    def write(self, at=None, **word):
        # JSON in ASCII: a lone surrogate passes as an escape instead of failing as UTF-8.
        line = json.dumps({"at": round(at or time.time(), 6), **word}, separators=(",", ":")) + "\n"
        if self.torn:  # a full disk took half of the line before: keep this one apart from it
            line = "\n" + line
        try:
            self.torn = os.write(self.file, line.encode()) < len(line)
        except OSError:
            pass  # a word that cannot be kept is no reason to end a script

    def log(self, level, text, at=None):
        self.write(at, log={"level": level, "text": shorten(text)})

    def failed(self, kind, sentence):
        self.write(failed={"class": kind, "message": shorten(sentence, 2_000)})


def shorten(text, limit=MAX_TEXT):
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


journal = Journal(os.environ.get("TE_JOURNAL", "/te/journal.ndjson"))


class JournalHandler(logging.Handler):
    def emit(self, record):
        try:
            text = self.format(record)
        except Exception:  # arguments that do not fit the text: say the text all the same
            self.handleError(record)
            text = str(record.msg)
        level = LEVELS[min(max(record.levelno // 10, 1), 5) - 1]  # by number: names can be changed
        journal.log(level, text, record.created)


class ScriptLogger(logging.Logger):
    """The `logger` of `run(params, logger)`."""

    warn = logging.Logger.warning

    def send_progress(self, progress):
        """Tells how far the script has come, 0 to 100."""
        try:
            number = float("nan") if isinstance(progress, (str, bytes)) else float(progress)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if number != number:
            return self.warning("The progress is not a number: %r", progress)
        number = min(max(number, 0.0), 100.0)
        journal.write(progress=int(number) if number.is_integer() else number)


def worth_telling(record):
    """Of what goes through the root logger: all that the author's own files say, of libraries only warnings."""
    return record.levelno >= logging.WARNING or script.owns(record.pathname)


def connect():
    """Leads Python's logging into the journal and returns the script's logger.
    The logger is known by its name, so that it can be handed to a pool of processes."""
    logging.setLoggerClass(ScriptLogger)
    logger = logging.getLogger("script")
    logging.setLoggerClass(logging.Logger)
    if not logger.handlers:  # a process of a pool may come here twice
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(JournalHandler())

        others = JournalHandler()
        others.addFilter(worth_telling)
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger().addHandler(others)
    return logger
