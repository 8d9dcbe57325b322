"""What the tests of reviewing share: six labelled frames of Pong and the queue over them."""

from __future__ import annotations

from pathlib import Path

import pytest
from review_kit import collected, queue_of

from data_flywheel.labels.review_queue import ReviewQueue


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collected(folder)
    return folder


@pytest.fixture(scope="module")
def queue(data: Path) -> ReviewQueue:
    return queue_of(data)
