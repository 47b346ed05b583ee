from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from llmtrace.config import Config, load, render
from llmtrace.config.detection import PolicyRule
from llmtrace.config.loading import leaves, variable
from llmtrace.config.prices import CustomModel
from llmtrace.config.render import WIDTH

ROOT = Path(__file__).parents[2]


def models(model: type[BaseModel] = Config) -> list[type[BaseModel]]:
    inner = [field.annotation for field in model.model_fields.values()]
    return [model, *(m for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)
                     for m in models(kind))]  # fmt: skip


@pytest.mark.parametrize(
    "model", [*models(), CustomModel, PolicyRule], ids=lambda model: model.__name__
)
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        text = (field.annotation.__doc__ if section else field.description) or ""
        assert text.strip().endswith("."), name


def test_the_example_holds_every_key_and_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(render.example())
    assert load(path, environ={}) == Config()
    tree = yaml.safe_load(render.example())
    for key in leaves():
        inner = tree
        for step in key:
            inner = inner[step]


def test_the_reference_names_every_key_and_its_variable() -> None:
    text = render.reference()
    for key in leaves():
        assert f"| `{'.'.join(key)}` |" in text
        assert f"`{variable(key)}`" in text
    assert "`cost_estimation.custom_models.NAME.input_per_million` | required" in text
    assert "`LLMTRACE_LOGGING_LEVEL`, `LLMTRACE_LOG_LEVEL`" in text


def test_lines_of_the_example_are_not_too_long() -> None:
    assert max(map(len, render.example().splitlines())) <= WIDTH + 2


def test_what_is_committed_is_current() -> None:
    assert (ROOT / "config.example.yaml").read_text() == render.example()
    assert (ROOT / "docs" / "configuration.md").read_text() == render.reference()


def test_the_reference_says_what_items_and_values_may_be() -> None:
    text = render.reference()
    assert "| `policy.rules[].verdict` | required | | One of `allow`, `flag`, `redact`" in text
    assert "| `policy.rules[].severity` | `info` | | One of `info`, `low`" in text
    assert "| `policy.rules[].roles` | `[]` | | Any of `system`, `user`" in text
    assert "`LLMTRACE_PII_ACTION` | One of `alert_only`, `alert_and_redact`" in text
    assert "`LLMTRACE_UPSTREAMS` | Host →" in text
