# SPDX-License-Identifier: Apache-2.0
"""Evidence that a new model answers as the original: rows on its splits, comparison, translation validation."""
