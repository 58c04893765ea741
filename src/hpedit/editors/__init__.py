"""Instruction-based image editors behind one protocol, with LoRA."""
