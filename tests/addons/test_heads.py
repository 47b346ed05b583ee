from mitmproxy.test import tflow

from llmtrace.addons.destination import Destination
from llmtrace.addons.heads import head_of, strip_own
from llmtrace.addons.presenting import Login, Shown
from llmtrace.storage.keys import Presented

WHERE = Destination(kind="governed", host="api.openai.com", target="/v1/x?a=b", path="/v1/x")


def test_a_head_tells_where_it_goes_and_who_came() -> None:
    flow = tflow.tflow()
    flow.request.method = "post"
    flow.request.headers["x-llmtrace-provider"] = "vllm"
    key = Presented("abcdefghijkl", b"d" * 32)
    head = head_of(flow, WHERE, Shown(keys=(key,), login=Login(user="bot")))
    assert (head.method, head.host, head.path, head.query) == (
        "POST",
        "api.openai.com",
        "/v1/x",
        "a=b",
    )
    assert (head.run, head.keys, head.proxy_key) == ("bot", (key,), None)
    assert (head.peer, head.mode, head.provider_hint) == ("127.0.0.1", "forward", "vllm")


def test_what_is_said_to_the_gateway_alone_goes_no_further() -> None:
    flow = tflow.tflow()
    flow.request.headers.fields = (
        (b"X-LLMTrace-Tenant-ID", b"a"),
        (b"x_llmtrace_agent_id", b"a"),
        (b"X-Llmtraced", b"a"),
    )
    strip_own(flow)
    assert list(flow.request.headers) == ["X-Llmtraced"]
