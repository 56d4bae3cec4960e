"""What people keep fixing, class by class: which labels are kept, changed into what, moved, deleted, and added.

Only drafts of the model that were shown count: what people do with errors that were planted, or without a draft, says nothing here. People
overlook errors, so that a class is as bad as it looks here, or worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from store import Store
from store.projects import Projects
from store.reviews import ReviewRow, Reviews

MOST = 200  # classes, or words, that are told
_INTO = 5  # labels that one is changed into
_CHANGED = frozenset({"relabelled", "substituted"})
_ADDED = frozenset({"added", "inserted"})


@dataclass(slots=True)
class _Class:
    kinds: Counter[str] = field(default_factory=Counter)
    into: Counter[str] = field(default_factory=Counter)

    @property
    def fixed(self) -> int:
        return sum(count for kind, count in self.kinds.items() if kind != "kept")


async def fixes(store: Store, team: str, project: str) -> dict[str, Any]:
    """Return what people keep fixing in a project, what they fix most first.

    Raises:
        UnknownProject: there is none of that name.
    """
    await Projects(store).get(team, project)
    return counted(await Reviews(store).current(team, project))


def counted(rows: Iterable[ReviewRow]) -> dict[str, Any]:
    """Count the edits of reviews whose draft was shown as the model made it."""
    rows = [row for row in rows if row.arm == "assisted" and row.edits is not None]
    found: dict[str, _Class] = {}
    for edit in (edit for row in rows for edit in row.edits or ()):
        kind, before, after = str(edit["kind"]), edit["before"], edit["after"]
        one = found.setdefault(str(after if kind in _ADDED else before), _Class())
        one.kinds[kind] += 1
        if kind in _CHANGED:
            one.into[str(after)] += 1
    ordered = sorted(found.items(), key=lambda item: (-item[1].fixed, item[0]))
    verdicts = Counter(str(row.verdict) for row in rows)
    return {
        "reviews": len(rows),
        "verdicts": dict(sorted(verdicts.items())),
        "labels": _told(ordered[:MOST]),
        "more": max(0, len(ordered) - MOST),
    }


def _told(classes: Sequence[tuple[str, _Class]]) -> list[Mapping[str, Any]]:
    return [
        {
            "label": name,
            "drafted": sum(count for kind, count in one.kinds.items() if kind not in _ADDED),
            "fixed": one.fixed,
            "edits": dict(sorted(one.kinds.items())),
            "into": [{"label": label, "count": count} for label, count in one.into.most_common(_INTO)],
        }
        for name, one in classes
    ]
