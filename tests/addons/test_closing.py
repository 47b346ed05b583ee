from mitmproxy.test import tflow

from llmtrace.addons.closing import CLOSE, MAX_REASON_BYTES, Close, close_websocket


def test_a_reason_is_cut_to_what_a_control_frame_holds_and_stays_text() -> None:
    flow = tflow.twebsocketflow()
    close_websocket(flow, 1008, "é" * 100)
    close = flow.metadata[CLOSE]
    assert isinstance(close, Close)
    assert len(close.reason.encode()) <= MAX_REASON_BYTES
    assert set(close.reason) == {"é"}
