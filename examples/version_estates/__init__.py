# SPDX-License-Identifier: Apache-2.0
"""Estates of legacy models, one per library version, with the answers that their writers recorded."""
