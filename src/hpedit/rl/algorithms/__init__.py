"""One way to learn a file; `ALGORITHMS` lists those that learn from groups of scored edits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hpedit.rl.algorithms.expert_iteration import ExpertIteration
from hpedit.rl.algorithms.flow_grpo import FlowGRPO
from hpedit.rl.algorithms.grpo_guard import GRPOGuard
from hpedit.rl.algorithms.nft import NFT
from hpedit.rl.algorithms.online_dpo import OnlineDPO
from hpedit.rl.algorithms.protocol import Algorithm

ALGORITHMS: Final[Mapping[str, type[Algorithm]]] = {
    "flow_grpo": FlowGRPO,
    "grpo_guard": GRPOGuard,
    "nft": NFT,
    "online_dpo": OnlineDPO,
    "expert_iteration": ExpertIteration,
}
"""`train.algorithm` -> what learns. "offline_dpo" needs no rollout: see `hpedit.rl.offline`."""
