"""What `docs/hotline.md` says of a desk that comes back from a backup older than what routers have seen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from guardian.hotline.feed_state import ROLLBACK
from tests.desk.feed_desk import LIST, found, serve
from tests.desk.test_router import Box


def test_a_desk_from_an_older_backup_catches_up(tmp_path: Path) -> None:
    desk = found(tmp_path / "desk", time.time())
    box_root = desk.repository.roots()[0]
    desk.list_names(["listed-1.example"])
    desk.publish()
    backup = desk.copy(tmp_path / "backup")
    lost = ("listed-2.example", "listed-3.example")
    for name in lost:
        desk.list_names([name])
        desk.publish()
    with serve(desk) as url:
        box = Box(url, tmp_path / "box", box_root)
        before = box.update(desk.now)
    assert before.lists[LIST].serial == 4 and box.blocks("listed-3.example")

    with serve(backup) as url:
        box._config = replace(box._config, url=f"{url}default/")
        backup.list_names([lost[0]])  # approved anew, one publication each
        backup.publish()
        state = box.update(backup.now)
        assert state.code == ROLLBACK and box.blocks("listed-3.example"), "what is in force stays"
        backup.list_names([lost[1]])
        backup.publish()
        assert box.update(backup.now).lists[LIST].serial == 4, "as high as before is not enough"
        backup.list_names(["listed-4.example"])
        backup.publish()
        state = box.update(backup.now)
    assert (state.code, state.lists[LIST].code, state.lists[LIST].serial) == ("", "", 5)
    assert all(box.blocks(name) for name in (*lost, "listed-1.example", "listed-4.example"))
