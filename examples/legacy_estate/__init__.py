# SPDX-License-Identifier: Apache-2.0
"""A folder of legacy model files as a trading system leaves them behind: the one place that writes pickles.

Honest packages are trained on real bars with fixed seeds; hostile ones stand beside them, and a
``manifest.json`` says of every file what must become of it. The estate imports nothing of depickle: it was
written first, and the converter had to cope with it.
"""
