"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from nsnet_cli.disk import appearing, write_whole


def test_a_file_takes_the_place_of_another_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "before")
    with appearing(path) as partial:
        partial.write_text("after", "utf-8")
        assert path.read_text("utf-8") == "before"
    assert path.read_text("utf-8") == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "before")
    with pytest.raises(type(error)), appearing(path) as partial:
        partial.write_text("hal", "utf-8")
        raise error
    assert path.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
