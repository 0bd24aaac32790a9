"""How many processor cores a thread computes on."""

from __future__ import annotations

import os
import threading

import torch


def leave_a_core() -> None:
    """Let the calling thread compute on all cores but one from now on, so that a window stays quick beside it.

    Other threads keep what they have. torch keeps a number for each thread, and one for threads to come; setting
    the first sets the second, too, which is therefore set back.
    """
    before = torch.get_num_threads()
    wanted = min(before, max(1, _cores() - 1))
    if wanted == before:
        return
    torch.set_num_threads(wanted)
    helper = threading.Thread(target=torch.set_num_threads, args=(before,))
    helper.start()
    helper.join()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
