"""Losses: pure functions of tensors, one file per algorithm. Each is per sample: the caller normalizes.

Non-finite values are passed on: the optimizer step stops on them (`hpedit.rl.policy`).
"""
