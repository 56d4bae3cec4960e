"""`candor label-studio` against a real Label Studio: one command wires everything, and what is wrong is told with what to do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from serving.deployments.environment import free_port
from tests.tools.candor_site import CandorSite
from tests.tools.label_studio import BOXES, CHOICES, LabelStudioSite, until

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def connect(candor: Run, label_studio: LabelStudioSite, candor_server: CandorSite) -> Run:
    """Run `candor label-studio connect` for a project of the shared Label Studio; a later option counts."""

    def run(project: Any, *more: Any, site: LabelStudioSite = label_studio, server: CandorSite = candor_server) -> CompletedProcess[str]:
        where = ("--url", site.url, "--token", site.token, "--server", server.url)
        return candor("label-studio", "connect", *where, "--project", project, *more)

    return run


def images(number: int) -> list[dict[str, str]]:
    """Data of tasks whose images are in them: no two alike."""
    return [{"image": f"data:image/png;base64,{base64.b64encode(f'image {n}'.encode()).decode()}"} for n in range(number)]


def refused(done: CompletedProcess[str]) -> str:
    """Assert that a command was refused, and return its one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_one_command_wires_everything_and_again_mends_it(
    connect: Run, label_studio: LabelStudioSite, candor_server: CandorSite, candor: Run
) -> None:
    project = label_studio.project(title="wired")
    label_studio.import_tasks(project, images(2))
    done = connect(project, "--as", "wired", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout)
    parts = ("label_studio", "labels", "backend", "webhook", "predict")
    assert [(one["name"], one["ok"]) for one in made["findings"]] == [(part, True) for part in parts]
    assert candor_server.api("GET", "/v1/projects/wired")["project"]["labels"] == ["cat", "dog"]  # those of the labeling config
    (row,), (hook,) = label_studio.backends(project), label_studio.webhooks(project)
    assert (row["url"], hook["url"]) == (made["base_url"], made["base_url"] + "/webhook")
    assert (row["state"], label_studio.api("GET", f"/api/projects/{project}/")["model_version"]) == ("CO", "Candor")
    secret = hook["headers"]["X-Candor-Webhook"]
    report = hook["url"].removeprefix(candor_server.url)
    until(lambda: candor_server.ask("POST", report, json={"action": "PROJECT_UPDATED"}).status_code == 401)  # without its header
    told = json.dumps(candor_server.api("GET", "/v1/projects/wired/connections")) + candor_server.log()
    assert not any(hidden in told for hidden in (label_studio.token, secret, made["base_url"]))

    label_studio.api("DELETE", f"/api/webhooks/{hook['id']}/")
    status = candor("label-studio", "status", "--project", "wired", "--server", candor_server.url)
    assert status.returncode == 1
    assert "WRONG  webhook: Label Studio has no webhook" in status.stdout
    assert connect(project, "--as", "wired").returncode == 0  # the secret is the same: nobody has to be told
    assert [one["url"] for one in label_studio.webhooks(project)] == [hook["url"]]
    label_studio.api("DELETE", f"/api/ml/{row['id']}")
    assert "no ML backend" in candor("label-studio", "status", "--project", "wired", "--server", candor_server.url).stdout
    again = json.loads(connect(project, "--as", "wired", "--json").stdout)
    assert (again["id"], again["base_url"] == made["base_url"]) == (made["id"], False)
    assert [one["url"] for one in label_studio.backends(project)] == [again["base_url"]]
    assert [one["url"] for one in label_studio.webhooks(project)] == [again["base_url"] + "/webhook"]

    ended = candor_server.api("DELETE", f"/v1/projects/wired/connections/{made['id']}")
    assert (ended["findings"], ended["ended_at"] is None) == ([], False)
    assert label_studio.backends(project) == label_studio.webhooks(project) == []


def test_selected_tasks_and_pushed_ones_get_their_drafts(
    connect: Run, label_studio: LabelStudioSite, candor_server: CandorSite, candor: Run
) -> None:
    project = label_studio.project(CHOICES, title="pushed")
    first = label_studio.import_tasks(project, images(30))
    assert connect(project, "--as", "pushed").returncode == 0
    assert label_studio.retrieve(project, first)["detail"] == "Retrieved 30 predictions"
    found = label_studio.predictions(project)
    assert sorted(one["task"] for one in found) == first
    assert {region["value"]["choices"][0] for one in found for region in one["result"]} == {"cat", "dog"}

    more = [*images(40)[30:], {"image": "data:image/png;base64,"}, {"image": "nowhere/at/all"}]
    second = label_studio.import_tasks(project, more)
    label_studio.annotate(second[0], [])
    done = candor("label-studio", "push", "--project", "pushed", "--server", candor_server.url, "--wait")
    assert done.returncode == 1, done.stderr
    assert "11 tasks were queued" in done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [f"WRONG  task {task}" for task in second[-2:]]
    assert "nowhere/at/all" in done.stdout
    pushed = [one["task"] for one in label_studio.predictions(project)]
    assert sorted(pushed) == [*first, *second[1:-2]]
    repeated = candor("label-studio", "push", "--project", "pushed", "--server", candor_server.url, "--json")
    assert json.loads(repeated.stdout)["queued"] == 2  # those that failed


