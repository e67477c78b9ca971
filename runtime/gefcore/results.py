"""From what `run` returned to `result.json`.
Values of the usual libraries are translated; what JSON cannot say is refused with its type and place."""

import json
import os

from gefcore import Failure

# How values that JSON does not know say themselves: tables and series; arrays and scalars of numpy and its kin;
# times and dates; schema objects. In this order, for arrays have a `dump` that writes files.
WAYS = ("to_dict", "tolist", "isoformat", "dump")
PLAIN = (str, bool, int, float, type(None))
MAX_DEPTH = 128  # more the server does not take


def translate(value):
    """A value nearer to JSON than this one, or TypeError."""
    if isinstance(value, type):
        raise TypeError
    for way in WAYS:
        if callable(getattr(value, way, None)):
            return getattr(value, way)()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError


def plain(value, place="results", depth=0):
    """The value as JSON's own types: slower than the encoder, but it takes any key and knows where it is."""
    if depth > MAX_DEPTH:
        raise Failure("script_error", f"The script's result is nested too deeply or contains itself, at {place[:80]}…")
    if isinstance(value, PLAIN):
        return value
    depth += 1
    if isinstance(value, dict):
        names = ((key if isinstance(key, PLAIN) else str(key), item) for key, item in value.items())
        return {name: plain(item, f"{place}.{name}", depth) for name, item in names}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{place}[{index}]", depth) for index, item in enumerate(value)]
    try:
        nearer = translate(value)
    except Exception:
        kind = type(value).__name__
        sentence = f"The script returned a value of type '{kind}' at {place}, which is not JSON."
        raise Failure("script_error", sentence) from None
    return plain(nearer, place, depth)


def encode(result):
    """NaN and infinities pass (the server makes them null); ASCII lets lone surrogates pass, too."""
    result = {} if result is None else result
    try:
        return json.dumps(result, default=translate)
    except MemoryError:
        raise
    except Exception:  # a foreign type, key or circle: again with care
        result = plain(result)
    try:
        return json.dumps(result)
    except ValueError as error:  # an integer of thousands of digits
        raise Failure("script_error", f"The script's result cannot be written as JSON: {error}.") from error


def write(folder, result):
    """Leaves `result.json` whole or not at all."""
    text = encode(result)
    path = os.path.join(folder, "result.json")
    try:
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)  # whoever takes it sees to it that it is on the disk
        os.replace(path + ".new", path)
    except OSError as error:
        raise Failure("infrastructure", f"The result could not be written: {error.strerror}.") from error
