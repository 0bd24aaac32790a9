"""Freed memory is kept by programs that ask for it, and by nobody else."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from micro_sam.models.malloc import keep_memory
kept = keep_memory()
import resource, torch
torch.set_num_threads(1)
faults = []
for turn in range(12):  # glibc needs a few turns until holes of the right sizes are there
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (10, 24, 16):
        block = torch.ones(size * 2**18)
        del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, min(faults))
"""


def run(**environment: str) -> tuple[bool, int]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    result = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=inherited | environment
    )
    kept, faults = result.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_is_kept_between_calls_unless_the_person_says_otherwise():
    kept, faults = run()
    if not kept:
        pytest.skip("this Linux does not use glibc")
    assert faults < 100  # 50 MB were asked for and freed again: 12,800 pages
    assert run(MICRO_SAM_MALLOC="0")[0] is False
    assert run(MALLOC_TRIM_THRESHOLD_="131072")[0] is False
