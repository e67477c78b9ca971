"""Runs the reference's record.py, its arguments behind it, on a server that does not have the whole surface yet: a caller
whose sign-in failed because of that goes on with a token that is none, instead of ending the recording."""
import sys

sys.argv = sys.argv[1:]
with open(sys.argv[0]) as file:
    source = file.read().replace('"Bearer " + self.tok[who]', '"Bearer " + str(self.tok[who])')
exec(compile(source, sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
