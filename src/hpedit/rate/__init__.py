"""The rating app: people score edits, or choose between two, in a browser. No torch.

edits --items--> what is shown --assignment--> who sees what --server--> answers --store--> agreement and export.
"""
