"""Verify a webhook of webhook_outbox (Standard Webhooks 1.0.0), Python 3.

Needs the standard library only. Call verify() before the body is parsed, with
the bytes as they came over the wire.
"""
import base64
import hashlib
import hmac
import time

TOLERANCE_S = 5 * 60


def verify(secret, headers, body, now=None):
    """Return the id of the event, or raise ValueError.

    secret:  "whsec_...", as create_endpoint() returned it
    headers: a mapping whose keys are in lower case
    body:    bytes, exactly as received
    """
    try:
        event_id = headers["webhook-id"]
        timestamp = headers["webhook-timestamp"]
        signatures = headers["webhook-signature"]
    except KeyError as missing:
        raise ValueError(f"header {missing} is missing") from None

    # An old request may be one that somebody recorded and sends again.
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise ValueError("webhook-timestamp is not a number")
    if abs((now or time.time()) - int(timestamp)) > TOLERANCE_S:
        raise ValueError("webhook-timestamp is too far from now")

    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))

    # While a secret is rotated there is one signature per secret.
    for signature in signatures.split(" "):
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(value.encode(), expected):
            return event_id
    raise ValueError("no signature is right")
