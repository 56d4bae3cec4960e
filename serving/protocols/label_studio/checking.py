"""Look at whether a connection works, as far as Candor may ask Label Studio: what is found is told in words, one finding for each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from candor.errors import CandorError, MediaUnreachable, ToolError, UnknownProject
from serving.api.services import Services
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.findings import Finding
from serving.protocols.label_studio.fitting import fitted
from serving.protocols.label_studio.remote import LabelStudio
from serving.protocols.label_studio.wiring import Wiring, secret_in
from store.connections import Connection, Connections
from store.projects import Projects

_AGAIN = "connect it again, which mends that: `candor label-studio connect`"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is looked at."""

    services: Services
    connection: Connection
    remote: LabelStudio
    wiring: Wiring
    project: Mapping[str, Any]
    rows: list[Mapping[str, Any]]  # the ML backends
    row: Mapping[str, Any] | None  # the connection's own


async def check(services: Services, connection: Connection, remote: LabelStudio | None) -> tuple[Finding, ...]:
    """Return what is found, in the order in which it is to be mended; after what makes the rest meaningless nothing more is asked."""
    if remote is None or connection.remote_project is None:
        told = "its address is not known, so that it is not called: paste the connection's address into its project's settings, under Model"
        return (Finding("label_studio", True, told),)
    wiring = Wiring(remote, connection.remote_project)
    try:
        project = await remote.project(connection.remote_project)
        rows = await wiring.backends()  # Label Studio calls health and setup meanwhile: what it says of them is from just now
    except CandorError as error:
        return (Finding("label_studio", False, error.detail),)
    own = [row for row in rows if await _is_own(services, connection, row)]
    asked = _Asked(services, connection, remote, wiring, project, rows, own[0] if own else None)
    findings = [Finding("label_studio", True, f"project {connection.remote_project}, {str(project.get('title'))[:80]!r}")]
    for look in (_labels, _backend, _webhook, _shown, _predict):
        try:
            findings += await look(asked)
        except CandorError as error:
            findings.append(Finding(look.__name__.strip("_"), False, error.detail))
    return tuple(findings)


async def _labels(asked: _Asked) -> list[Finding]:
    connection = asked.connection
    try:
        before = await Projects(asked.services.store).get(connection.team, connection.project)
    except UnknownProject:
        return [Finding("labels", False, f"project {connection.project!r} was deleted: {_AGAIN}")]
    xml = str(asked.project.get("label_config") or "")
    fit = await fitted(asked.services, connection.team, before, Choices.of(connection), xml, connection)
    problem = connection.state.get("problem")
    return [*fit.findings, *([Finding("labels", False, str(problem))] if problem else [])]


async def _backend(asked: _Asked) -> list[Finding]:
    row = asked.row
    if row is None:
        return [Finding("backend", False, f"Label Studio has no ML backend with this connection's address: {_AGAIN}")]
    if row is not asked.rows[0]:
        told = f"Label Studio asks the ML backend {asked.rows[0].get('title')!r} and not this one: remove that under Settings, Model"
        return [Finding("backend", False, told)]
    state, version = row.get("readable_state"), row.get("model_version")
    if row.get("state") not in ("CO", "PR", "TR"):
        why = str(row.get("error_message") or "it got no answer within a second")[:300]
        return [Finding("backend", False, f"Label Studio says {state}: {why}")]
    return [Finding("backend", True, f"{state}, health and setup answered; model version {version}")]


async def _webhook(asked: _Asked) -> list[Finding]:
    hooks = [hook for hook in await asked.wiring.webhooks() if await _is_own(asked.services, asked.connection, hook)]
    if not hooks:
        told = "Label Studio has no webhook with this connection's address: reviews are found by asking for them, a little later"
        return [Finding("webhook", False, f"{told}; {_AGAIN}")]
    header = Choices.of(asked.connection).header
    if header is not None and (hooks[0].get("headers") or {}).get(header["name"]) != header["value"]:
        return [Finding("webhook", False, f"the webhook comes without the header {header['name']}, so that it is not believed: {_AGAIN}")]
    if not hooks[0].get("is_active", True):
        return [Finding("webhook", False, "the webhook is switched off: switch it on under Settings, Webhooks")]
    return [Finding("webhook", True, "reviews are reported, with a secret header" if header else "reviews are reported")]


async def _shown(asked: _Asked) -> list[Finding]:
    project, row = asked.project, asked.row
    if not project.get("show_collab_predictions", True):
        told = "the project does not show predictions: switch on “Use predictions to prelabel tasks” under Settings, Annotation"
        return [Finding("shown", False, told)]
    if row is not None and project.get("model_version") != row.get("title"):
        told = f"the project shows the predictions {project.get('model_version')!r}: choose {row.get('title')!r} under Settings, Annotation"
        return [Finding("shown", False, told)]
    return []


async def _predict(asked: _Asked) -> list[Finding]:
    """Label Studio sends one of its tasks, as it would when somebody opens it."""
    if asked.row is None:
        return []
    try:
        answer = await asked.remote.json("POST", f"/api/ml/{asked.row['id']}/predict/test", params={"random": "true"})
    except MediaUnreachable as error:
        return [Finding("predict", False, f"{error.detail} to a test task: the model may still be loading; check again in a minute")]
    except ToolError as error:
        if "no tasks" in error.detail:
            return [Finding("predict", True, "the project has no tasks yet: import some")]
        return [Finding("predict", False, "Candor gave no draft of a test task: its log tells why")]
    return [_draft_told(answer.get("response") if isinstance(answer, Mapping) else None)]


def _draft_told(answer: Any) -> Finding:
    entry = answer[0] if isinstance(answer, list) and answer else None
    if entry == []:
        return Finding("predict", True, "a test task was taken; its draft takes longer, and is pushed when it is ready")
    if isinstance(entry, list):
        entry = entry[0]
    if not isinstance(entry, Mapping) or "result" not in entry:
        return Finding("predict", False, "what answered a test task is no Candor: what is between the two, such as a proxy?")
    return Finding("predict", True, "a test task was answered")  # not with how much: it may be withheld


async def _is_own(services: Services, connection: Connection, with_url: Mapping[str, Any]) -> bool:
    secret = secret_in(with_url.get("url"))
    found = None if secret is None else await Connections(services.store).by_secret(secret)
    return found is not None and found.id == connection.id
