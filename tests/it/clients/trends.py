"""The command line `trends` as PyPI has it, pointed at a server: trends.py http://127.0.0.1:3000 publish --public

What changed around it since 2018 is mended here: PyYAML wants to be told how to load, and a password is asked for on a
terminal, which a test has not."""
import sys

import yaml

load = yaml.load
yaml.load = lambda stream: load(stream, Loader=yaml.SafeLoader)

import tecli
from tecli import login
from tecli.configuration import base

base.SETTINGS["url_api"] = sys.argv.pop(1)
login.getpass = lambda prompt="": input(prompt)
sys.argv[0] = "trends"
tecli.main()
