"""The base of every value that crosses the durable boundary: frozen, plain JSON, tolerant of unknown fields."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A value in a history outlives the code that wrote it: unknown fields are ignored, new ones have defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
