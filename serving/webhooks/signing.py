"""Signatures as Standard Webhooks 1.0 has them, so that receivers check them with its libraries.

Each is HMAC-SHA256 of `<id>.<timestamp>.<body>`, whose key is what follows `whsec_` in the secret, in Base64.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime, timedelta

from store.webhooks import Webhook

EARLIER_COUNTS = timedelta(hours=24)  # how long bodies are signed with the secret before the last one too
_PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """Return a fresh secret, as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def headers(webhook: Webhook, delivery_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers by which the receiver knows who sent a body, when, and whether it had it before."""
    stamp = str(int(now.timestamp()))
    known = [webhook.secret]
    if webhook.earlier_secret and webhook.rotated_at and now - webhook.rotated_at < EARLIER_COUNTS:
        known.append(webhook.earlier_secret)
    signed = " ".join(signature(secret, delivery_id, stamp, body) for secret in known)
    return {"Content-Type": "application/json", "webhook-id": delivery_id, "webhook-timestamp": stamp, "webhook-signature": signed}


def signature(secret: str, delivery_id: str, stamp: str, body: bytes) -> str:
    """Return one signature."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, f"{delivery_id}.{stamp}.".encode() + body, "sha256")).decode()
