"""scikit-learn's protocol for estimators, by duck typing: importing scikit-learn would take most of a second."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar

from fastem._version import __version__

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E")

VERSION = "_fastem_version"  # of the package that pickled a state


class InconsistentVersionWarning(UserWarning):
    """An estimator was unpickled that another version of fastem has pickled."""


class UnavailableError(ValueError, AttributeError):
    """A method was called that does not work with the estimator's parameters; `hasattr` says that it is not there."""


class AvailableIf(Generic[E, P, R]):
    """A method that exists, for `hasattr` and so for scikit-learn's tools, only where a check passes.

    Parameters
    ----------
    method : function, the method
    check : function, called with the estimator; it raises an UnavailableError where the method cannot work
    """

    def __init__(self, method: Callable[Concatenate[E, P], R], check: Callable[[E], None]) -> None:
        self.method, self.check, self.__doc__ = method, check, method.__doc__

    def __get__(self, instance: E | None, owner: type[E]) -> Callable[..., R]:
        if instance is None:
            return self.method
        self.check(instance)
        return types.MethodType(self.method, instance)


def available_if(
    check: Callable[[E], None],
) -> Callable[[Callable[Concatenate[E, P], R]], AvailableIf[E, P, R]]:
    """Decorate a method so that it exists only where `check` passes."""
    return lambda method: AvailableIf(method, check)


class Estimator:
    """What scikit-learn's BaseEstimator and mixins give: parameters, repr, tags, metadata routing.

    A subclass sets its constructor's parameters as attributes of the same names.

    Attributes
    ----------
    kind : str, scikit-learn's estimator_type
    fitted : str, the attribute that it has when it is fitted
    weighted : tuple of str, the methods that take a sample_weight
    hooks : dict, methods of scikit-learn's class that fastem does not call, and what to use instead
    """

    kind: ClassVar[str]
    fitted: ClassVar[str]
    weighted: ClassVar[tuple[str, ...]]
    hooks: ClassVar[dict[str, str]] = {}

    @property
    def _estimator_type(self) -> str:
        """The kind, for tools that are older than scikit-learn's tags; they have another name for densities."""
        return "DensityEstimator" if self.kind == "density_estimator" else self.kind

    def _signature(self) -> Mapping[str, inspect.Parameter]:
        """Return the parameters of the constructor by name."""
        return signature_of(type(self))  # type: ignore[arg-type]  # mypy looks for the hash of an instance

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name.

        Parameters
        ----------
        deep : bool, default True
            also return the parameters of an estimator that is a parameter, as ``name__parameter``

        Returns
        -------
        dict
        """
        params = {name: getattr(self, name) for name in self._signature()}
        for name, value in list(params.items()) if deep else ():
            if hasattr(value, "get_params") and not isinstance(value, type):
                params |= {f"{name}__{key}": inner for key, inner in value.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor; those of an estimator that is a parameter are ``name__parameter``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for a name that is no parameter
        """
        valid = list(self._signature())
        for key in sorted(params, key=lambda key: "__" in key):  # a nested estimator before its parameters
            name, _, inner = key.partition("__")
            if name not in valid or (inner and not hasattr(getattr(self, name), "set_params")):
                raise ValueError(f"Invalid parameter {key!r} for estimator {self}. Valid parameters are: {valid}.")
            if inner:
                getattr(self, name).set_params(**{inner: params[key]})
            else:
                setattr(self, name, params[key])
        return self

    def __repr__(self) -> str:
        defaults = self._signature()
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if value is not defaults[name].default and repr(value) != repr(defaults[name].default)
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def _repr_html_(self) -> str | None:
        """Return scikit-learn's diagram for notebooks.

        Without scikit-learn, and where its diagrams are off, return None; notebooks then show the repr.
        """
        try:
            from sklearn import get_config
            from sklearn.utils import estimator_html_repr
        except ImportError:
            return None
        return str(estimator_html_repr(self)) if get_config()["display"] == "diagram" else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, VERSION: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state, now = dict(state), __version__
        pickled_by = state.pop(VERSION, now)
        if pickled_by != now:
            warnings.warn(
                f"Trying to unpickle estimator {type(self).__name__} from version {pickled_by} of fastem when using "
                f"version {now}. This might lead to errors or wrong results: fit it anew, or exchange models "
                "as files of fastem.save, which any later version reads.",
                InconsistentVersionWarning,
                stacklevel=2,
            )
        self.__dict__.update(state)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self.fitted)

    def _allows_nan(self) -> bool:
        """Return whether rows may hold NaN."""
        return bool(getattr(self, "missing", False))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=self.kind,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(["float64", "float32"]) if hasattr(self, "transform") else None,
            input_tags=InputTags(allow_nan=self._allows_nan()),
        )

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's metadata request: which methods ask for sample_weight."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if hasattr(self, "_metadata_request"):
            return self._metadata_request
        request = MetadataRequest(owner=self)
        for method in self.weighted:
            getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def set_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether `fit` asks scikit-learn's metadata routing for sample_weight."""
        return request_weights(self, "fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether `score` asks scikit-learn's metadata routing for sample_weight."""
        return request_weights(self, "score", sample_weight)


@cache
def signature_of(kind: type) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class's constructor by name. (To look at a signature takes 60 us.)"""
    return inspect.signature(kind).parameters


A = TypeVar("A", bound=Estimator)


def request_weights(estimator: A, method: str, alias: bool | str | None) -> A:
    """Set whether a method asks scikit-learn's metadata routing for sample_weight, and return the estimator.

    Parameters
    ----------
    estimator : Estimator
    method : str
    alias : bool, or the name under which the weights are passed; None asks for an error if they are
    """
    routing = estimator.get_metadata_routing()
    estimator.__dict__["_metadata_request"] = routing  # the name that scikit-learn's clone copies
    getattr(routing, method).add_request(param="sample_weight", alias=alias)
    return estimator


def check_hooks(estimator: Estimator) -> None:
    """Raise a TypeError for a method of scikit-learn's class that a subclass overrides: it would never be called."""
    kind = type(estimator)
    own = next(cls for cls in kind.__mro__ if "hooks" in vars(cls))
    for name, instead in estimator.hooks.items():
        if name in vars(estimator) or getattr(kind, name, None) is not getattr(own, name, None):
            raise TypeError(
                f"{kind.__name__} overrides {name}, which scikit-learn's {own.__name__} calls and fastem's does not: "
                f"it would have no effect. Use {instead} instead, or derive from scikit-learn's class."
            )
