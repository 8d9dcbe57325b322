"""What the tests of reviewing share: six labelled frames of Pong and the queue over them. What was collected is no
garbage: the collector does not go through all the tests again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from review_kit import collected, queue_of

from data_flywheel.labels.review_queue import ReviewQueue


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collected(folder)
    return folder


@pytest.fixture(scope="module")
def queue(data: Path) -> ReviewQueue:
    return queue_of(data)
