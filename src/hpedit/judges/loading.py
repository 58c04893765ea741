"""Load a judge by name: the mini judge, a local folder, a hub model, or an OpenAI-compatible server.

    judge = load_judge("mini")                                            # in the package
    judge = load_judge("Qwen/Qwen3-VL-8B-Instruct", revision="0c351dd")   # hub id, or a folder
    judge = load_judge("http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-32B-Instruct", cache=Path("answers.sqlite"))

A server is given by its URL, or several separated by commas, then # and the model's name there.
"""

from __future__ import annotations

from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.protocol import Judge
from hpedit.judges.writing import WritingJudge


def load_judge(
    spec: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    cache: Path | None = None,
    limit: UnscorableLimit | None = None,
) -> Judge:
    """Load a judge; only its own backend is imported.

    Args:
        spec: "mini", a folder, a hub id, or URL[,URL...]#MODEL of an OpenAI-compatible server.
        revision: Of a hub model; pin it.
        dtype: "auto", "float32", "bfloat16" or "float16"; for a model in process.
        device: "auto" or a device of torch; for a model in process.
        cache: SQLite file of known answers; created if missing.
        limit: Stops a run with too many unscorable answers; by default more than a fifth, after 50 answers.

    Raises:
        HPEditError: no such judge, or it can't be loaded.
    """
    limit = limit or UnscorableLimit()
    judge = load_writing_judge(spec, revision=revision, dtype=dtype, device=device, limit=limit)
    if cache is None:
        return judge
    from hpedit.judges.answer_cache import CachedJudge

    return CachedJudge(judge, cache, limit=limit)


def load_writing_judge(
    spec: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    limit: UnscorableLimit | None = None,
) -> WritingJudge:
    """Load a judge that also writes text; see `load_judge`. There is no cache for texts."""
    limit = limit or UnscorableLimit()
    if not spec.startswith(("http://", "https://")):
        from hpedit.judges.transformers_judge import TransformersJudge

        return TransformersJudge.load(spec, revision, dtype, device, limit)
    from hpedit.judges.openai_judge import OpenAIJudge

    if revision:
        raise HPEditError("a server's judge has no --revision", hint="choose it where the server is started")
    urls, model = split_spec(spec)
    return OpenAIJudge(model, urls, limit=limit)


def split_spec(spec: str) -> tuple[tuple[str, ...], str]:
    """Split "URL[,URL...]#MODEL" into URLs and model; HPEditError if a part is missing or not a plain URL."""
    from urllib.parse import urlsplit

    places, _, model = spec.partition("#")
    urls = tuple(url.strip() for url in places.split(","))
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HPEditError(f"{url!r} is not the URL of a judge's server", hint="like http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise HPEditError(
                f"the URL of {parts.hostname} must hold no password and no query",
                hint="put the server's key into the environment variable HPEDIT_JUDGE_API_KEY",
            )
    if not model:
        raise HPEditError(
            f"{spec!r} names no model", hint="write the model after a #, as http://127.0.0.1:8000/v1#mini"
        )
    return urls, model
