"""The category of a photograph: as given, by CLIP or SigLIP, or by a VLM."""
