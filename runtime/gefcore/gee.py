"""Earth Engine for scripts that use it: initialised before `run` with the credentials that the run was given.
Nothing happens without the package `ee`, without credentials, or if the script says `REQUIRES_GEE = False`."""

import json
import logging
import os

from gefcore import Failure


def user_credentials(ee):
    """The Google account of the person who runs the script."""
    from google.oauth2.credentials import Credentials

    return Credentials(
        token=os.environ.get("GEE_OAUTH_ACCESS_TOKEN"),
        refresh_token=os.environ["GEE_OAUTH_REFRESH_TOKEN"],
        token_uri=os.environ.get("GOOGLE_OAUTH_TOKEN_URI") or "https://oauth2.googleapis.com/token",
        client_id=os.environ.get("GOOGLE_OAUTH_CLIENT_ID"),
        client_secret=os.environ.get("GOOGLE_OAUTH_CLIENT_SECRET"),
        scopes=["https://www.googleapis.com/auth/earthengine"],
    )


def service_account(ee):
    """A service account: its key as base64 of a JSON document, whose `token_uri` is respected."""
    import base64

    from google.oauth2.service_account import Credentials

    key = json.loads(base64.b64decode(os.environ["EE_SERVICE_ACCOUNT_JSON"]))
    return Credentials.from_service_account_info(key, scopes=ee.oauth.SCOPES)


# The variable that must be there, and the credentials it stands for; a person's own come first.
WAYS = (("GEE_OAUTH_REFRESH_TOKEN", user_credentials), ("EE_SERVICE_ACCOUNT_JSON", service_account))


def initialise(wanted, logger):
    """`wanted` is the script's REQUIRES_GEE, None if it says nothing."""
    skipped = os.environ.get("SKIP_GEE_INIT", "").lower() in ("1", "true", "yes", "on")
    if skipped or wanted is False:
        return
    from importlib.util import find_spec  # not for those who do without

    if find_spec("ee") is None:
        return
    ways = [way for variable, way in WAYS if os.environ.get(variable)]
    if not ways:
        if wanted:
            logger.warning("The script needs Earth Engine, but this run has no credentials for it.")
        return
    logging.getLogger("googleapiclient").setLevel(logging.ERROR)  # it warns of a cache that nobody needs
    failure = None
    for way in ways:
        try:
            import ee

            credentials = way(ee)
            project = os.environ.get("GEE_CLOUD_PROJECT") or os.environ.get("GOOGLE_PROJECT_ID")
            return ee.Initialize(
                credentials,
                project=project or getattr(credentials, "project_id", None),
                opt_url=os.environ.get("GEE_ENDPOINT") or None,
            )
        except Exception as error:
            failure = error
            logger.debug("Earth Engine refused the %s: %s", way.__name__.replace("_", " "), error)
    raise Failure("script_error", f"Earth Engine could not be initialised: {failure}") from failure
