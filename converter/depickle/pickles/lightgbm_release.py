# SPDX-License-Identifier: Apache-2.0
"""Which releases of LightGBM can have trained a model, from the settings that its text lists.

Each release writes every setting that it has into the ``parameters:`` section, whatever the user chose, and releases
only ever added some (measured by ``scripts/lightgbm_releases.py`` with the wheels of 4.0.0 to 4.7.0). A text that was
loaded and saved again keeps the section, so it tells the release that trained, not the one that saved last.
"""

from __future__ import annotations

__all__ = ["lightgbm_releases"]

_SECTION, _END = "\nparameters:", "\nend of parameters"

_ADDED = (
    ("parser_config_file", 111, ("4.0.0",)),
    ("lambdarank_position_bias_regularization", 112, ("4.1.0",)),
    ("use_quantized_grad", 118, ("4.2.0", "4.3.0")),
    ("early_stopping_min_delta", 119, ("4.4.0", "4.5.0")),
    ("bagging_by_query", 120, ("4.6.0",)),
    ("gpu_device_id_list", 121, ("4.7.0",)),
)
"""A setting that came with a release, how many settings there were then, and the releases of which that is true."""


def lightgbm_releases(text: str) -> tuple[str, ...]:
    """Releases from 4.0.0 on that write such a text; none where it is of another release, or was changed.

    Args:
        text: a model text, however hostile.
    """
    _, found, after = text.partition(_SECTION)
    section, end, _ = after.partition(_END)
    if not found or not end:
        return ()
    lines = [line for line in section.split("\n") if line]
    names = [line[1:].partition(":")[0] for line in lines]
    if len(set(names)) != len(names) or not all(line[0] == "[" and line[-1] == "]" for line in lines):
        return ()
    known = set(names)
    for place, (_, count, releases) in enumerate(_ADDED):
        if len(names) == count:
            has = [name in known for name, _, _ in _ADDED]
            return releases if has == [other <= place for other in range(len(_ADDED))] else ()
    return ()
