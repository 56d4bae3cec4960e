"""Asks a server for the reviewed labels of a project: one long answer, read line by line as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from client.api import Client
from client.calls import Call, address, nothing
from client.errors import Unreachable
from client.link import Tries


class ExportClient(Client):
    """A client that also reads what is longer than memory should hold."""

    def reviewed(self, project: str) -> Iterator[dict[str, Any]]:
        """Yield the newest reviewed labels of a project's items, with where they come from; honeypots are not among them.

        Raises:
            ClientError: there is no such project, the key may not know, or the connection broke.
        """
        with self._begun(Call("GET", f"{address('projects', project)}/export", nothing)) as response:
            try:
                for line in response.iter_lines():
                    yield json.loads(line)
            except (httpx.TransportError, ValueError) as error:  # half a line is no JSON
                raise Unreachable(f"the connection to {self.url} broke in the middle of the labels: ask again") from error

    @contextmanager
    def _begun(self, call: Call[None]) -> Iterator[httpx.Response]:
        """Yield an answer that has begun well. One that has not is asked for again, as any other."""
        tries = Tries(self._link, call)
        while True:
            try:
                response = self._http.send(self._http.build_request(call.method, call.path), stream=True)
            except httpx.TransportError as error:
                self.wait(tries.broke(error))
                continue
            with closing(response):
                if not response.is_success:
                    response.read()
                seconds = tries.answered(response)
                if seconds is None:
                    yield response
                    return
            self.wait(seconds)
