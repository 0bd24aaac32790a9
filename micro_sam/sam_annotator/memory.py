"""Memory for label arrays, taken from the system before somebody waits for it.

The arrays of a session begin as zeros that take no memory. The system gives it when a slice is written for the first
time, and that is slow on some machines: on a virtual one, the first commit of an object of 60 slices took 0.6 s, of
which 0.02 s were work. So a thread asks for the memory while the person still looks at the image.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Sequence

import numpy as np

log = logging.getLogger(__name__)

MOST = 2**30  # bytes of all arrays together; larger ones take memory only where somebody writes
_STEP = 2**22
_PAGE = 2**12
_POPULATE_WRITE = 23  # Linux 5.14: allocate the pages, and leave their content as it is


def take_memory(arrays: Sequence[np.ndarray]) -> threading.Thread | None:
    """Let the system back arrays with memory, in a thread of its own. Their content does not change.

    Parameters
    ----------
    arrays
        Contiguous arrays, the most urgent first. Nothing happens when they are larger than :data:`MOST` together, or
        when the system knows no way to do it (it is Linux that does).

    Returns
    -------
    thread
        Which ends by itself; None when nothing happens.
    """
    if not sys.platform.startswith("linux") or sum(array.nbytes for array in arrays) > MOST:
        return None
    thread = threading.Thread(target=_populate, args=(list(arrays),), name="micro_sam memory", daemon=True)
    thread.start()
    return thread


def _populate(arrays: list[np.ndarray]) -> None:
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for array in arrays:
        begin = -(-array.ctypes.data // _PAGE) * _PAGE
        end = (array.ctypes.data + array.nbytes) // _PAGE * _PAGE
        for address in range(begin, end, _STEP):
            if madvise(address, min(_STEP, end - address), _POPULATE_WRITE):
                log.debug("The system does not give memory ahead (error %d).", ctypes.get_errno())
                return
