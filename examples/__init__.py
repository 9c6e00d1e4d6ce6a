# SPDX-License-Identifier: Apache-2.0
"""The demo, the trading code it speaks for, and the legacy estate it migrates."""
