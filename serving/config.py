"""All configuration: one model, from a YAML file, then `CANDOR_*` environment variables, read once at start and passed down.

`CANDOR_SERVER__PORT=9000` sets `server.port`. docs/reference/configuration.md is generated from the descriptions here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from candor.errors import InvalidRequest
from candor.policy import FROM_SCRATCH_BELOW, Policy
from candor.predictions import Task

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Section(BaseModel):
    """A part of the configuration; an unknown key is an error, so that a typo never goes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """Where and how the server listens."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback also needs `allow_remote: true`.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the API.")
    allow_remote: bool = Field(
        False, description="Permit an address beyond loopback. API keys travel in the open there: put a proxy with TLS before it."
    )
    auth: Literal["keys", "none"] = Field(
        "keys",
        description="`keys`: every request needs an API key of a team. `none` (`candor serve --no-auth`): nobody needs one, and all "
        "that is done belongs to the team `default`; only on loopback.",
    )
    topology: Literal["tasks", "single"] = Field(
        "tasks",
        description="`tasks`: one Ray Serve deployment per task, each its own ingress, plus a control one. `single`: all in one replica.",
    )
    ingress: Literal["auto", "haproxy", "python"] = Field(
        "auto",
        description="Ray Serve's front: `haproxy` (10 times the throughput), `python`, or `auto`: HAProxy where it is installed.",
    )
    ray_address: str | None = Field(None, description="Address of a running Ray cluster, or `auto`. Empty: start Ray on this machine.")
    request_seconds: float = Field(120, gt=0, description="Longest time for one request, in seconds; then 504.")
    graceful_stop_seconds: float = Field(30, ge=0, description="How long drafts in flight may take to finish after a stop signal.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class LimitSettings(Section):
    """What a request may carry. Beyond it the answer is a problem with status 413, or 503 for the queue."""

    items: int = Field(256, ge=1, description="Most items in one request.")
    body_bytes: int = Field(256 * 2**20, ge=1, description="Most bytes of one request body.")
    item_bytes: int = Field(128 * 2**20, ge=1, description="Most encoded bytes of one item, also when it is fetched from a URL.")
    pixels: int = Field(50_000_000, ge=1, description="Most pixels of one image, known from its header before it is decoded.")
    audio_seconds: float = Field(7_200, gt=0, description="Longest recording, in seconds.")
    queued_items: int = Field(
        512, ge=1, description="Most items that one replica holds, waiting and running; beyond it 503 with Retry-After."
    )
    queued_bytes: int = Field(2**30, ge=1, description="Most encoded bytes that one replica holds, waiting and running.")


class TeamLimits(Section):
    """What one team may take. A team may have limits of its own (`/v1/teams`)."""

    items_per_minute: int | None = Field(None, ge=1, description="Most items that a team may have drafted in a minute; then 429.")
    storage_bytes: int | None = Field(None, ge=1, description="Most bytes of a team's uploads and model files; then 403.")
    queue_share: float = Field(0.75, gt=0, le=1, description="Most of a replica's queue that one team may hold while others use it too.")


class ValidationSettings(Section):
    """How a registered model is tried out before it may draft: in a process of its own."""

    seconds: float = Field(300, gt=0, description="Longest time for one validation.")
    memory_bytes: int = Field(6 * 2**30, ge=1, description="Most memory that the process may take.")
    artifact_bytes: int = Field(4 * 2**30, ge=1, description="Most bytes of a registered model's file.")
    batches: tuple[int, ...] = Field((1, 4, 8, 16), description="Batch sizes at which memory and speed are measured.")


class MediaSettings(Section):
    """Which item URLs are fetched. Loopback, private and link-local addresses are refused after DNS and after every redirect."""

    schemes: tuple[Literal["http", "https"], ...] = Field(("https", "http"), description="Schemes that are fetched.")
    allowed_hosts: tuple[str, ...] = Field((), description="If set, only these hosts (`*.example.org` matches subdomains) are fetched.")
    private_hosts: tuple[str, ...] = Field((), description="Hosts that may resolve to a private address, such as an object store inside.")
    timeout_seconds: float = Field(20, gt=0, description="Longest time for one fetch, redirects and body included.")
    redirects: int = Field(3, ge=0, description="Most redirects that are followed, each checked anew.")


class StorageSettings(Section):
    """Where drafts and files live."""

    database_url: str = Field("sqlite+aiosqlite:///var/candor.db", description="SQLAlchemy URL of the database.")
    sqlite_synchronous: Literal["full", "normal"] = Field(
        "full", description="SQLite only. `full`: a committed draft survives a power cut. `normal`: it survives a killed process."
    )
    blobs: str = Field(
        "var/blobs",
        description="Folder of uploads and model files, named by SHA-256; or a URL that fsspec knows, such as `s3://bucket/prefix`.",
    )
    models: Path = Field(Path("var/models"), description="Folder of installed model artifacts.")
    downloads: Path | None = Field(None, description="Folder of fetched packages; default: $XDG_CACHE_HOME/candor or ~/.cache/candor.")


class EngineSettings(Section):
    """How models run. A task may override each of these."""

    device: str = Field("auto", description="`auto` (the first GPU if torch sees one), `cpu`, or `cuda:0` and so on.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="Arithmetic of the models.")
    threads: int = Field(0, ge=0, description="CPU threads of one model call; 0: all cores that this replica may use.")
    prepare_threads: int = Field(0, ge=0, description="Threads that decode items; 0: one per core.")
    max_batch: int = Field(16, ge=1, description="Most units (images, windows of speech) in one device call.")
    channels_last: bool = Field(True, description="Memory layout of image models; faster on most devices.")
    compile: bool = Field(False, description="torch.compile with bucketed batch sizes: slower start, faster GPU calls.")
    memory_fraction: float | None = Field(None, gt=0, le=1, description="Share of the GPU's memory that this replica's allocator may take.")
    cache_bytes: int = Field(4 * 2**30, ge=1, description="Most bytes of loaded model versions that one replica keeps.")


class TaskSettings(Section):
    """One task's deployment."""

    model: str = Field(description="Model that drafts where a request names none.")
    replicas: int = Field(1, ge=1, description="Ray Serve replicas.")
    num_cpus: float = Field(0, ge=0, description="CPUs that Ray reserves for each replica.")
    num_gpus: float = Field(0, ge=0, description="GPUs (a fraction is fine) that Ray reserves for each replica.")
    engine: dict[str, Any] = Field(default_factory=dict, description="Overrides of `engine` for this task.")


