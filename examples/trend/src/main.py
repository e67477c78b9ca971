"""Is there a trend in a yearly series, and how steep is it? Mann-Kendall test and Sen's slope
over the flow of the Nile at Aswan, which lies beside this file; no package is needed."""

import csv
import math
import pathlib
from statistics import NormalDist, median

REQUIRES_GEE = False

SERIES = pathlib.Path(__file__).with_name("nile.csv")
UNIT = "100 million cubic metres"
FEWEST = 8  # years below which the normal distribution says little about the test


class UserInputError(ValueError):
    """The parameters cannot be used; the text is for the person who gave them."""


def run(params, logger):
    series = read_series()
    logger.info("Read %d years, %d to %d", len(series), min(series), max(series))
    logger.send_progress(10)

    first = number(params, "from_year", min(series), min(series), max(series), whole=True)
    last = number(params, "to_year", max(series), min(series), max(series), whole=True)
    alpha = number(params, "alpha", 0.05, 0.0001, 0.5)
    years = [year for year in series if first <= year <= last]
    if len(years) < FEWEST:
        raise UserInputError(f"from_year {first} to to_year {last} has {len(years)} years; the test needs {FEWEST}.")
    values = [series[year] for year in years]

    test = mann_kendall(values, alpha)
    logger.info("Mann-Kendall: S = %(s)d, z = %(z).3f, p = %(p).3g: %(trend)s", test)
    logger.send_progress(60)
    slope = sens_slope(years, values, alpha)
    logger.info("Sen's slope: %(slope).3f a year, between %(lower).3f and %(upper).3f", slope)
    logger.send_progress(100)
    return {
        "series": {
            "name": "Flow of the Nile at Aswan",
            "unit": UNIT,
            "years": len(years),
            "mean": math.fsum(values) / len(values),
        },
        "parameters": {"from_year": first, "to_year": last, "alpha": alpha},
        "mann_kendall": test,
        "sens_slope": {**slope, "unit": UNIT + " a year", "confidence": 1 - alpha},
    }


def read_series():
    """Flow by year."""
    with open(SERIES, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {int(row["year"]): float(row["flow"]) for row in rows}


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


def variance(values):
    """Of the test's S if there were no trend. Ties make it smaller."""

    def share(n):
        return n * (n - 1) * (2 * n + 5)

    return (share(len(values)) - sum(share(values.count(value)) for value in set(values))) / 18


def mann_kendall(values, alpha):
    """Counts the pairs that rise against those that fall; two-sided, with continuity correction."""
    n = len(values)
    pairs = [(values[i], values[j]) for i in range(n) for j in range(i + 1, n)]
    s = sum((later > earlier) - (later < earlier) for earlier, later in pairs)
    spread = math.sqrt(variance(values))
    z = (s - math.copysign(1, s)) / spread if s else 0.0
    p = math.erfc(abs(z) / math.sqrt(2))
    trend = "no trend" if p >= alpha else "increasing" if s > 0 else "decreasing"
    return {"s": s, "variance": spread**2, "z": z, "p": p, "tau": s / len(pairs), "trend": trend}


def sens_slope(years, values, alpha):
    """The median slope of all pairs, and between which slopes it lies by the spread of S (Sen 1968)."""
    points = list(zip(years, values))
    slopes = sorted((w - v) / (y - x) for i, (x, v) in enumerate(points) for y, w in points[i + 1 :])
    slope = median(slopes)
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(variance(values))
    lower = max(round((len(slopes) - half) / 2) - 1, 0)
    upper = min(round((len(slopes) + half) / 2), len(slopes) - 1)
    return {
        "slope": slope,
        "intercept": median(values) - slope * median(years),
        "lower": slopes[lower],
        "upper": slopes[upper],
    }
