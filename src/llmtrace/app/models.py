"""Wires the models that a configuration asks for: which, from where, and what if one is missing."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from llmtrace.analyzers import model
from llmtrace.analyzers.base import StreamAnalyzer
from llmtrace.analyzers.ensemble import Ensemble
from llmtrace.analyzers.kinds import kinds
from llmtrace.app.detection import BadDetection
from llmtrace.config import Config
from llmtrace.config.ml import NONE, HubModelConfig, is_hub_id
from llmtrace.environment.home import home
from llmtrace.logs import origin

logger = logging.getLogger(__name__)

SHIPPED: Final = "shipped"
ML_MODEL: Final = "security_analysis.ml_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A model that is configured: by which key, and where it is. ``folder`` or ``hub`` is given."""

    key: str
    name: str
    folder: Path | None = None
    hub: HubModelConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A model that is configured and cannot be used; ``reason`` has no path in it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How it went to load a configured model; ``reason`` says why it is not ``loaded``."""

    key: str
    name: str
    state: Literal["loaded", "not fetched", "unusable"]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of one process."""

    loaded: "tuple[model.ModelAnalyzer, ...]" = ()  # in quotes: evaluated, it imports ONNX Runtime
    missing: tuple[Missing, ...] = ()

    def beside(self, patterns: StreamAnalyzer) -> StreamAnalyzer:
        """Return the patterns and the models as one."""
        return Ensemble(patterns, *self.loaded) if self.loaded else patterns

    def status(self) -> list[dict[str, object]]:
        """Return how each model is, for the supervisor."""
        rows: list[dict[str, object]] = [
            {
                "name": one.manifest.name,
                "version": one.manifest.version,
                "loaded": True,
                **one.meter.snapshot(),
            }
            for one in self.loaded
        ]
        return rows + [{"loaded": False, **asdict(one)} for one in self.missing]


def wanted(config: Config) -> list[Wanted]:
    """Return the models that are configured, that of ``ml_model`` first."""
    if not config.security_analysis.enabled:
        return []
    named = config.security_analysis.ml_model
    made = [_named(config, named)] if named is not None else []
    made += [
        Wanted(key=f"ml.models[{place}]", name=one.id, hub=one)
        for place, one in enumerate(config.ml.models)
        if one.id != named
    ]
    return made


def _named(config: Config, named: str) -> Wanted:
    if named == SHIPPED:
        return Wanted(key=ML_MODEL, name=named)
    if not is_hub_id(named):
        folder = Path(named).expanduser()
        return Wanted(key=ML_MODEL, name=folder.name or "folder", folder=folder)
    said = next((one for one in config.ml.models if one.id == named), None)
    return Wanted(key=ML_MODEL, name=named, hub=said or HubModelConfig(id=named))


def cache_of(config: Config, at: Path | None = None) -> model.HubCache:
    """Return where fetched models lie; ``at`` is the home folder, the user's own unless given."""
    return model.HubCache(config.ml.cache_dir or (at or home()) / "models")


def spec_of(one: HubModelConfig) -> model.HubSpec:
    """Return what a configuration says of a model as those want it who load it."""
    return model.HubSpec(
        id=one.id,
        revision=one.revision,
        file=one.file,
        labels=one.labels,
        threshold=one.threshold,
        window=one.window,
    )


def load_models(config: Config, *, at: Path | None = None, seconds: float = math.inf) -> Models:
    """Load the models that are configured. Nothing is fetched; takes a second or more.

    Args:
        config: Its ``security_analysis`` and ``ml`` name them.
        at: The home folder, the user's own unless given.
        seconds: How long a model may take for one text.

    Raises:
        BadDetection: One cannot be loaded, and ``on_error`` is ``block``.
    """
    found: list[model.ModelAnalyzer] = []
    missing: list[Missing] = []
    for one in wanted(config):
        try:
            found.append(load(one, config, at=at, seconds=seconds))
        except model.BadModel as error:
            if config.on_error == "block":
                raise BadDetection(f"{one.key}: {error}") from error
            logger.warning("%s: the gateway goes on without this model: %s", one.key, error)
            missing.append(Missing(name=one.name, reason=_reason(one, config, error, at)))
    return Models(loaded=tuple(found), missing=tuple(missing))


