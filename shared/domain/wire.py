"""The base of every value that crosses the durable boundary: frozen, plain JSON, tolerant of unknown fields."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A value in a history outlives the code that wrote it: unknown fields are ignored, new ones have defaults."""

    # Built at first use: an app that is only indexed pays for none, a worker for those its functions exchange. Safe
    # when two threads come first at once since pydantic 2.14 (pydantic#13438).
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)
