"""Memory that one step of training has freed stays with the process, for the next step to use."""

from __future__ import annotations

import ctypes

#: Names of glibc's `mallopt`, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed; False where it cannot be told (no glibc).

    By itself glibc takes blocks of 32 MB and more from the kernel anew each time, and gives the end of its heap back:
    on a CPU every step then waits for the kernel to clear the pages of its activations and gradients. The peak is the
    same either way.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
