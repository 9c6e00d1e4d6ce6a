# SPDX-License-Identifier: Apache-2.0
"""Builders of hostile legacy files, one module a class of technique; see ``tests/attacks/pickle_corpus.py``."""
