"""Preference pairs for offline DPO: decided from people's scores and votes, and stored as tables."""
