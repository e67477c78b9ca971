"""A run without work."""

REQUIRES_GEE = False


def run(params, logger):
    return {}
