from llmtrace.pipeline.counters import MAX_SERIES, Counters


def test_counts_by_name_and_label() -> None:
    counters = Counters()
    counters.count("refused", "bad_json")
    counters.count("refused", "bad_json", 2)
    counters.count("calls")
    assert counters.snapshot() == {"refused{bad_json}": 3, "calls": 1}


def test_labels_past_the_bound_are_counted_together() -> None:
    counters = Counters()
    for number in range(MAX_SERIES + 50):
        counters.count("sni", str(number))
    assert counters.get("sni", "other") == 50
    assert len(counters.snapshot()) == MAX_SERIES + 1