def test_a_personal_access_token_is_as_good(connect: Run, label_studio: LabelStudioSite) -> None:
    project = label_studio.project(title="personal")
    done = connect(project, "--token", label_studio.personal_token())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok     backend: Connected" in done.stdout


def test_what_is_wrong_on_candors_side_is_told_before_anything_is_made(
    connect: Run, label_studio: LabelStudioSite, candor_server: CandorSite
) -> None:
    project = label_studio.project(title="refused")
    assert "401" in (told := refused(connect(project, "--token", "0" * 40)))
    assert "personal access token under Account & Settings" in told
    assert "not valid" in refused(connect(project, "--token", "a.b.c"))
    assert "no project 99999 that this token may see; its projects: " in (told := refused(connect(99_999)))
    assert f"{project} 'refused'" in told
    assert "is no Label Studio" in refused(connect(project, "--url", candor_server.url))
    assert "can't be reached" in refused(connect(project, "--url", f"http://127.0.0.1:{free_port()}"))
    assert "needs a <Choices> of a whole <Image>" in refused(connect(project, "--task", "classification"))
    assert "no model 'nobody'" in refused(connect(project, "--model", "nobody"))
    birds = label_studio.project(BOXES.replace("cat", "duck").replace("dog", "goose"), title="birds")
    assert "(cat, dog) is a label of <RectangleLabels name='box'> (duck, goose)" in (told := refused(connect(birds)))
    assert "predicted_values" in told
    assert label_studio.backends(project) == label_studio.backends(birds) == []
    assert candor_server.ask("GET", f"/v1/projects/label-studio-{project}").status_code == 404


def test_an_address_that_label_studio_cannot_reach_is_told_and_leaves_nothing(
    connect: Run, label_studio: LabelStudioSite, candor_server: CandorSite
) -> None:
    project = label_studio.project(title="unreached")
    elsewhere = f"http://127.0.0.1:{free_port()}"
    told = refused(connect(project, "--as", "unreached", "--candor-url", elsewhere))
    assert f"can't reach Candor at {elsewhere}" in told
    assert "--candor-url" in told
    assert label_studio.backends(project) == label_studio.webhooks(project) == []
    assert candor_server.api("GET", "/v1/projects/unreached/connections") == {"connections": []}
    assert connect(project, "--as", "unreached").returncode == 0
    assert "can't reach" in refused(connect(project, "--as", "unreached", "--candor-url", elsewhere))
    (row,) = label_studio.backends(project)  # what worked works on
    assert (row["state"], row["url"].startswith(candor_server.url)) == ("CO", True)
    assert "connected to project 'unreached', by con_" in refused(connect(project, "--as", "another"))


def test_another_backend_that_is_asked_first_is_told(connect: Run, label_studio: LabelStudioSite, candor_server: CandorSite) -> None:
    project, other = label_studio.project(title="taken"), label_studio.project(title="other")
    made = candor_server.api("POST", "/v1/projects/by-hand/connections", json={"tool": "label-studio"})
    assert "paste" in made["findings"][0]["told"]
    # the base URL is all that is pasted, with a path that is not Candor's own: it stands for another backend
    url = made["base_url"].replace("/label-studio/by-hand/", "/label-studio/./by-hand/")
    label_studio.api("POST", "/api/ml/", json={"url": made["base_url"], "project": other, "title": "by hand"})
    assert label_studio.backends(other)[0]["state"] == "CO"
    label_studio.api("POST", "/api/ml/", json={"url": url, "project": project, "title": "somebody's"})
    assert 'ML backend "somebody\'s" already' in refused(connect(project))
    assert len(label_studio.backends(project)) == 1


def test_a_server_that_may_not_call_private_hosts_says_which_setting(connect: Run, label_studio: LabelStudioSite, tmp_path: Path) -> None:
    server = CandorSite(tmp_path / "candor", media={"private_hosts": ()})
    server.start()
    try:
        told = refused(connect(label_studio.project(title="private"), server=server))
    finally:
        server.stop()
    assert "add '127.0.0.1' to `media.private_hosts`" in told


def test_a_label_studio_as_it_is_delivered_is_told_which_two_settings_it_takes(
    connect: Run, other_label_studio: Callable[..., LabelStudioSite], candor_server: CandorSite
) -> None:
    site = other_label_studio(ML_BLOCK_LOCAL_IP="true", SSRF_PROTECTION_ENABLED="true")
    project = site.project()
    personal = site.personal_token()
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in refused(connect(project, site=site))
    site.api("POST", "/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": False})
    assert "disabled" in (told := refused(connect(project, site=site)))
    assert "make a personal access token" in told
    site.restart(ML_BLOCK_LOCAL_IP="false")  # one of the two alone
    half = refused(connect(project, "--token", personal, site=site))
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in half
    site.restart(SSRF_PROTECTION_ENABLED="false")
    done = connect(project, "--token", personal, "--json", site=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert candor_server.api("GET", f"/v1/projects/label-studio-{project}/connections")["connections"][0]["url"] == site.url
    until(lambda: site.ask("GET", "/health").status_code == 200)
