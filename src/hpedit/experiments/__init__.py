"""Whole runs side by side: the demo, the ablation, the same run over several seeds."""
