"""Labellers: the category of a photograph as given, by CLIP or SigLIP zero-shot, or by a VLM."""
