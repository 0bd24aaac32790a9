"""A thread that leaves a core to others changes nothing for these."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from micro_sam.models import threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_leaves_a_core_and_the_others_keep_theirs(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    with ThreadPoolExecutor(1) as guest, ThreadPoolExecutor(1) as other:
        for _ in range(2):
            guest.submit(threads.leave_a_core).result()
            assert guest.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == other.submit(torch.get_num_threads).result() == 2


def test_with_cores_to_spare_nothing_changes(two_threads, monkeypatch):
    for cores, expected in ((8, 2), (1, 1)):
        monkeypatch.setattr(threads, "_cores", lambda cores=cores: cores)
        with ThreadPoolExecutor(1) as guest:
            guest.submit(threads.leave_a_core).result()
            assert guest.submit(torch.get_num_threads).result() == expected
