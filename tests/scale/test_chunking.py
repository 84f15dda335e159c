"""How photos are cut into chunks, and how a part names them; without pyarrow."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet.scale import chunking, parts
from tests.helpers.drawn import draw, write

PATHS = st.sets(st.text("abc/é\udcff", min_size=1, max_size=6), max_size=60)


class TestChunks:
    """Cut at about every fourth path, and after eight."""

    def cut(self, paths) -> list[tuple[str, ...]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunking, "CUT", 4)
            patch.setattr(chunking, "MOST", 8)
            files = (chunking.File(path, 1, 1) for path in sorted(paths))
            return [tuple(file.path for file in run) for run in chunking.cut(files)]

    @given(PATHS)
    def test_together_are_the_listing(self, paths):
        runs = self.cut(paths)
        assert [path for run in runs for path in run] == sorted(paths)
        assert all(0 < len(run) <= 8 for run in runs)

    @given(PATHS, st.text("abc/é", min_size=1, max_size=6))
    def test_change_up_to_the_next_cut_where_a_photo_is_added(self, paths, new):
        before, after = self.cut(paths - {new}), self.cut(paths | {new})
        ends = [path for path in sorted(paths - {new}) if chunking._hash(path) % 4 == 0]
        low = max((path for path in ends if path < new), default="")
        high = min((path for path in ends if path > new), default="\U0010ffff")

        def apart(run):
            return run[-1] <= low or run[0] > high

        assert [run for run in before if apart(run)] == [run for run in after if apart(run)]

    def test_their_names_are_of_what_is_in_the_files(self, tmp_path):
        folder = write(tmp_path, draw(20))
        described = {"backbone": {"fingerprint": "f"}, "versions": {"tensorflow": "2"}}
        others = {"backbone": {"fingerprint": "g"}, "versions": {"tensorflow": "2"}}
        [one] = chunking.chunks(folder, described)
        assert [one] == list(chunking.chunks(folder, json.loads(json.dumps(described))))
        [other] = chunking.chunks(folder, others)
        assert one.paths == other.paths
        assert one.digits != other.digits
        os.utime(folder / one.paths[3], ns=(1, 1))
        [touched] = chunking.chunks(folder, described)
        assert one.digits != touched.digits


@given(
    st.text(max_size=9).map(lambda text: text.lstrip("/.")) | st.text("\\\udcff\udc80é", max_size=6)
)
def test_a_path_as_text_is_utf_8_and_comes_back(path):
    text = parts.to_text(path)
    text.encode()
    assert parts.to_path(text) == path
