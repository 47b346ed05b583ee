import re
from pathlib import Path

from llmtrace.environment.clients import enforced, table
from llmtrace.environment.clientsdoc import render


def test_each_client_has_a_section_that_says_how() -> None:
    sections = re.split(r"^## ", render(), flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == [
        row.title for row in table().values()
    ]
    assert all("```console\n$ " in section for section in sections)
    assert all("-- \n" not in section for section in sections)


def test_all_that_the_table_knows_is_told() -> None:
    document = render()
    for row in table().values():
        for reason in (*row.rules, *row.silent):
            assert reason.why in document
            assert reason.fix in document


def test_what_was_tested_under_enforcement_is_a_row() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| ")]
    for one in enforced():
        (row,) = [row for row in rows if row.startswith(f"| {one.client} | {one.tested} |")]
        assert row.endswith(f"| {', '.join(one.ways)} | {one.refused} | {one.stopped} |")


def test_each_link_of_the_table_leads_to_a_section() -> None:
    document = render()
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.+)$", document, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", document)) == headings


def test_the_document_is_rendered_from_the_table() -> None:
    path = Path(__file__).parents[2] / "docs" / "clients.md"
    assert path.read_text() == render()
