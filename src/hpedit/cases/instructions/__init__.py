"""Instructions for photographs: templates around an object list, or a VLM's own words, checked either way."""

# Until every reader of tables imports `hpedit.cases.sources.table`.
from hpedit.cases.instructions.table import Given, read_instructions, task_of

__all__ = ["Given", "read_instructions", "task_of"]