def load(
    one: Wanted, config: Config, *, at: Path | None = None, seconds: float = math.inf
) -> "model.ModelAnalyzer":
    """Load one model. Raises: BadModel."""
    point = config.security_analysis.operating_point
    with _only_bad_models(one):
        if one.hub is not None:
            cache = cache_of(config, at)
            return model.load_hub(spec_of(one.hub), cache, point=point, seconds=seconds)
        return model.load_folder(one.folder or model.SHIPPED, point=point, seconds=seconds)


def try_each(config: Config) -> Iterator[Tried]:
    """Load the configured models one after the other, as a start would, and keep none.

    Nothing is fetched: what a start would fetch is ``not fetched``.
    """
    for one in wanted(config):
        try:
            load(one, config)
        except model.BadModel as error:
            later = isinstance(error, model.NotFetched) and not config.ml.offline
            yield Tried(
                key=one.key,
                name=one.name,
                state="not fetched" if later else "unusable",
                reason=str(error),
            )
        else:
            yield Tried(key=one.key, name=one.name, state="loaded")


def describe(one: Wanted, config: Config, *, at: Path | None = None) -> model.Manifest:
    """Check a model's files and say what is known of it, without loading it. Raises: BadModel."""
    with _only_bad_models(one):
        if one.hub is not None:
            return model.read_hub(spec_of(one.hub), cache_of(config, at))
        return model.read_folder(one.folder or model.SHIPPED, name=one.name)


@contextmanager
def _only_bad_models(one: Wanted) -> Iterator[None]:
    """Make of whatever a model's files bring about what it means: it cannot be used."""
    try:
        yield
    except model.BadModel:
        raise
    except Exception as error:
        raise model.BadModel(
            f"{one.folder or one.name}: cannot be loaded ({origin(error)}); "
            "get the model's files again, or export it again"
        ) from error


def _reason(one: Wanted, config: Config, error: Exception, at: Path | None) -> str:
    """Say why a model is not there without the paths that are in the message."""
    places, where = [one.folder or model.SHIPPED], "its folder"
    if one.hub is not None:
        cache = cache_of(config, at)
        places, where = [*cache.home(one.name).glob("*"), cache.root], "the cache"
    said = str(error).removeprefix(f"{one.name}: ")
    for place in places:
        said = said.replace(f"{place}/", "").replace(str(place), where)
    return said


def with_model(patterns: StreamAnalyzer, config: Config) -> StreamAnalyzer:
    """Return the patterns, and the models beside them where any is configured.

    Raises:
        BadDetection: One cannot be loaded, and ``on_error`` is ``block``.
    """
    return load_models(config).beside(patterns)


def check_models(config: Config) -> None:
    """Check what the configured models' files say, and what is said of the models; load none.

    What would be fetched, or may be missing, need not be there.

    Raises:
        BadDetection: Something of it cannot be used.
    """
    for place, one in enumerate(config.ml.models):
        for kind in one.labels.values():
            if kind != NONE and kind not in kinds():
                raise BadDetection(
                    f"ml.models[{place}].labels: {kind!r} is no kind of finding; "
                    "docs/detection.md has all"
                )
    if config.on_error == "block":
        for named in wanted(config):
            if named.name != SHIPPED:
                _check_files(named, config)


def _check_files(one: Wanted, config: Config) -> None:
    try:
        describe(one, config)
    except model.NotFetched as error:
        if config.ml.offline:
            raise BadDetection(f"{one.key}: {error}") from error
    except model.BadModel as error:
        raise BadDetection(f"{one.key}: {error}") from error


def fetch_missing(config: Config, *, at: Path | None = None) -> None:
    """Fetch the configured models that are not in the cache, unless ``ml.offline``.

    What cannot be fetched is warned of: loading tells what that means.
    """
    if config.ml.offline:
        return
    for one in wanted(config):
        if one.hub is None:
            continue
        spec, cache = spec_of(one.hub), cache_of(config, at)
        try:
            cache.find(spec)
        except model.BadModel:
            logger.info("fetching %s from %s", one.name, config.ml.endpoint)
            try:
                model.fetch(spec, cache, hub_of(config))
            except model.BadModel as error:
                logger.warning("%s: not fetched: %s", one.key, error)


def hub_of(config: Config, *, progress: bool = False) -> model.Hub:
    """Return the hub that is configured, and how it is reached."""
    proxy = config.upstream_proxy
    return model.Hub(
        endpoint=config.ml.endpoint,
        seconds=config.ml.download_timeout_seconds,
        proxy=proxy.get_secret_value() if proxy else None,
        progress=progress,
    )
