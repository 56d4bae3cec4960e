"""The Python client of a Candor server.

from candor_client import Client, DraftOptions

with Client("http://127.0.0.1:8000", key="cdr_…") as candor:
    for draft in candor.draft_paths(["photos"], DraftOptions(task="detection")):
        print(draft["item"], draft.get("labels", draft.get("error")))
"""

from client.answers import (
    Alias,
    AuditEntry,
    Calibration,
    Confidences,
    Delivery,
    Draft,
    Draw,
    FinalLabel,
    Gold,
    GoldPut,
    Job,
    Key,
    Label,
    Model,
    Move,
    NewKey,
    NewWebhook,
    Problem,
    Project,
    Ready,
    Review,
    Reviewed,
    Segment,
    Timings,
    Version,
    Webhook,
    Word,
)
from client.api import Client
from client.async_api import AsyncClient
from client.drafting import DraftOptions, Item
from client.errors import BadKey, ChangedFile, ClientError, GaveUp, Refused, UnclearTask, UnexpectedAnswer, Unreachable
from client.files import Found, MediaFile, find_media
from client.retries import Retries

__version__ = "0.1.0"

__all__ = [
    "Alias",
    "AsyncClient",
    "AuditEntry",
    "BadKey",
    "Calibration",
    "ChangedFile",
    "Client",
    "ClientError",
    "Confidences",
    "Delivery",
    "Draft",
    "DraftOptions",
    "Draw",
    "FinalLabel",
    "Found",
    "GaveUp",
    "Gold",
    "GoldPut",
    "Item",
    "Job",
    "Key",
    "Label",
    "MediaFile",
    "Model",
    "Move",
    "NewKey",
    "NewWebhook",
    "Problem",
    "Project",
    "Ready",
    "Refused",
    "Retries",
    "Review",
    "Reviewed",
    "Segment",
    "Timings",
    "UnclearTask",
    "UnexpectedAnswer",
    "Unreachable",
    "Version",
    "Webhook",
    "Word",
    "find_media",
]
