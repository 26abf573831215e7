"""scikit-learn's protocol for estimators, by duck typing: importing scikit-learn would take most of a second."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self


class Estimator:
    """What scikit-learn's BaseEstimator and mixins give: parameters, repr, tags, metadata routing.

    A subclass sets its constructor's parameters as attributes of the same names.

    Attributes
    ----------
    kind : str, scikit-learn's estimator_type
    fitted : str, the attribute that it has when it is fitted
    weighted : tuple of str, the methods that take a sample_weight
    """

    kind: ClassVar[str]
    fitted: ClassVar[str]
    weighted: ClassVar[tuple[str, ...]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set constructor parameters; ValueError for a name that is none."""
        valid = list(inspect.signature(type(self)).parameters)
        for name, value in params.items():
            if name not in valid:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {valid}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default and repr(value) != repr(defaults[name].default)
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self.fitted)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=self.kind,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(["float64", "float32"]) if hasattr(self, "transform") else None,
            input_tags=InputTags(),
        )

    def get_metadata_routing(self) -> Any:
        """scikit-learn's metadata request: which methods ask for sample_weight."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if hasattr(self, "_metadata_request"):
            return self._metadata_request
        request = MetadataRequest(owner=self)
        for method in self.weighted:
            getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def set_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Whether `fit` asks scikit-learn's metadata routing for sample_weight."""
        return self._request("fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Whether `score` asks scikit-learn's metadata routing for sample_weight."""
        return self._request("score", sample_weight)

    def _request(self, method: str, alias: bool | str | None) -> Self:
        self._metadata_request = self.get_metadata_routing()  # the name that scikit-learn's clone copies
        getattr(self._metadata_request, method).add_request(param="sample_weight", alias=alias)
        return self
