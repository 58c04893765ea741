"""Keeping the libraries' own chatter off the terminal while models load; errors still come through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Within it diffusers and transformers draw no progress bars and log errors alone; afterwards all is as before."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    levels = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    try:
        for library, _ in levels:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, level in levels:
            library.set_verbosity(level)
            library.enable_progress_bar()
