"""Keeps glibc from handing memory back to the kernel between calls of the network.

A network allocates and frees tensors of a few megabytes at every layer. glibc maps and unmaps each of them, and the
kernel zeroes the same pages over and over, which costs a third of the decoder's time (measured with AVX2, glibc 2.36).
Programs call :func:`keep_memory` when they start. Libraries must not: it is the process that pays, by keeping what it
once needed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys

logger = logging.getLogger(__name__)

OPT_OUT = "MICRO_SAM_MALLOC"  # environment variable: "0" leaves malloc as it is

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MMAP_THRESHOLD = 256 * 2**20  # the largest tensor of vit_h at one image has 84 MB
_LARGEST_IN_OLD_GLIBC = 32 * 2**20  # larger thresholds are refused there
_TOP_PAD = 64 * 2**20


def keep_memory() -> bool:
    """Raises malloc's thresholds, on Linux with glibc; returns whether it did.

    Blocks of up to 256 MB come from the heap, and as much as twice that is kept at its end. All threads share one heap,
    so that background threads find the memory that others have used. Settings from the environment (``MALLOC_*_``) are
    left alone, and nothing is done when ``MICRO_SAM_MALLOC`` is "0".
    """
    set_by_user = any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
    if not sys.platform.startswith("linux") or os.environ.get(OPT_OUT) == "0" or set_by_user:
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has none, and its malloc has no thresholds)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # A threshold for trimming alone would freeze the one for mapping at its small start.
    if not (mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD) or mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_OLD_GLIBC)):
        return False
    mallopt(_M_TRIM_THRESHOLD, 2 * _MMAP_THRESHOLD)
    mallopt(_M_TOP_PAD, _TOP_PAD)
    mallopt(_M_ARENA_MAX, 1)
    logger.debug("malloc keeps freed memory; set %s=0 to prevent this", OPT_OUT)
    return True
