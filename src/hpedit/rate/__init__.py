"""The rating app: human raters score edits, compare two edits, or check cases in a browser. No torch.

edits --items--> what is shown --assignment--> to whom --server--> answers --ratings.store--> agreement and export.
"""
