# SPDX-License-Identifier: Apache-2.0
"""Reports: typed values in, text, JSON, JSON lines or SARIF out."""
