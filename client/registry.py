"""What a client may do with registered models: register, watch, point aliases at them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from client.answers import Alias, Move, Version
from client.calls import Call, Flow, address, ask, json_body, nothing, told, told_list, work
from client.jobs import JobCalls, until, wait_job
from client.methods import Listing, Method
from client.pages import Pages, all_of
from client.uploads import LARGE, Progress, UploadCalls, sha256_of, unheard, upload

__all__ = ["RegistryCalls", "Version"]


def register(name: str, artifact: Path, manifest: Mapping[str, Any], progress: Progress = unheard) -> Flow[Version]:
    """Register a model file as a new version of a model, and return the version, which is validated from now on.

    `manifest` is what docs/reference/manifest.schema.json describes. See `wait_version` for what comes of it.

    Raises:
        ClientError: the request failed.
        OSError: the file can't be read.
    """
    where, stands = address("models", name, "versions"), told(Version, "id")
    if artifact.stat().st_size > LARGE:
        uploaded = yield from upload(artifact, progress)
        named = {"manifest": dict(manifest), "artifact": {"upload": uploaded, "filename": artifact.name}}
        return (yield from ask(Call("POST", where, stands, json_body(named))))
    form = {"manifest": json.dumps(dict(manifest)), "sha256": (yield from work(partial(sha256_of, artifact, progress)))}

    @contextmanager
    def body() -> Iterator[Mapping[str, Any]]:
        with artifact.open("rb") as file:
            yield {"data": form, "files": {"artifact": (artifact.name, file, "application/octet-stream")}}

    progress("uploading", 0.0)
    answer = yield from ask(Call("POST", where, stands, body))
    progress("uploading", 1.0)
    return answer


def wait_version(version: Version, progress: Progress = unheard, timeout: float = 900.0) -> Flow[Version]:
    """Wait until a version that `register` returned is validated, and return it with its report: `ready` or `failed`.

    Raises:
        ClientError: the server can't be asked, or the version is still validated after `timeout` seconds.
    """
    name, job = version["model"], version.get("job")
    if job:
        ended = yield from wait_job(job, progress, timeout)
        known = (ended.get("result") or {}).get("id")  # where the same content was ready before, that version
        return (yield from version_of(name, str(known or version["id"])))

    def settled() -> Flow[Version | None]:
        found = yield from version_of(name, version["id"])
        progress("validating", 0.0)
        return found if found["state"] != "validating" else None

    return (yield from until(settled, f"version {version['id']} of {name}", timeout))


def versions(name: str) -> Flow[list[Version]]:
    """Return the registered versions of a model, newest first.

    Raises:
        ClientError: there is no such model, or the server can't be asked.
    """
    return all_of(each_version(name))


def each_version(name: str) -> Pages[Version]:
    """Go through the registered versions of a model, newest first.

    Raises:
        ClientError: there is no such model, or the server can't be asked.
    """
    return Pages(Version, address("models", name, "versions"), "versions")


def version_of(name: str, version: str) -> Flow[Version]:
    """Return one version with its report. `version` is `ver_…`, `sha256:…` or an alias.

    Raises:
        ClientError: there is no such version, or the server can't be asked.
    """
    return ask(Call("GET", _version(name, version), told(Version, "state")))


def retire(name: str, version: str) -> Flow[Version]:
    """Let a version draft no more; its drafts stay.

    Raises:
        ClientError: an alias points to it, there is none, or the server can't be asked.
    """
    return ask(Call("POST", f"{_version(name, version)}/retire", told(Version, "state")))


def delete_version(name: str, version: str) -> Flow[None]:
    """Delete a version and its files.

    Raises:
        ClientError: drafts or an alias refer to it, there is none, or the server can't be asked.
    """
    return ask(Call("DELETE", _version(name, version), nothing))


def aliases(name: str) -> Flow[list[Alias]]:
    """Return the aliases of a model.

    Raises:
        ClientError: there is no such model, or the server can't be asked.
    """
    return ask(Call("GET", address("models", name, "aliases"), told_list(Alias, "aliases")))


def set_alias(
    name: str, alias: str, version: str, *, canary: str | None = None, share: float = 0.0, if_revision: int | None = None
) -> Flow[Alias]:
    """Point an alias to a version; with `canary`, that share of the items goes to another one.

    With `if_revision`, only where the alias still has that revision; 0: where there is none yet.

    Raises:
        ClientError: a version is not ready, there is none, the alias has moved, or the server can't be asked.
    """
    pointing = {"version": version, "canary": None if canary is None else {"version": canary, "share": share}}
    return ask(Call("PUT", _alias(name, alias), told(Alias, "alias"), json_body(pointing), if_match(if_revision)))


def rollback_alias(name: str, alias: str) -> Flow[Alias]:
    """Point an alias to where it pointed before its newest move.

    Where the answer gets lost, this is not done twice, which would undo it: then it is refused as moved meanwhile.

    Raises:
        ClientError: it never pointed elsewhere, there is none, it has moved meanwhile, or the server can't be asked.
    """
    there = yield from aliases(name)
    seen = next((int(one["revision"]) for one in there if one["alias"] == alias), None)
    return (yield from ask(Call("POST", f"{_alias(name, alias)}/rollback", told(Alias, "alias"), headers=if_match(seen))))


def remove_alias(name: str, alias: str) -> Flow[None]:
    """Remove an alias; its version stays.

    Raises:
        ClientError: there is none, or the server can't be asked.
    """
    return ask(Call("DELETE", _alias(name, alias), nothing))


def alias_history(name: str, alias: str) -> Flow[list[Move]]:
    """Return the moves of an alias, newest first.

    Raises:
        ClientError: there is none, or the server can't be asked.
    """
    return all_of(each_move(name, alias))


def each_move(name: str, alias: str) -> Pages[Move]:
    """Go through the moves of an alias, newest first.

    Raises:
        ClientError: there is none, or the server can't be asked.
    """
    return Pages(Move, f"{_alias(name, alias)}/history", "history")


def if_match(revision: int | None) -> dict[str, str] | None:
    """Return the header by which something is done only where that revision still stands."""
    return None if revision is None else {"If-Match": f'"{revision}"'}


def _version(name: str, version: str) -> str:
    return address("models", name, "versions", version)


def _alias(name: str, alias: str) -> str:
    return address("models", name, "aliases", alias)


class RegistryCalls(UploadCalls, JobCalls):
    """What a client may do with registered models."""

    register = Method(register)
    wait_version = Method(wait_version)
    versions = Method(versions)
    each_version = Listing(each_version)
    version = Method(version_of)
    retire = Method(retire)
    delete_version = Method(delete_version)
    aliases = Method(aliases)
    set_alias = Method(set_alias)
    rollback_alias = Method(rollback_alias)
    remove_alias = Method(remove_alias)
    alias_history = Method(alias_history)
    each_move = Listing(each_move)
