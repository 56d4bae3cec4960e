"""One run of the benchmark: raw and served in turns, one of them on the machine at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.machine import CpuMeter
from benchmarks.media import files_of, make_files
from benchmarks.null import ceiling
from benchmarks.raw import RawPlan, RawRun, measure_apart
from benchmarks.served import BULK, CLIENTS, IN_FLIGHT, ServedPlan, ServedRun, Traffic
from benchmarks.wire import Connection, draft_request
from candor.errors import CandorError
from candor.predictions import Task
from client.api import Client
from models.samples import samples
from scripts.demo import server
from serving.config import Settings, cache_home, load_settings
from serving.deployments.environment import free_port

_LEAST_BATCHES = 6  # full batches in a phase at saturation, so that one more or less is no matter of luck
_READY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    config: Path
    tasks: tuple[Task, ...]
    seconds: float  # of each phase at saturation
    repeats: int
    paced: int  # items of each latency phase
    profile: bool = False
    least_batches: int = _LEAST_BATCHES


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the generator does against a null application, and the cores that it keeps busy then."""

    rate: float  # items/s
    cpu: float


@dataclass
class Results:
    """All runs, in order."""

    raw: dict[Task, list[RawRun]] = field(default_factory=dict)
    served: dict[Task, list[ServedRun]] = field(default_factory=dict)
    single: Ceiling | None = None
    bulk: Ceiling | None = None


