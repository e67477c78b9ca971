"""The runner as the server meets it: started as a process on a script, judged by its journal, result and exit code.
Run with `python3 -m unittest discover -s tests/python`, on every Python that the runner is meant for."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

RUNNER = pathlib.Path(__file__).resolve().parents[2] / "runtime" / "runner.py"


class Unit:
    """One execution: its folder before, and what it left behind after."""

    def __init__(self, main=None, params="{}", env=None, journal=None, journal_is_whole=True, **modules):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for part in ("script/src", "out", "work"):
                (folder / part).mkdir(parents=True)
            if main is not None:
                modules["main"] = main
            for module, text in modules.items():
                path = folder / "script" / "src" / (module.replace(".", "/") + ".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(textwrap.dedent(text), encoding="utf-8")
            (folder / "params.json").write_text(params, encoding="utf-8")
            self.journal = pathlib.Path(journal) if journal else folder / "journal.ndjson"
            process = subprocess.run(
                [sys.executable, "-I", "-B", "-X", "utf8", str(RUNNER)],
                cwd=folder / "work",
                env={
                    "PATH": os.environ["PATH"],
                    "TZ": "UTC",
                    "ENV": "prod",
                    "EXECUTION_ID": "0a1b",
                    "TE_PARAMS": str(folder / "params.json"),
                    "TE_JOURNAL": str(self.journal),
                    "TE_OUT": str(folder / "out"),
                    "TE_SCRIPT": str(folder / "script"),
                    **(env or {}),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=60,
            )
            self.code = process.returncode
            self.stdout = process.stdout.decode()
            self.stderr = process.stderr.decode(errors="replace")
            self.left = sorted(path.name for path in (folder / "out").iterdir())
            self.text = (folder / "out/result.json").read_text() if self.left else None
            self.lines = [] if journal else self.journal.read_text(encoding="ascii").splitlines()
            self.words = [json.loads(line) for line in self.lines] if journal_is_whole else []

    @property
    def result(self):
        return json.loads(self.text)

    @property
    def logs(self):
        return [(word["log"]["level"], word["log"]["text"]) for word in self.words if "log" in word]

    @property
    def failed(self):
        """Class and sentence of the failure, which must be the last word, with exit code 1 and no result."""
        assert self.code == 1 and self.left == [], (self.code, self.left, self.stderr)
        failed = self.words[-1]["failed"]
        return failed["class"], failed["message"]


def returning(expression, setup=""):
    return Unit(f"{setup}\ndef run(params, logger):\n    return {expression}\n")


def doing(*statements, **more):
    body = "".join(f"    {statement}\n" for statement in statements)
    return Unit(f"def run(params, logger):\n{body}", **more)


class Calling(unittest.TestCase):
    def test_a_script_gets_its_parameters_and_leaves_its_result(self):
        unit = returning("params")
        self.assertEqual(unit.code, 0, unit.stderr)
        self.assertEqual(unit.result, {"ENV": "prod", "EXECUTION_ID": "0a1b"})
        self.assertEqual(doing("return params['years']", params='{"years": [2000, 2020]}').result, [2000, 2020])

    def test_nothing_but_the_whole_result_is_left(self):
        self.assertEqual(returning("{}").left, ["result.json"])

    def test_running_is_told_before_run_and_after_the_import(self):
        unit = Unit("import logging\nlogging.info('importing')\ndef run(p, logger):\n    logger.info('in run')")
        self.assertEqual([next(key for key in word if key != "at") for word in unit.words], ["log", "phase", "log"])
        self.assertEqual(unit.words[1]["phase"], "running")

    def test_every_word_has_the_time(self):
        before = time.time()
        unit = doing("logger.info('x')", "logger.send_progress(1)")
        self.assertTrue(all(before - 1 < word["at"] < time.time() + 1 for word in unit.words))

    def test_modules_beside_main_can_be_imported_in_every_way(self):
        unit = Unit(
            """
            import helper
            from . import helper as relative
            from gefcore.script import helper as absolute
            from lib.deep import depth
            def run(params, logger):
                import main
                from gefcore.script import main as again
                return [helper.name, relative.name, absolute.name, depth, main is again, main.__name__]
            """,
            helper="name = 'helper'",
            **{"lib.deep": "depth = 2"},
        )
        self.assertEqual(unit.result, ["helper", "helper", "helper", 2, True, "gefcore.script.main"])

    def test_a_module_of_the_script_may_have_a_name_that_the_runner_uses(self):
        unit = Unit("import results, gee\ndef run(p, l): return results.x + gee.x", results="x = 1", gee="x = 2")
        self.assertEqual(unit.result, 3)

    def test_what_is_printed_goes_to_standard_output_only(self):
        unit = doing("print('grüße')")
        self.assertEqual(unit.stdout, "grüße\n")
        self.assertEqual(unit.logs, [])

    def test_the_working_folder_is_scratch(self):
        self.assertEqual(doing("open('x', 'w').write('y')", "return open('x').read()").result, "y")

    def test_parameters_that_are_no_object_are_not_the_scripts_fault(self):
        kind, sentence = doing("pass", params="[1]").failed
        self.assertEqual((kind, sentence), ("infrastructure", "The parameters are not a JSON object."))
        self.assertEqual(doing("pass", params="{").failed[0], "infrastructure")


class Logging(unittest.TestCase):
    def test_every_level_reaches_the_journal_under_its_name(self):
        unit = doing(
            "for level in 'debug info warning warn error critical'.split(): getattr(logger, level)('%d %s', 1, level)"
        )
        self.assertEqual(
            unit.logs,
            [
                ("DEBUG", "1 debug"),
                ("INFO", "1 info"),
                ("WARNING", "1 warning"),
                ("WARNING", "1 warn"),
                ("ERROR", "1 error"),
                ("CRITICAL", "1 critical"),
            ],
        )

    def test_a_level_between_counts_as_the_one_below(self):
        self.assertEqual(
            doing("logger.log(25, 'a')", "logger.log(5, 'b')", "logger.log(99, 'c')").logs,
            [("INFO", "a"), ("CRITICAL", "c")],
        )

    def test_text_is_verbatim(self):
        text = "in <module> a<b> 100% \\u0000 \u0000 \n\t only = 5 grüße 日本 \U0001f30d"
        self.assertEqual(doing(f"logger.info({text!r})").logs, [("INFO", text)])

    def test_a_lone_surrogate_is_valid_json(self):
        unit = doing("logger.info('a\\ud800b')", "return 'c\\udfffd'")
        self.assertEqual(unit.logs, [("INFO", "a\ud800b")])
        self.assertEqual(unit.result, "c\udfffd")

    def test_long_text_is_cut_with_a_mark(self):
        ((_, text),) = doing("logger.info('ü' * 20000)").logs
        self.assertEqual(len(text), 10000)
        self.assertTrue(text.endswith("… [cut]"))
        ((_, text),) = doing("logger.info('ü' * 10000)").logs
        self.assertEqual(text, "ü" * 10000)

    def test_an_exception_is_logged_with_its_traceback(self):
        unit = doing("try: 1/0", "except ZeroDivisionError: logger.exception('oh')")
        ((level, text),) = unit.logs
        self.assertEqual(level, "ERROR")
        self.assertTrue(text.startswith("oh\nTraceback") and text.endswith("ZeroDivisionError: division by zero"), text)

    def test_arguments_that_do_not_fit_lose_no_line(self):
        self.assertEqual(doing("logger.info('%d tiles', 'x')").logs, [("INFO", "%d tiles")])

    def test_of_libraries_only_warnings_are_told(self):
        library = "import logging\nlog = logging.getLogger('library')\n"
        library += "def talk():\n    log.info('small talk')\n    log.warning('careful')\n"
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "library.py").write_text(library)
            unit = doing(f"import sys; sys.path.append({folder!r})", "import library; library.talk()")
        self.assertEqual(unit.logs, [("WARNING", "careful")])

    def test_of_the_authors_own_loggers_information_too(self):
        helper = "import logging\nlog = logging.getLogger(__name__)\n"
        helper += "def talk():\n    log.debug('no')\n    log.info('from helper')\n"
        unit = doing("import helper, logging", "helper.talk()", "logging.info('from root')", helper=helper)
        self.assertEqual(unit.logs, [("INFO", "from helper"), ("INFO", "from root")])

    def test_progress_is_clamped(self):
        unit = doing("for n in (0, 42, 12.5, 100.0, -3, 250, True): logger.send_progress(n)")
        self.assertEqual([word["progress"] for word in unit.words if "progress" in word], [0, 42, 12.5, 100, 0, 100, 1])
        self.assertIn('"progress":42}', unit.lines[2])

    def test_progress_that_is_no_number_is_a_warning(self):
        unit = doing("for n in ('many', '42', None, float('nan'), []): logger.send_progress(n)")
        self.assertEqual([level for level, _ in unit.logs], ["WARNING"] * 5)
        self.assertEqual(unit.logs[0][1], "The progress is not a number: 'many'")

    def test_threads_and_forked_children_write_whole_lines(self):
        unit = doing(
            "import os, threading",
            "def talk(): [logger.info('%s', 'x' * 5000) for _ in range(100)]",
            "children = [os.fork() for _ in range(2)]",
            "threads = [threading.Thread(target=talk) for _ in range(4)]",
            "[t.start() for t in threads], [t.join() for t in threads]",
            "if 0 in children: os._exit(0)",
            "[os.waitpid(child, 0) for child in children]",
        )
        self.assertEqual(unit.code, 0, unit.stderr)
        self.assertEqual(unit.logs, [("INFO", "x" * 5000)] * 1600)

    def test_pools_of_every_kind_know_the_script_and_its_logger(self):
        for method in ("fork", "spawn", "forkserver"):
            unit = Unit(
                """
                import logging, multiprocessing
                def square(task):
                    number, logger = task
                    logger.info(f"square {number}")
                    logger.send_progress(number)
                    return number * number
                def run(params, logger):
                    with multiprocessing.get_context("%s").Pool(2) as pool:
                        return pool.map(square, [(n, logger) for n in range(4)])
                """
                % method
            )
            self.assertEqual(unit.code, 0, unit.stderr)
            self.assertEqual(unit.result, [0, 1, 4, 9])
            self.assertEqual(sorted(unit.logs), [("INFO", f"square {n}") for n in range(4)], method)

    def test_a_full_disk_under_the_journal_does_not_end_the_script(self):
        unit = doing("logger.info('lost')", "logger.send_progress(5)", "return 7", journal="/dev/full")
        self.assertEqual((unit.code, unit.result), (0, 7))

    def test_a_journal_that_cannot_be_opened_does_not_end_the_script(self):
        unit = doing("logger.info('lost')", "return 7", journal="/nowhere/journal")
        self.assertEqual((unit.code, unit.result), (0, 7))

    def test_a_torn_line_is_kept_apart_from_the_next(self):
        unit = doing(
            "import resource",
            "limit = lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))",
            "limit(1000), logger.info('torn' * 500)",
            "limit(resource.RLIM_INFINITY), logger.info('whole')",
            journal_is_whole=False,
        )
        self.assertEqual(len(unit.lines), 3)
        self.assertFalse(unit.lines[1].endswith("}"))
        self.assertEqual(json.loads(unit.lines[2])["log"]["text"], "whole")


class Results(unittest.TestCase):
    def test_no_result_is_an_empty_one(self):
        self.assertEqual(doing("pass").result, {})

    def test_nan_and_infinity_pass(self):
        self.assertEqual(returning("[float('nan'), float('inf')]").text, "[NaN, Infinity]")

    def test_usual_values_are_translated(self):
        setup = textwrap.dedent(
            """
            import array, dataclasses, datetime, pathlib
            class Scalar:
                def tolist(self): return 1.5
            class Schema:
                def dump(self): return {"at": datetime.date(2020, 1, 2)}
            class Table:
                def to_dict(self): return {"a": [1]}
            @dataclasses.dataclass
            class Band:
                name: str
                when: datetime.datetime
            """
        )
        unit = returning(
            "[Scalar(), Schema(), Table(), array.array('d', [1, 2]), pathlib.Path('a/b'), (1, 2), "
            "Band('B04', datetime.datetime(2020, 1, 2))]",
            setup,
        )
        self.assertEqual(
            unit.result,
            [
                1.5,
                {"at": "2020-01-02"},
                {"a": [1]},
                [1.0, 2.0],
                "a/b",
                [1, 2],
                {"name": "B04", "when": "2020-01-02T00:00:00"},
            ],
        )

    def test_keys_that_are_no_strings_become_strings(self):
        self.assertEqual(
            returning("{1: 'a', None: 'b', (1, 2): 'c', datetime.date(2020, 1, 2): 'd'}", "import datetime").result,
            {"1": "a", "null": "b", "(1, 2)": "c", "2020-01-02": "d"},
        )

    def test_what_is_not_json_is_named_with_its_place(self):
        self.assertEqual(
            returning("{'bands': [{1, 2}]}").failed,
            ("script_error", "The script returned a value of type 'set' at results.bands[0], which is not JSON."),
        )
        self.assertIn("'bytes' at results.a.b", returning("{'a': {'b': b'x'}}").failed[1])
        self.assertIn("'function' at results,", returning("run").failed[1])
        self.assertIn("'type' at results[1]", returning("[1, int]").failed[1])

    def test_a_result_that_contains_itself_is_a_failure_not_a_crash(self):
        kind, sentence = doing("a = []", "a.append(a)", "return a").failed
        self.assertEqual(kind, "script_error")
        self.assertIn("contains itself", sentence)
        self.assertEqual(doing("a = []", "for _ in range(100000): a = [a]", "return a").failed[0], "script_error")

    def test_a_number_of_thousands_of_digits_is_no_crash(self):
        unit = returning("10 ** 10000")
        self.assertIn(unit.code, (0, 1))
        self.assertTrue(unit.code == 0 or unit.failed[0] == "script_error")

    def test_a_result_that_cannot_be_written_is_told(self):
        kind, sentence = doing("pass", env={"TE_OUT": "/nowhere"}).failed
        self.assertEqual(
            (kind, sentence), ("infrastructure", "The result could not be written: No such file or directory.")
        )


class Failing(unittest.TestCase):
    def test_a_script_without_main(self):
        self.assertEqual(Unit().failed, ("script_error", "The script has no file src/main.py."))

    def test_a_syntax_error_names_file_and_line(self):
        kind, sentence = Unit("x = 1\n\ndef run(params, logger)\n    pass\n").failed
        self.assertEqual(kind, "script_error")
        self.assertIn("SyntaxError", sentence)
        self.assertIn("(src/main.py, line 3)", sentence)
        self.assertIn("(src/helper.py, line 1)", Unit("import helper", helper="1 +").failed[1])

    def test_a_missing_module_points_to_the_requirements(self):
        unit = Unit("import nonexistent_module\ndef run(p, l): pass")
        self.assertEqual(
            unit.failed,
            (
                "script_error",
                "The script failed with ModuleNotFoundError: No module named 'nonexistent_module' "
                "(is its package named in requirements.txt?)",
            ),
        )
        self.assertNotIn("phase", "".join(unit.lines))

    def test_a_script_without_run(self):
        self.assertEqual(
            Unit("x = 1").failed, ("script_error", "The script has no function run(params, logger) in src/main.py.")
        )
        self.assertEqual(Unit("run = 1").failed, ("script_error", "What src/main.py calls run is not a function."))

    def test_an_exception_is_one_log_entry_and_a_sentence(self):
        unit = Unit(
            "def run(params, logger):\n    deeper()\ndef deeper():\n    raise ValueError('no data for <2031>')\n"
        )
        self.assertEqual(unit.failed, ("script_error", "The script failed with ValueError: no data for <2031>"))
        ((level, text),) = unit.logs
        self.assertEqual(level, "ERROR")
        self.assertTrue(text.startswith("Traceback (most recent call last):\n"))
        self.assertTrue(text.endswith("\nValueError: no data for <2031>"))
        self.assertIn('main.py", line 4, in deeper', text)
        self.assertNotIn("runner.py", text)

    def test_an_exception_without_text(self):
        self.assertEqual(doing("assert False").failed, ("script_error", "The script failed with AssertionError."))

    def test_an_exception_that_cannot_say_itself(self):
        unit = Unit("class Mute(Exception):\n    def __str__(self): raise self\ndef run(p, l): raise Mute")
        self.assertEqual(unit.failed, ("script_error", "The script failed with Mute."))

    def test_an_exception_is_told_even_if_the_script_has_silenced_its_logger(self):
        unit = doing("import logging; logging.disable(); logger.disabled = True", "1 / 0")
        self.assertEqual(unit.failed[1], "The script failed with ZeroDivisionError: division by zero")
        self.assertEqual([level for level, _ in unit.logs], ["ERROR"])

    def test_a_very_long_exception_is_cut(self):
        self.assertEqual(len(doing("raise ValueError('x' * 100000)").failed[1]), 2000)

    def test_a_wrong_signature(self):
        self.assertIn("TypeError: run()", Unit("def run(params): pass").failed[1])

    def test_endless_recursion(self):
        self.assertIn("RecursionError", doing("return run(params, logger)").failed[1])

    def test_exit_is_no_result(self):
        base = "The script called exit before it returned a result"
        for call in ("exit()", "exit(0)", "exit(None)"):
            self.assertEqual(doing(f"import sys; sys.{call}").failed, ("script_error", base + "."))
        self.assertEqual(
            doing("raise SystemExit(3)").failed[1], "The script called exit(3) before it returned a result."
        )
        self.assertEqual(doing("raise SystemExit('no tiles')").failed[1], base + ": no tiles")
        self.assertEqual(Unit("import sys; sys.exit()").failed[1], base + ".")

    def test_an_interrupt(self):
        self.assertEqual(doing("raise KeyboardInterrupt").failed, ("script_error", "The script was interrupted."))

    def test_memory_that_is_not_there(self):
        kind, sentence = doing(
            "import resource",
            "resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))",
            "all = []",
            "while True: all.append(bytearray(100_000))",
        ).failed
        self.assertEqual((kind, sentence), ("out_of_memory", "The script ran out of memory."))
        self.assertEqual(
            doing("raise MemoryError('Unable to allocate 7 TiB')").failed[1],
            "The script ran out of memory: Unable to allocate 7 TiB",
        )

    def test_an_author_can_blame_the_input_by_name(self):
        unit = Unit(
            "class UserInputError(ValueError): pass\nclass Year(UserInputError): pass\n"
            "def run(p, l): raise Year('The year is too early.')"
        )
        self.assertEqual(unit.failed, ("user_input", "The year is too early."))
        self.assertEqual([level for level, _ in unit.logs], ["DEBUG"])

    def test_an_author_can_blame_the_input_by_a_mark(self):
        unit = Unit("class Bad(Exception): te_user_input = True\ndef run(p, l): raise Bad('No such country.')")
        self.assertEqual(unit.failed, ("user_input", "No such country."))

    def test_other_errors_are_never_blamed_on_the_input(self):
        self.assertEqual(doing("raise ValueError('bad year')").failed[0], "script_error")


class Ending(unittest.TestCase):
    def test_a_thread_left_behind_does_not_hold_the_run(self):
        start = time.monotonic()
        unit = doing(
            "import threading, time",
            "threading.Thread(target=time.sleep, args=(50,)).start()",
            "print('p', end='')",
            "return 1",
        )
        self.assertEqual((unit.code, unit.result, unit.stdout), (0, 1, "p"))
        self.assertLess(time.monotonic() - start, 20)

    def test_a_forked_child_that_exits_or_fails_says_nothing_for_the_script(self):
        for end in ("raise SystemExit(0)", "raise ValueError('in the child')", "return 'of the child'"):
            unit = doing(
                "import os",
                "child = os.fork()",
                f"if child == 0: {end}",
                "os.waitpid(child, 0)",
                "return 'of the parent'",
            )
            self.assertEqual((unit.code, unit.result), (0, "of the parent"))
            self.assertEqual([word for word in unit.words if "failed" in word], [])

    def test_a_crash_leaves_where_it_was_on_standard_error(self):
        unit = doing("import ctypes", "ctypes.string_at(0)")
        self.assertLess(unit.code, 0)
        self.assertIn("in run", unit.stderr)
        self.assertEqual(unit.left, [])


EE = """
class oauth: SCOPES = ["earthengine"]
calls = []
def Initialize(credentials, project=None, opt_url=None):
    if credentials["kind"] == BROKEN: raise RuntimeError("token is gone")
    calls.append([credentials, project, opt_url])
