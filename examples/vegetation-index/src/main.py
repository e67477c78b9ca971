"""A vegetation or water index over the Sentinel-2 scene that the package `spyndex` carries.
Statistics, a histogram and a picture, by the standard library alone; the package gives only its data."""

import base64
import importlib.util
import json
import math
import pathlib
import struct
import zlib

REQUIRES_GEE = False

BANDS = ("B02", "B03", "B04", "B08")  # blue, green, red, near infrared, in the order of the file
SCALE = 10_000  # the file holds reflectance times this
BLOCK = 30  # rows computed between two reports of progress
RAMP = ((120, 72, 28), (222, 200, 130), (150, 190, 80), (12, 84, 36))  # bare, dry, green, dense

# For each index its name, its formula, and the formula as code (b, g, r, n: reflectance; s: the soil factor).
INDICES = {
    "NDVI": (
        "Normalized difference vegetation index",
        "(B08 - B04) / (B08 + B04)",
        lambda b, g, r, n, s: (n - r) / (n + r),
    ),
    "EVI": (
        "Enhanced vegetation index",
        "2.5 * (B08 - B04) / (B08 + 6 * B04 - 7.5 * B02 + 1)",
        lambda b, g, r, n, s: 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1),
    ),
    "SAVI": (
        "Soil-adjusted vegetation index",
        "(1 + soil_factor) * (B08 - B04) / (B08 + B04 + soil_factor)",
        lambda b, g, r, n, s: (1 + s) * (n - r) / (n + r + s),
    ),
    "GNDVI": (
        "Green normalized difference vegetation index",
        "(B08 - B03) / (B08 + B03)",
        lambda b, g, r, n, s: (n - g) / (n + g),
    ),
    "NDWI": ("Normalized difference water index", "(B03 - B08) / (B03 + B08)", lambda b, g, r, n, s: (g - n) / (g + n)),
}


class UserInputError(ValueError):
    """The parameters cannot be used; the text is for the person who gave them."""


def run(params, logger):
    index = choose_index(params)
    bins = number(params, "bins", 20, 1, 200, whole=True)
    soil_factor = number(params, "soil_factor", 0.5, 0, 1)

    logger.info("Reading the scene")
    scene = read_scene()
    row, column, rows, columns = window = choose_window(params, len(scene[0]), len(scene[0][0]))
    logger.send_progress(20)

    name, formula, compute = INDICES[index]
    logger.info("Computing %s over %d x %d pixels", index, rows, columns)
    image = []
    for start in range(row, row + rows, BLOCK):
        for at in range(start, min(start + BLOCK, row + rows)):
            lines = (band[at][column : column + columns] for band in scene)
            image.append([pixel(compute, bands, soil_factor) for bands in zip(*lines)])
        logger.send_progress(20 + 60 * len(image) / rows)

    values = sorted(value for line in image for value in line if value is not None)
    if not values:
        raise UserInputError("The window has no valid pixel.")
    statistics = describe(values, rows * columns)
    logger.info("Mean %(mean).5f, from %(min).3f to %(max).3f", statistics)

    low, high = percentile(values, 2), percentile(values, 98)
    picture = png(image, low, high)
    logger.info("Drawn: a picture of %d bytes", len(picture))
    logger.send_progress(100)
    return {
        "index": index,
        "name": name,
        "formula": formula,
        "parameters": {"index": index, "bins": bins, "soil_factor": soil_factor, "window": list(window)},
        "scene": {
            "source": "spyndex/data/S2_10m.json",
            "sensor": "Sentinel-2",
            "bands": list(BANDS),
            "pixel_size_m": 10,
        },
        "statistics": statistics,
        "histogram": histogram(values, bins),
        "quicklook": {
            "media_type": "image/png",
            "width": columns,
            "height": rows,
            "low": low,
            "high": high,
            "base64": base64.b64encode(picture).decode(),
        },
    }


def choose_index(params):
    index = str(params.get("index") or "NDVI").upper()
    if index not in INDICES:
        raise UserInputError(f"There is no index {index!r}; choose one of {', '.join(INDICES)}.")
    return index


def number(params, name, default, low, high, whole=False):
    """A number of the parameters; text that is one will do, for parameters in an address are text."""
    given = params.get(name)
    if given is None:
        return default
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(given, bool) or not low <= value <= high or (whole and value != int(value)):
        kind = "whole number" if whole else "number"
        raise UserInputError(f"{name} must be a {kind} from {low} to {high}, not {given!r}.")
    return int(value) if whole else value


def choose_window(params, rows, columns):
    """The part of the scene to use: first row, first column, number of rows, number of columns."""
    given = params.get("window")
    if given is None:
        return 0, 0, rows, columns
    parts = given.split(",") if isinstance(given, str) else given
    try:
        row, column, height, width = (int(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        raise UserInputError(
            f"window must be four whole numbers (row, column, rows, columns), not {given!r}."
        ) from None
    if row < 0 or column < 0 or height < 1 or width < 1 or row + height > rows or column + width > columns:
        raise UserInputError(f"window {given!r} does not lie within the scene of {rows} rows and {columns} columns.")
    return row, column, height, width


def read_scene():
    """The bands, each a list of rows. Only looks where the package is: importing it takes seconds for nothing."""
    package = importlib.util.find_spec("spyndex")
    path = pathlib.Path(package.submodule_search_locations[0], "data", "S2_10m.json")
    return json.loads(path.read_bytes())


def pixel(compute, bands, soil_factor):
    """The index of one pixel; None where a band saw nothing or the formula has no value."""
    if min(bands) <= 0:
        return None
    try:
        return compute(*(band / SCALE for band in bands), soil_factor)
    except ZeroDivisionError:
        return None


def describe(values, pixels):
    mean = math.fsum(values) / len(values)
    return {
        "pixels": pixels,
        "valid_share": len(values) / pixels,
        "mean": mean,
        "std": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)),
        "min": values[0],
        "max": values[-1],
        "percentiles": {str(share): percentile(values, share) for share in (5, 25, 50, 75, 95)},
    }


def percentile(values, share):
    """Of sorted values, linear between neighbours."""
    place = (len(values) - 1) * share / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def histogram(values, bins):
    low, width = values[0], (values[-1] - values[0]) / bins
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1) if width else 0] += 1
    return {"edges": [low + width * edge for edge in range(bins + 1)], "counts": counts}


def png(image, low, high):
    """An indexed picture: colour 0 is see-through for pixels without a value, 1 to 63 run along the ramp."""
    colours = [(0, 0, 0)]
    for step in range(63):
        part, share = divmod(step / 62 * (len(RAMP) - 1), 1)
        left, right = RAMP[int(part)], RAMP[min(int(part) + 1, len(RAMP) - 1)]
        colours.append(tuple(round(a + (b - a) * share) for a, b in zip(left, right)))
    scale = 62 / (high - low) if high > low else 0
    rows = b"".join(
        b"\0" + bytes(0 if value is None else 1 + round((min(max(value, low), high) - low) * scale) for value in line)
        for line in image
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", len(image[0]), len(image), 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(part for colour in colours for part in colour)),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
