"""Post-training by reinforcement learning: rollout, advantage, loss, trainer."""
