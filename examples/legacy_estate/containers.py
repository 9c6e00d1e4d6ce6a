# SPDX-License-Identifier: Apache-2.0
"""The containers that legacy models come in: pickle protocols, joblib, and compression around either."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import Any

from .honest import Form

__all__ = ["write"]


def write(value: Any, form: Form) -> bytes:
    """`value` in the container `form`; no time stamp enters the bytes."""
    match form:
        case "pickle2" | "pickle4" | "pickle5":
            return pickle.dumps(value, protocol=int(form[-1]))
        case "pickle+gzip":
            return gzip.compress(pickle.dumps(value, protocol=4), mtime=0)
        case "joblib":
            return _joblib(value, 0)
        case "joblib+zlib":
            return _joblib(value, ("zlib", 3))
        case "joblib+xz":
            return _joblib(value, ("xz", 3))
        case "joblib+gzip":
            data = bytearray(_joblib(value, ("gzip", 3)))
            data[4:8] = bytes(4)  # the time field of the gzip header, RFC 1952 section 2.3
            return bytes(data)


def _joblib(value: Any, compress: Any) -> bytes:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress)
    return buffer.getvalue()
