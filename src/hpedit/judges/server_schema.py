"""Request schema of the judge server: the part of OpenAI's chat completions that it supports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

TOP = 20
"""Most tokens listed with an answer."""
MOST_WRITTEN = 2048
"""Most tokens of a text."""


class TextPart(BaseModel):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """An image as a data URL."""

    url: str


class ImagePart(BaseModel):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class UserMessage(BaseModel):
    """The one message of a request."""

    role: Literal["user"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class NamedSchema(BaseModel):
    """A JSON schema; always enforced, strict or not."""

    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """The schema that the answer must follow."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatRequest(BaseModel):
    """A chat completion request. Unknown fields are ignored; a field with one allowed value must have it."""

    model: str
    messages: list[UserMessage] = Field(min_length=1, max_length=1)
    max_tokens: int | None = Field(None, ge=1, le=MOST_WRITTEN)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_WRITTEN)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=0, lt=2**63)
    n: Literal[1] | None = None
    stream: Literal[False] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=TOP)
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _is_a_token_or_json(self) -> ChatRequest:
        if self.response_format is None:
            for name in ("max_tokens", "max_completion_tokens"):
                if getattr(self, name) not in (None, 1):
                    raise ValueError(f"{name} is 1 without a response_format of JSON")
            if self.temperature:
                raise ValueError("temperature is 0 without a response_format of JSON")
        elif self.logprobs:
            raise ValueError("logprobs go with one token, not with a response_format of JSON")
        return self
