"""Instruction writers: from templates and object lists, or by a VLM with checks."""
