"""DiffusionNFT (arXiv 2509.16117): supervised flow matching toward good edits and away from bad ones.

Credit: an edit's advantage becomes r in [0, 1], the weight of the good branch; 1 - r is that of the bad one. Both lie
around the velocity of an old policy, which makes the edits by ODE steps and follows the current one slowly.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.algorithms.flow_matching import FlowMatching, NoisedLatents
from hpedit.rl.losses.nft import nft_loss, nft_reward


class NFT(FlowMatching):
    """Contrasts the implicit good and bad branch; no likelihood is needed."""

    def noised_loss(self, v: Tensor, v_old: Tensor, edits: NoisedLatents, advantage: Tensor) -> Tensor:
        """R (error of the good branch) + (1 - r) (error of the bad branch), of each edit at its noise level."""
        nft = self.context.recipe.nft
        r = nft_reward(advantage.to(v), nft.advantage_clip)
        return nft_loss(
            v, v_old, edits.x0, edits.noise, edits.t.to(v), r, beta=nft.beta, advantage_clip=nft.advantage_clip
        ).loss

    def old_policy_decay(self, iteration: int) -> float:
        """min(rate * iteration, limit): the share of itself that the old policy keeps."""
        nft = self.context.recipe.nft
        return min(nft.old_decay_rate * (iteration + 1), nft.old_decay)