class Session:
    """Runs a plan in a folder of its own, which goes away; profiles and the server's log stay in `out`."""

    def __init__(self, plan: Plan, folder: Path, out: Path, console: Console) -> None:
        self._plan = plan
        self._media = folder / "media"
        self._folder = folder
        self._out = out
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # redrawn once a second: the display must not take the time that it shows
        self._bar = Progress(*columns, console=console, transient=True, refresh_per_second=1, disable=not console.is_terminal)
        self._row = self._bar.add_task("", total=1 + plan.repeats * len(plan.tasks) * 2)
        self.results = Results({task: [] for task in plan.tasks}, {task: [] for task in plan.tasks})

    def run(self) -> Results:
        """Measure everything.

        Raises:
            CandorError, ServerFailed: something could not be measured; the text says what.
        """
        settings = load_settings(self._plan.config)
        with self._bar:
            self._tell("sample media, varied")
            self._media.mkdir()
            make_files(samples(cache_home(settings)), self._media)
            self._generator()
            for repeat in range(self._plan.repeats):
                for task in self._plan.tasks:
                    self._raw(task, repeat)
                self._served(settings, repeat)
        return self.results

    def _tell(self, what: str) -> None:
        self._bar.update(self._row, description=what)
        if not self._console.is_terminal:
            self._console.print(what, highlight=False)

    def _finished(self, what: str) -> None:
        self._bar.advance(self._row)
        self._console.print(what, highlight=False)

    def _generator(self) -> None:
        task: Task = "detection"
        files = files_of(self._media, task)
        seconds = min(self._plan.seconds, 4.0)
        self._tell("the generator against a null application")
        singles = [draft_request(task, [path]) for path in files]
        self.results.single = single = Ceiling(*asyncio.run(ceiling(singles, CLIENTS, seconds)))
        self.results.bulk = bulk = Ceiling(*asyncio.run(ceiling([draft_request(task, files[: BULK["image"]])], IN_FLIGHT, seconds)))
        self._finished(f"generator: at most {single.rate:.0f} single images/s, {bulk.rate:.0f} in bulk")

    def _raw(self, task: Task, repeat: int) -> None:
        self._tell(f"{task}: raw loop in a process of its own, repeat {repeat + 1} of {self._plan.repeats}")
        plan = RawPlan(self._plan.seconds, self._plan.least_batches, self._plan.paced)
        run = measure_apart(self._plan.config, task, self._media, plan)
        self.results.raw[task].append(run)
        told = f"raw {run.plain:.2f}/s, preparing ahead {run.ahead:.2f}/s, alone {median(run.latency.values()) * 1000:.0f} ms"
        self._finished(f"{task}: {told}")

    def _served(self, settings: Settings, repeat: int) -> None:
        with self._server(settings, repeat) as (port, process):
            for task in self._plan.tasks:
                traffic = Traffic(task, self._media, lambda: Connection(port), CpuMeter(process))
                plan = self._served_plan(task)
                told = f"{task}: served, repeat {repeat + 1} of {self._plan.repeats}"
                run = asyncio.run(traffic.measure(plan, self._teller(told)))
                self.results.served[task].append(run)
                self._finished(
                    f"{task}: served {run.clients.rate:.2f}/s in batches of {run.clients.batch:.1f} to {CLIENTS} clients, "
                    f"{run.bulk.rate:.2f}/s in batches of {run.bulk.batch:.1f} in bulk"
                )
                if self._plan.profile and repeat == self._plan.repeats - 1:
                    self._profile(task, traffic, plan, process)

    def _teller(self, before: str) -> Callable[[str], None]:
        return lambda what: self._tell(f"{before}: {what}")

    def _served_plan(self, task: Task) -> ServedPlan:
        raw = self.results.raw[task][-1]
        return ServedPlan(self._plan.seconds, self._plan.least_batches * raw.max_batch, len(raw.latency), raw.period)

    @contextmanager
    def _server(self, settings: Settings, repeat: int) -> Iterator[tuple[int, int]]:
        """Run `candor serve` on a free port with a database of its own; yield its port and process id."""
        port, log = free_port(), self._out / f"server-{repeat + 1}.log"
        own = {
            "CANDOR_SERVER__HOST": "127.0.0.1",
            "CANDOR_SERVER__PORT": str(port),
            "CANDOR_STORAGE__DATABASE_URL": f"sqlite+aiosqlite:///{self._folder / f'bench-{repeat}.db'}",
            "CANDOR_STORAGE__BLOBS": str(self._folder / "blobs"),
        }
        command = ["env", *(f"{name}={value}" for name, value in own.items()), *server.serve_command(self._plan.config)]
        self._tell("the server starts")
        self._bar.stop()  # the server's own display takes its place
        with server.running(command, log, self._console) as process:
            with Client(f"http://127.0.0.1:{port}") as candor:
                server.wait_ready(process, candor, log, self._console, _READY_SECONDS)
                answer = candor.ready()
            if not answer["ready"]:
                raise server.ServerFailed(f"not every model is ready: {server.told_states(answer['models'])}{server.tail(log)}")
            self._bar.start()
            try:
                yield port, process.pid
            finally:
                self._bar.stop()
        self._bar.start()

    def _profile(self, task: Task, traffic: Traffic, plan: ServedPlan, process: int) -> None:
        """Let py-spy watch a task's replica during a load that is not measured: watching slows it."""
        pid, program = CpuMeter(process).replica(task), shutil.which("py-spy", path=f".venv/tools{os.pathsep}{os.environ['PATH']}")
        if pid is None or program is None:
            self._console.print(f"{task}: no profile: {'py-spy is not installed' if pid else 'its replica was not found'}", style="yellow")
            return
        self._tell(f"{task}: profile")
        path = self._out / f"profile-{task}.svg"
        command = [program, "record", "--pid", str(pid), "--duration", str(int(plan.seconds)), "--output", str(path), "--native"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as watcher:
            asyncio.run(traffic.clients(plan))
            _, said = watcher.communicate(timeout=60)
        told = f"profile in {path}" if watcher.returncode == 0 else f"no profile: {said.decode(errors='replace').strip()[-300:]}"
        self._console.print(f"{task}: {told}", highlight=False)


def run(plan: Plan, folder: Path, out: Path, console: Console) -> Results:
    """Measure a plan; see `Session`.

    Raises:
        CandorError, ServerFailed: something could not be measured; the text says what.
    """
    try:
        return Session(plan, folder, out, console).run()
    except TimeoutError as error:
        raise CandorError("the server stopped answering under load") from error
    except ExceptionGroup as group:
        raise CandorError(f"a connection failed under load: {group.exceptions[0]!r}") from group
    finally:
        shutil.rmtree(folder, ignore_errors=True)
