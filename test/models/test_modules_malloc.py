"""Freed memory is kept by programs that ask for it, and by nobody else."""

import os
import subprocess
import sys

import pytest

ASK = """
from micro_sam.models.malloc import keep_memory
kept = keep_memory()
"""
COUNT = """
import resource, torch
torch.set_num_threads(1)
faults = []
for turn in range(12):  # glibc needs a few turns until holes of the right sizes are there
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (10, 24, 16):
        block = torch.ones(size * 2**18)
        del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def run(code: str, **environment: str) -> list[str]:
    """What a process of its own prints, in words."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=inherited | environment
    )
    return result.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_is_kept_between_calls_unless_the_person_says_otherwise():
    answer, faults = run(ASK + "print(kept)" + COUNT)
    if answer != "True":
        pytest.skip("this Linux does not use glibc")
    assert int(faults) < 100  # 50 MB were asked for and freed again: 12,800 pages
    for name, value in (("MICRO_SAM_MALLOC", "0"), ("MALLOC_TRIM_THRESHOLD_", "131072")):
        assert run(ASK + "print(kept)", **{name: value}) == ["False"]