"""
GOOGLE = {
    "google.oauth2.credentials": "def Credentials(**given): return dict(given, kind='user')",
    "google.oauth2.service_account": """
        class Credentials:
            @staticmethod
            def from_service_account_info(key, scopes): return {"kind": "service", "key": key, "scopes": scopes}
        """,
}
KEY = {"EE_SERVICE_ACCOUNT_JSON": base64.b64encode(b'{"client_email": "a@b.c"}').decode()}
USER = {
    "GEE_OAUTH_ACCESS_TOKEN": "at",
    "GEE_OAUTH_REFRESH_TOKEN": "rt",
    "GOOGLE_OAUTH_TOKEN_URI": "https://x/token",
    "GEE_CLOUD_PROJECT": "p1",
}


def earth(env, says="", broken="none"):
    """A script that returns the calls of Earth Engine's Initialize, with a stand-in for its packages."""
    main = f"import ee\n{says}\ndef run(params, logger): return ee.calls"
    return Unit(main, env=env, ee=EE.replace("BROKEN", repr(broken)), **GOOGLE)


class EarthEngine(unittest.TestCase):
    def test_a_service_account_initialises_it(self):
        ((credentials, project, url),) = earth({**KEY, "GOOGLE_PROJECT_ID": "p0", "GEE_ENDPOINT": "https://ee"}).result
        self.assertEqual(credentials, {"kind": "service", "key": {"client_email": "a@b.c"}, "scopes": ["earthengine"]})
        self.assertEqual((project, url), ("p0", "https://ee"))

    def test_a_persons_own_account_comes_first(self):
        ((credentials, project, _),) = earth({**KEY, **USER}).result
        self.assertEqual(
            (credentials["kind"], credentials["refresh_token"], credentials["token_uri"], project),
            ("user", "rt", "https://x/token", "p1"),
        )

    def test_if_that_one_is_refused_the_service_account_is_taken(self):
        self.assertEqual(earth({**KEY, **USER}, broken="user").result[0][0]["kind"], "service")

    def test_a_failure_is_a_clear_sentence(self):
        unit = earth(KEY, broken="service")
        self.assertEqual(unit.failed, ("script_error", "Earth Engine could not be initialised: token is gone"))
        self.assertNotIn("phase", "".join(unit.lines))
        self.assertEqual(earth({"EE_SERVICE_ACCOUNT_JSON": "???"}).failed[0], "script_error")

    def test_a_script_can_do_without(self):
        self.assertEqual(earth(KEY, says="REQUIRES_GEE = False").result, [])
        self.assertEqual(earth({**KEY, "SKIP_GEE_INIT": "true"}).result, [])
        self.assertEqual(doing("return 1", env=KEY).result, 1)  # the package is not installed

    def test_missing_credentials_are_a_warning_only_if_the_script_asks_for_them(self):
        self.assertEqual(earth({}).logs, [])
        unit = earth({}, says="REQUIRES_GEE = True")
        self.assertEqual(
            unit.logs, [("WARNING", "The script needs Earth Engine, but this run has no credentials for it.")]
        )
        self.assertEqual(unit.result, [])


if __name__ == "__main__":
    unittest.main()
