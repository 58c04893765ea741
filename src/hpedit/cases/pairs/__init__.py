"""Which of two edits people prefer: pairs for offline DPO, and tables of them."""
