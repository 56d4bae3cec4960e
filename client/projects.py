"""What a client may do with projects, and with what their reviews show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from client.answers import Draft, Draw, Gold, GoldPut, Project, Review, Reviewed
from client.calls import Call, Flow, address, ask, json_body, nothing, told, told_list
from client.methods import Listing, Method
from client.pages import Pages
from client.registry import if_match
from client.responses import whole


def projects() -> Pages[Project]:
    """Go through the projects, by name.

    Raises:
        ClientError: the server can't be asked.
    """
    return Pages(Project, address("projects"), "projects")


def project(name: str) -> Flow[Project]:
    """Return a project.

    Raises:
        ClientError: there is none of that name, or the server can't be asked.
    """
    return ask(Call("GET", address("projects", name), told(Project, "project")))


def set_project(name: str, settings: Mapping[str, Any], *, if_revision: int | None = None) -> Flow[Project]:
    """Make a project, or change the whole of it: what is left out has its default. docs/projects.md describes the settings.

    With `if_revision`, only where the project still has that revision; 0: where there is none yet.

    Raises:
        ClientError: a setting is wrong, the project has changed meanwhile, or the server can't be asked.
    """
    return ask(Call("PUT", address("projects", name), told(Project, "project"), json_body(dict(settings)), if_match(if_revision)))


def delete_project(name: str) -> Flow[None]:
    """Delete a project. Its drafts, reviews and history stay.

    Raises:
        ClientError: there is none of that name, or the server can't be asked.
    """
    return ask(Call("DELETE", address("projects", name), nothing))


def project_history(name: str) -> Flow[list[dict[str, Any]]]:
    """Return the revisions of a project, newest first.

    Raises:
        ClientError: there never was one of that name, or the server can't be asked.
    """
    return ask(Call("GET", f"{address('projects', name)}/history", told_list(dict[str, Any], "history")))


def put_gold(project_name: str, truths: Mapping[str, Mapping[str, Any]]) -> Flow[GoldPut]:
    """Make items gold, or correct them. `truths` has what is right, by item: `{"label"}`, `{"boxes": [{"label", "xyxy"}]}` or `{"text"}`.

    A wrong one is told among the `errors`, the others are taken.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    body = {"items": [{"item": item, "truth": dict(truth)} for item, truth in truths.items()]}
    return ask(Call("POST", _gold(project_name), told(GoldPut, "added"), json_body(body)))


def remove_gold(project_name: str, items: Sequence[str]) -> Flow[int]:
    """Let items be gold no more, and return how many were. Their history stays.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    query = urlencode([("item", item) for item in items])
    answer = yield from ask(Call("DELETE", f"{_gold(project_name)}?{query}", told(dict[str, int], "removed")))
    return answer["removed"]


def gold(project_name: str) -> Pages[Gold]:
    """Go through the gold items of a project, by name.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    return Pages(Gold, _gold(project_name), "gold")


def draws(project_name: str) -> Pages[Draw]:
    """Go through what the items of a project have drawn: whether their draft is shown, withheld, or has a planted error.

    Raises:
        ClientError: there is no such project, the key may not know, or the server can't be asked.
    """
    return Pages(Draw, f"{address('projects', project_name)}/arms", "arms")


def drafted(project_name: str) -> Pages[Draft]:
    """Go through the newest drafts of a project's items, by item, without those that were withheld and without honeypots.

    Raises:
        ClientError: there is no such project, the key may not know, or the server can't be asked.
    """
    return Pages(Draft, f"{address('projects', project_name)}/drafts", "drafts", {"limit": "500"})


def report(reviews: Sequence[Review]) -> Flow[list[Reviewed]]:
    """Report what people did with drafts, in one request; one entry per review, in order.

    The same event with the same content changes nothing. A review that is wrong has its `error`, the others are stored.

    Raises:
        ClientError: the request as a whole failed.
    """
    call = Call("POST", address("reviews"), told_list(Reviewed, "reviews", len(reviews)), json_body({"reviews": list(reviews)}))
    return ask(call)


def effect(project_name: str) -> Flow[dict[str, Any]]:
    """Return whether drafts pay in a project: seconds saved and errors let through, with intervals.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    return _figures(project_name, "effect")


def agreement(project_name: str) -> Flow[dict[str, Any]]:
    """Return how far the reviewers of a project agree.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    return _figures(project_name, "agreement")


def reviewers(project_name: str) -> Flow[dict[str, Any]]:
    """Return the figures of each reviewer of a project.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    return _figures(project_name, "reviewers")


def alarms(project_name: str) -> Flow[dict[str, Any]]:
    """Return the alarms of a project.

    Raises:
        ClientError: there is no such project, or the server can't be asked.
    """
    return _figures(project_name, "alarms")


def _figures(project_name: str, what: str) -> Flow[dict[str, Any]]:
    return ask(Call("GET", f"{address('projects', project_name)}/{what}", whole))


def _gold(project_name: str) -> str:
    return f"{address('projects', project_name)}/gold"


class ProjectCalls:
    """What a client may do with projects, their gold items and reviews."""

    projects = Listing(projects)
    project = Method(project)
    set_project = Method(set_project)
    delete_project = Method(delete_project)
    project_history = Method(project_history)
    put_gold = Method(put_gold)
    remove_gold = Method(remove_gold)
    gold = Listing(gold)
    draws = Listing(draws)
    drafted = Listing(drafted)
    report = Method(report)
    effect = Method(effect)
    agreement = Method(agreement)
    reviewers = Method(reviewers)
    alarms = Method(alarms)
