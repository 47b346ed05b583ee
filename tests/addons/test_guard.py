import asyncio
import logging
from collections.abc import Callable

import pytest

from llmtrace.addons.guard import guarded, guarded_stream

FAULTS: list[Callable[[], BaseException]] = [
    lambda: ValueError("the prompt"),
    lambda: TypeError(),
    lambda: RecursionError(),
    lambda: MemoryError(),
    lambda: asyncio.CancelledError(),
    lambda: StopIteration(),
    lambda: GeneratorExit(),
]


class Flow:
    def __init__(self) -> None:
        self.killed = False
        self.killable = True
        self.rescued = False

    def kill(self) -> None:
        self.killed = True


class Addon:
    def __init__(self, fault: BaseException | None, *, rescue_fails: bool = False) -> None:
        self.fault = fault
        self.rescue_fails = rescue_fails

    def rescue(self, flow: Flow) -> None:
        if self.rescue_fails:
            raise OSError
        flow.rescued = True

    @guarded("request", rescue)
    async def request(self, _flow: Flow) -> None:
        if self.fault:
            raise self.fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault()).__name__)
async def test_whatever_a_hook_raises_is_rescued(fault: Callable[[], BaseException]) -> None:
    flow = Flow()
    await Addon(fault()).request(flow)
    assert flow.rescued


async def test_a_rescue_that_fails_kills_the_flow() -> None:
    flow = Flow()
    await Addon(ValueError(), rescue_fails=True).request(flow)
    assert flow.killed


async def test_without_a_fault_nothing_is_rescued() -> None:
    flow = Flow()
    await Addon(None).request(flow)
    assert not flow.rescued


async def test_a_task_that_is_cancelled_stays_cancelled_and_rescued() -> None:
    flow = Flow()
    held = asyncio.Event()

    class Held:
        def rescue(self, flow: Flow) -> None:
            flow.rescued = True

        @guarded("request", rescue)
        async def request(self, _flow: Flow) -> None:
            held.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(Held().request(flow))
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert flow.rescued


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_is_not_held_up(fault: type[BaseException]) -> None:
    # pytest itself reacts to these when a task raises them, so the coroutine is stepped by hand.
    step = Addon(fault()).request(Flow())
    with pytest.raises(fault):
        step.send(None)


async def test_the_log_has_the_type_and_not_the_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        await Addon(ValueError("the prompt")).request(Flow())
    assert "ValueError" in caplog.text
    assert "the prompt" not in caplog.text


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault()).__name__)
def test_whatever_a_stream_callable_raises_is_rescued(fault: Callable[[], BaseException]) -> None:
    def broken(_chunk: bytes) -> bytes:
        raise fault()

    assert (
        guarded_stream("stream", broken, lambda _chunk: b"error event")(b"chunk") == b"error event"
    )
    assert guarded_stream("stream", broken, broken)(b"chunk") == b""


def test_a_sound_stream_callable_is_left_alone() -> None:
    assert guarded_stream("stream", bytes.upper, lambda _chunk: b"")(b"chunk") == b"CHUNK"
