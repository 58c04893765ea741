"""HP-Edit: post-training of instruction-based image editors on human preference (arXiv 2604.19406)."""

__version__ = "0.2.0"
