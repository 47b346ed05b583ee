import pytest
from mitmproxy import exceptions, hooks
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.test import taddons, tflow

from llmtrace.addons.hooks import HookTable, arguments


class Notes:
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self._notes = notes

    def request(self, _flow: object) -> None:
        self._notes.append(self.name)


class Awaited(Notes):
    async def request(self, flow: object) -> None:  # type: ignore[override]  # hooks may be either
        super().request(flow)


class Halting:
    def request(self, _flow: object) -> None:
        raise exceptions.AddonHalt


class Broken:
    def request(self, _flow: object) -> None:
        raise RuntimeError("broken")


@pytest.fixture
def table() -> HookTable:
    with taddons.context() as context:
        return HookTable(context.master)


async def test_handlers_run_in_order_whether_async_or_not(table: HookTable) -> None:
    notes: list[str] = []
    table.add(Notes("first", notes), Awaited("second", notes))
    for _ in range(2):
        await table.trigger_event(HttpRequestHook(tflow.tflow()))
    assert notes == ["first", "second"] * 2


async def test_addon_added_or_removed_later_counts_from_the_next_event(table: HookTable) -> None:
    notes: list[str] = []
    first = Notes("first", notes)
    table.add(first)
    await table.trigger_event(HttpRequestHook(tflow.tflow()))
    table.add(Notes("second", notes))
    await table.trigger_event(HttpRequestHook(tflow.tflow()))
    table.remove(first)
    await table.trigger_event(HttpRequestHook(tflow.tflow()))
    table.clear()
    await table.trigger_event(HttpRequestHook(tflow.tflow()))
    assert notes == ["first", "first", "second", "second"]


async def test_halt_keeps_the_event_from_later_addons(table: HookTable) -> None:
    notes: list[str] = []
    table.add(Halting(), Notes("later", notes))
    await table.trigger_event(HttpRequestHook(tflow.tflow()))
    assert notes == []


async def test_failing_handler_kills_the_flow(
    table: HookTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.add(Broken())
    flow = tflow.tflow()
    await table.trigger_event(HttpRequestHook(flow))
    assert flow.error
    assert flow.error.msg == flow.error.KILLED_MESSAGE
    assert "failed in request" in caplog.text


async def test_event_without_a_flow_survives_a_failing_handler(
    table: HookTable, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenDone:
        def running(self) -> None:
            raise RuntimeError("broken")

    class Later:
        ran = False

        def running(self) -> None:
            self.ran = True

    later = Later()
    table.add(BrokenDone(), later)
    await table.trigger_event(hooks.RunningHook())
    assert later.ran
    assert "an addon failed in running" in caplog.text


def test_plain_handlers_run_on_the_spot(table: HookTable) -> None:
    notes: list[str] = []
    table.add(Notes("first", notes), Halting(), Notes("later", notes))
    event = HttpRequestHook(tflow.tflow())
    assert table.is_plain(event)
    table.call_now(event, arguments(event))
    assert notes == ["first"]


def test_event_that_somebody_awaits_is_not_plain(table: HookTable) -> None:
    notes: list[str] = []
    table.add(Notes("first", notes), Awaited("second", notes))
    assert not table.is_plain(HttpRequestHook(tflow.tflow()))


def test_plain_handler_that_fails_kills_the_flow(
    table: HookTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.add(Broken())
    event = HttpRequestHook(tflow.tflow())
    table.call_now(event, arguments(event))
    assert event.flow.error
    assert "failed in request" in caplog.text


def test_arguments_are_those_that_the_event_tells() -> None:
    event = HttpRequestHook(tflow.tflow())
    assert arguments(event) == event.args()
