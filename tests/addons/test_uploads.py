import pytest

from llmtrace.addons.uploads import is_upload_path


@pytest.mark.parametrize(
    ("path", "upload"),
    [
        ("/v1/files", True),
        ("/v1/audio/transcriptions?x=1", True),
        ("/upload/v1beta/files", True),
        ("/v1/chat/completions", False),
        ("/v1/filesystem", False),
    ],
)
def test_only_paths_of_files_take_large_bodies(path: str, upload: bool) -> None:
    assert is_upload_path(path) is upload
