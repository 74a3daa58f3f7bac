"""What a line of a record is: named values of strict types, all of them finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Radius = Annotated[float, Field(ge=0)]
Class = Annotated[int, Field(ge=0, le=10**6)]
Size = Annotated[int, Field(gt=0)]
Status = Literal["verified", "misclassified", "falsified", "unknown", "timeout", "error"]
STATUSES: tuple[Status, ...] = ("verified", "misclassified", "falsified", "unknown", "timeout", "error")


class Values(BaseModel):
    """A part of a line: strict types, finite numbers, no field that is not named. A number that is not finite becomes null."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        return plain(values)


class Line(Values):
    """A line of a record: whoever writes one constructs it, and whoever reads one gets it checked.

    Attributes:
        kind: what stands as its `type`.
    """

    kind: ClassVar[str] = ""

    def written(self) -> dict[str, Any]:
        """As it stands in a record: its type, and the fields that were given."""
        return {"type": self.kind, **self.model_dump(exclude_unset=True)}


class DoneLine(Line):
    """The run was closed; a record without this line was cut short."""

    kind: ClassVar[str] = "done"


class Rate(Values):
    """A share with its 95 % confidence limits, and its deviation where it is a mean over runs.

    Attributes:
        value: the share.
        low: its lower limit by Clopper and Pearson; of a mean over runs, by Student's t.
        high: its upper limit.
        std: of the sample of runs, where it is a mean over several.
    """

    value: Share
    low: Share
    high: Share
    std: Radius | None = None


class AccuracyPart(Values):
    """A trained model on one part of the data: on `count` of its `of` examples.

    Attributes:
        clean: accuracy.
        verified: verified accuracy.
        noisy: mean accuracy under the recipe's noise instead: an estimate, no proof.
        count: examples judged; of the training set a sample that the seed draws (`train.certify_train`).
        of: how many there are.
        verifier: what proves.
    """

    clean: Rate
    verified: Rate | None = None
    noisy: Rate | None = None
    count: Count
    of: Count
    verifier: str = ""


def plain(value: Any) -> Any:
    """Values as strict JSON has them: NaN and infinities are null, paths are text, tuples are lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def filled(values: list[Any], shape: list[int], what: str) -> None:
    """Refuse values that do not fill a shape."""
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} {what} do not fill the shape {shape}")