class ModelSettings(Section):
    """One model that this server knows."""

    task: Task
    family: str = Field(description="`ultralytics`, `whisper`, `timm`, `onnx`, or an installed package's own.")
    source: str = Field(description="`builtin:NAME`, `file:PATH` or `official:NAME` (fetched from the family's hub at installation).")
    options: dict[str, Any] = Field(default_factory=dict, description="What the family needs to know: labels, image size, language, …")
    calibration: Path | None = Field(None, description="Calibration record, made by `candor calibrate`. None: `uncalibrated`.")
    aliases: tuple[str, ...] = Field(("production",), description="Aliases that point to this model's version.")


class PolicySettings(Section):
    """What is done with the confidences of drafts. A project may override each of these; a stored draft keeps what was decided for it."""

    badge: bool = Field(True, description="Mark labels as `high` where the calibration has certified a threshold for it.")
    from_scratch_below: dict[Task, Annotated[float, Field(ge=0, le=1)] | None] = Field(
        dict(FROM_SCRATCH_BELOW),
        description="By task: the confidence below which a draft is withheld, as correcting it would cost more than starting clean: a "
        "classification's own, the mean of a detection's boxes or a transcript's words. Empty, or no number for a task: none is withheld.",
    )


class ProjectSettings(Section):
    """One project. A project that is not named here has the defaults."""

    policy: dict[str, Any] = Field(
        default_factory=dict,
        description="Overrides of `policy` for this project. A task that `from_scratch_below` does not name here keeps the general number.",
    )


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix="CANDOR_", env_nested_delimiter="__", extra="forbid", frozen=True)

    server: ServerSettings = ServerSettings()  # type: ignore[call-arg]
    limits: LimitSettings = LimitSettings()  # type: ignore[call-arg]
    media: MediaSettings = MediaSettings()  # type: ignore[call-arg]
    storage: StorageSettings = StorageSettings()  # type: ignore[call-arg]
    engine: EngineSettings = EngineSettings()  # type: ignore[call-arg]
    policy: PolicySettings = PolicySettings()  # type: ignore[call-arg]
    teams: TeamLimits = TeamLimits()  # type: ignore[call-arg]
    validation: ValidationSettings = ValidationSettings()  # type: ignore[call-arg]
    tasks: dict[Task, TaskSettings] = Field(default_factory=dict, description="The tasks that this server drafts.")
    models: Annotated[dict[str, ModelSettings], Field(description="The models that this server knows, by name.")] = {}
    projects: Annotated[dict[str, ProjectSettings], Field(description="The projects that differ from the defaults, by name.")] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as init values."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for task, chosen in self.tasks.items():
            model = self.models.get(chosen.model.partition("@")[0])
            if model is None:
                raise ValueError(f"tasks.{task}.model names {chosen.model!r}, which is not under `models`")
            if model.task != task:
                raise ValueError(f"tasks.{task}.model names {chosen.model!r}, whose task is {model.task}")
            try:
                self.engine_for(task)
            except ValidationError as error:
                wrong = error.errors()[0]
                raise ValueError(f"tasks.{task}.engine.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
        for project in self.projects:
            try:
                self._policy_of(project)
            except ValidationError as error:
                wrong = error.errors()[0]
                raise ValueError(f"projects.{project}.policy.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
        if self.server.host not in LOOPBACK and not self.server.allow_remote:
            raise ValueError(f"server.host {self.server.host} is beyond loopback: set server.allow_remote: true if you mean it")
        if self.server.host not in LOOPBACK and self.server.auth == "none":
            raise ValueError(
                f"server.auth is none, and server.host {self.server.host} is beyond loopback: whoever reaches it could do anything. "
                "Use keys, or listen on 127.0.0.1"
            )
        return self

    def engine_for(self, task: Task) -> EngineSettings:
        """Return the engine settings of a task: the general ones under its own."""
        return EngineSettings.model_validate({**self.engine.model_dump(), **self.tasks[task].engine})

    def policy_for(self, project: str | None) -> Policy:
        """Return a project's policy: the general one under its own."""
        found = self.policy if project is None or project not in self.projects else self._policy_of(project)
        return Policy(found.badge, {task: least for task, least in found.from_scratch_below.items() if least is not None})

    def _policy_of(self, project: str) -> PolicySettings:
        general, own = self.policy.model_dump(), self.projects[project].policy
        if isinstance(below := own.get("from_scratch_below"), dict):
            own = {**own, "from_scratch_below": {**general["from_scratch_below"], **below}}
        return PolicySettings.model_validate({**general, **own})


def load_settings(path: Path) -> Settings:
    """Read a YAML file and the environment.

    Raises:
        InvalidRequest: the file is missing or wrong; the detail names each wrong key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(values, dict):
            raise InvalidRequest(f"the configuration {path} is not a mapping of sections: server, limits, tasks, models, …")
        return Settings(**values)
    except OSError as error:
        raise InvalidRequest(f"the configuration {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the configuration {path} is not valid YAML: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors()]
        raise InvalidRequest(f"the configuration {path} is not valid:\n" + "\n".join(lines)) from error


def cache_home(settings: Settings) -> Path:
    """Return the folder for what may be fetched again: packages and the weights in them."""
    if settings.storage.downloads is not None:
        return settings.storage.downloads
    base = os.environ.get("CANDOR_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "candor")
    return Path(base)


def metrics_folder() -> str | None:
    """Return the folder in which the processes of one machine count together, if there is one."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def log_destination() -> str | None:
    """Return the path that logs are written to, where it is not this process's own standard error."""
    return os.environ.get("CANDOR_LOG_TO")


def set_environment(values: Mapping[str, str]) -> None:
    """Set variables for libraries that read them at import, and for the processes that this one starts."""
    os.environ.update(values)


def absolute(settings: Settings, base: Path) -> Settings:
    """Return the settings with every path made absolute, for processes that may run in another folder."""
    prefix = "sqlite+aiosqlite:///"
    storage = settings.storage
    url = storage.database_url
    if url.startswith(prefix) and not url.startswith(prefix + "/"):
        url = f"{prefix}{base / url.removeprefix(prefix)}"
    placed = storage.model_copy(
        update={
            "database_url": url,
            "blobs": storage.blobs if "://" in storage.blobs else str(base / storage.blobs),
            "models": base / storage.models,
            "downloads": None if storage.downloads is None else base / storage.downloads,
        }
    )
    models = {
        name: model.model_copy(update={"calibration": None if model.calibration is None else base / model.calibration})
        for name, model in settings.models.items()
    }
    return settings.model_copy(update={"storage": placed, "models": models})
