"""What a client may do with registered models: register, watch, point aliases at them, calibrate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from client.errors import GaveUp
from client.responses import list_of, object_of
from client.uploads import LARGE, Progress, UploadCalls, sha256_of, unheard

Version: TypeAlias = dict[str, Any]
"""A registered version, as the API gives it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between two questions about a job


class RegistryCalls(UploadCalls):
    """What a client may do with registered models."""

    def register(self, name: str, artifact: Path, manifest: Mapping[str, Any], progress: Progress = unheard) -> Version:
        """Register a model file as a new version of a model, and return the version, which is validated from now on.

        `manifest` is what docs/reference/manifest.schema.json describes. See `wait_version` for what comes of it.

        Raises:
            ClientError: the request failed.
            OSError: the file can't be read.
        """
        where = f"/v1/models/{_part(name)}/versions"
        if artifact.stat().st_size > LARGE:
            upload = self.upload(artifact, progress)
            told = {"manifest": dict(manifest), "artifact": {"upload": upload, "filename": artifact.name}}
            return object_of(self.send("POST", where, lambda: nullcontext({"json": told})), "id")
        form = {"manifest": json.dumps(dict(manifest)), "sha256": sha256_of(artifact, progress)}

        @contextmanager
        def body() -> Iterator[Mapping[str, Any]]:
            with artifact.open("rb") as file:
                yield {"data": form, "files": {"artifact": (artifact.name, file, "application/octet-stream")}}

        progress("uploading", 0.0)
        answer = object_of(self.send("POST", where, body), "id")
        progress("uploading", 1.0)
        return answer

    def wait_version(self, version: Mapping[str, Any], progress: Progress = unheard, timeout: float = 900.0) -> Version:
        """Wait until a version that `register` returned is validated, and return it with its report: `ready` or `failed`.

        Raises:
            ClientError: the server can't be asked, or the version is still validated after `timeout` seconds.
        """
        name, job = str(version["model"]), version.get("job")
        if job:
            ended = self.wait_job(str(job), progress, timeout)
            known = (ended.get("result") or {}).get("id")  # where the same content was ready before, that version
            return self.version(name, str(known or version["id"]))

        def settled() -> Version | None:
            found = self.version(name, str(version["id"]))
            progress("validating", 0.0)
            return found if found["state"] != "validating" else None

        return self._until(settled, f"version {version['id']} of {name}", timeout)

    def wait_job(self, job_id: str, progress: Progress = unheard, timeout: float = 3600.0) -> dict[str, Any]:
        """Wait until a job has ended, well or not, and return it.

        Raises:
            ClientError: the server can't be asked, or the job still runs after `timeout` seconds.
        """

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = object_of(self.send("GET", f"/v1/jobs/{_part(job_id)}"), "job")["job"]
            progress(str(job["step"]), float(job["progress"]))
            return job if job["state"] in ("done", "failed", "cancelled") else None

        return self._until(ended, f"job {job_id}", timeout)

    def versions(self, name: str) -> list[Version]:
        """Return the registered versions of a model, newest first.

        Raises:
            ClientError: there is no such model, or the server can't be asked.
        """
        return list_of(self.send("GET", f"/v1/models/{_part(name)}/versions"), "versions")

    def version(self, name: str, version: str) -> Version:
        """Return one version with its report. `version` is `ver_…`, `sha256:…` or an alias.

        Raises:
            ClientError: there is no such version, or the server can't be asked.
        """
        return object_of(self.send("GET", _version(name, version)), "state")

    def retire(self, name: str, version: str) -> Version:
        """Let a version draft no more; its drafts stay.

        Raises:
            ClientError: an alias points to it, there is none, or the server can't be asked.
        """
        return object_of(self.send("POST", f"{_version(name, version)}/retire"), "state")

    def delete_version(self, name: str, version: str) -> None:
        """Delete a version and its files.

        Raises:
            ClientError: drafts or an alias refer to it, there is none, or the server can't be asked.
        """
        self.send("DELETE", _version(name, version))

    def aliases(self, name: str) -> list[dict[str, Any]]:
        """Return the aliases of a model.

        Raises:
            ClientError: there is no such model, or the server can't be asked.
        """
        return list_of(self.send("GET", f"/v1/models/{_part(name)}/aliases"), "aliases")

    def set_alias(
        self, name: str, alias: str, version: str, *, canary: str | None = None, share: float = 0.0, if_revision: int | None = None
    ) -> dict[str, Any]:
        """Point an alias to a version; with `canary`, that share of the items goes to another one.

        With `if_revision`, only where the alias still has that revision; 0: where there is none yet.

        Raises:
            ClientError: a version is not ready, there is none, the alias has moved, or the server can't be asked.
        """
        told = {"version": version, "canary": None if canary is None else {"version": canary, "share": share}}
        response = self.send("PUT", _alias(name, alias), lambda: nullcontext({"json": told}), _if_match(if_revision))
        return object_of(response, "alias")

    def rollback_alias(self, name: str, alias: str) -> dict[str, Any]:
        """Point an alias to where it pointed before its newest move.

        Where the answer gets lost, this is not done twice, which would undo it: then it is refused as moved meanwhile.

        Raises:
            ClientError: it never pointed elsewhere, there is none, it has moved meanwhile, or the server can't be asked.
        """
        seen = next((int(one["revision"]) for one in self.aliases(name) if one["alias"] == alias), None)
        return object_of(self.send("POST", f"{_alias(name, alias)}/rollback", headers=_if_match(seen)), "alias")

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias; its version stays.

        Raises:
            ClientError: there is none, or the server can't be asked.
        """
        self.send("DELETE", _alias(name, alias))

    def alias_history(self, name: str, alias: str) -> list[dict[str, Any]]:
        """Return the moves of an alias, newest first.

        Raises:
            ClientError: there is none, or the server can't be asked.
        """
        return list_of(self.send("GET", f"{_alias(name, alias)}/history"), "history")

    def fit(
        self, model: str, data: Path, *, name: str = "", caveat: str = "", split: str | None = None, progress: Progress = unheard
    ) -> str:
        """Upload an archive of a labelled folder, start a fit of a calibration on it, and return the job's id.

        Raises:
            ClientError: the request failed.
            OSError: the archive can't be read.
        """
        source = {"upload": self.upload(data, progress), "name": name, "caveat": caveat, "split": split}
        told = {"model": model, "from": {key: value for key, value in source.items() if value}}
        return str(object_of(self.send("POST", "/v1/calibrations/fits", lambda: nullcontext({"json": told})), "job")["job"]["id"])

    def promote(self, calibration: str) -> dict[str, Any]:
        """Put a calibration in force for its version.

        Raises:
            ClientError: it does not fit, there is none, or the server can't be asked.
        """
        return object_of(self.send("POST", f"/v1/calibrations/{_part(calibration)}/promote"), "model_version")

    def _until(self, ask: Callable[[], dict[str, Any] | None], what: str, timeout: float) -> dict[str, Any]:
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            if (found := ask()) is not None:
                return found
            if waited >= timeout:
                raise GaveUp(f"{what} has not ended after {timeout:.0f} s; it goes on: ask for it again later")
            self.wait(pause)
            waited, pause = waited + pause, min(_LONGEST_PAUSE, pause * 1.5)


def _part(text: str) -> str:
    return quote(text, safe="@:")


def _if_match(revision: int | None) -> dict[str, str] | None:
    return None if revision is None else {"If-Match": f'"{revision}"'}


def _version(name: str, version: str) -> str:
    return f"/v1/models/{_part(name)}/versions/{_part(version)}"


def _alias(name: str, alias: str) -> str:
    return f"/v1/models/{_part(name)}/aliases/{_part(alias)}"
