"""The methods of `GaussianMixture` that say how uncertain its parameters are."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastem.analysis.information import covariance_of_numbers, empirical_information
from fastem.estimators.rows import rows_for
from fastem.estimators.state import MixtureState, family_of, names_of, remedy_of
from fastem.estimators.uncertainty.bootstrap import Bootstrap, Progress, bootstrap_fit
from fastem.estimators.uncertainty.replicates import KINDS, Rows
from fastem.estimators.uncertainty.standard_errors import StandardErrors, feature_list
from fastem.fitting.models import model_for
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_samples, check_n_threads
from fastem.model.maximisation import held_parameters
from fastem.model.numbers import Numbers
from fastem.passes.statistics import ONE_DRAW
from fastem.sources.blocks import Source, kind_of_rows
from fastem.sources.labels import is_labelled


class Uncertainty(MixtureState):
    """The methods of `GaussianMixture` that say how uncertain its parameters are."""

    def standard_errors(self, X: Any, sample_weight: ArrayLike | None = None) -> StandardErrors:
        """Return standard errors of the parameters, from the empirical information of the rows of the fit.

        The information is the sum of s s' over the rows, with s the gradient of a row's log density; its inverse is the
        covariance of the estimates, for many rows and a model that is true. One pass over the rows makes it. The delta
        method carries it over from logits and Cholesky factors to weights and covariances. Components count in their
        order: how often fits would exchange them is not in it.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
            the rows of the fit
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
            weight 2 is the row twice, so that twice the weights are half the variances

        Returns
        -------
        StandardErrors
            arrays in the parameters' shapes, and the covariance of all of them. Parameters that are `fixed` have 0. A
            remedy or reg_covar counts for nothing, nor does the box of noise, which is taken as known

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        SingularInformationError
            (a ValueError) if the rows do not determine the parameters
        ValueError
            for data that cannot be used, rows that are labelled or incomplete, a component of weight 0, hard
            assignment, which maximises no likelihood, or a covariance_type whose numbers are not free, such as "VEI"

        See Also
        --------
        bootstrap : standard errors and intervals for few rows, too, and where the model is not true
        fastem.BayesianGaussianMixture.sample_posterior : what the rows leave open, under a prior

        References
        ----------
        McLachlan & Peel (2000), Finite Mixture Models, eq. 2.60.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> errors = fastem.GaussianMixture(2, tol=1e-6, random_state=0).fit(X).standard_errors(X)
        >>> errors.weights_.round(3), errors.means_.round(3)
        (array([0.029, 0.029]), array([[0.035, 0.628],
               [0.033, 0.471]]))
        """
        source = self._rows_of_fit("standard_errors", X, sample_weight)
        params, family = self.params_, family_of(self)
        for option, known in {
            f"assignment={self.assignment!r}": self.assignment == "soft",
            f"covariance_type={family.name!r}": family.free,
        }.items():
            if not known:
                raise ValueError(f"standard_errors has no formula for {option}: use bootstrap(X)")
        with threads(check_n_threads(self.n_threads)):
            information = empirical_information(source, params)
        covariance = covariance_of_numbers(information, params, source.n_present, self.fixed)
        numbers = Numbers.of(params, family)
        estimate = numbers.join(params.shares, params.means, params.covariances)
        return StandardErrors(estimate, covariance, numbers, feature_list(names_of(self)))

    def bootstrap(
        self,
        X: Any,
        n_samples: int = 999,
        kind: str = "nonparametric",
        *,
        sample_weight: ArrayLike | None = None,
        random_state: Any = None,
        callback: Progress | None = None,
    ) -> Bootstrap:
        """Fit the mixture to replicates of its rows: standard errors and intervals of its parameters.

        Each fit starts at this mixture and goes on until the log-likelihood of all rows changes by less than 1e-5;
        then its components are ordered as this mixture's.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
            the rows of the fit, which are copied into memory
        n_samples : int, at least 2, default 999
            number of replicates
        kind : {"nonparametric", "parametric", "weighted"}, default "nonparametric"
            what a replicate is: as many rows drawn from X with replacement; as many drawn from the mixture; or all rows
            with random weights from a Dirichlet distribution. The last is the weighted likelihood bootstrap: no
            component loses all of its rows by it, and the replicates resemble draws from a posterior
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
            weight 2 is the row twice. A replicate has as many rows as the sum of the weights, rounded: weights
            that sum to 1 are refused
        random_state : int, RandomState or None, default None
            the same seed gives the same bits, whatever the number of threads
        callback : function, optional
            is called as ``callback(done, total)`` after each batch of replicates. If it returns True, the bootstrap
            ends with those that are done

        Returns
        -------
        Bootstrap

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for arguments or data that cannot be used, rows that are labelled or incomplete, and weights that sum to
            fewer rows than there are free parameters, or to more than memory holds
        BootstrapInterrupted
            (a KeyboardInterrupt) on Ctrl-C, with the replicates that are done as ``.result``

        See Also
        --------
        standard_errors : from one pass over the rows
        fastem.bootstrap_test : how many components there are

        Notes
        -----
        A kernel fits many replicates at once, if there are less than 20,000 rows, `reg_covar` and neither noise nor
        `fixed` parameters nor a `regularization`. Else they are fitted one by one.

        References
        ----------
        Efron & Tibshirani (1993), An Introduction to the Bootstrap; weighted: Newton & Raftery (1994), J. R. Stat. Soc.
        B 56, 3-48; for mixtures: O'Hagan, Murphy, Scrucca & Gormley (2019), Investigation of parameter uncertainty in
        clustering using a Gaussian mixture model via jackknife, bootstrap and weighted likelihood bootstrap, Comput.
        Stat. 34, 1779-1813.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.GaussianMixture(2, tol=1e-6, random_state=0).fit(X)
        >>> replicates = model.bootstrap(X, 200, random_state=0)
        >>> replicates, replicates.standard_errors.weights_.round(3)
        (<200 nonparametric replicates of 12 parameters>, array([0.03, 0.03]))
        """
        check_n_samples(n_samples, least=2)
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        source = self._rows_of_fit("bootstrap", X, sample_weight)
        params, family = self.params_, family_of(self)
        with threads(check_n_threads(self.n_threads)):
            rows = Rows(*source.sample(source.n_present, ONE_DRAW)[:2])
            held = held_parameters(tuple(self.fixed), params.weights, params.means, (params.covariances, params.factor))
            model = model_for(source, family.name, remedy_of(self), held, self.assignment)
            features = feature_list(names_of(self))
            return bootstrap_fit(rows, params, model, int(n_samples), kind, random_state, callback, features)

    def _rows_of_fit(self, who: str, X: Any, sample_weight: Any) -> Source:
        source = rows_for(self, X, sample_weight)
        if is_labelled(source):
            raise ValueError(f"{who} takes no rows of known components: pass the rows without labels")
        if source.n_present and kind_of_rows(source) == "missing":  # a stream knows it after its first pass
            raise ValueError(
                f"{who} takes no rows with missing values: compute it of several draws of them, by "
                "impute(X, kind='draw', n_samples=...), and add the variance between these to that within"
            )
        if kind_of_rows(source) != "complete":
            raise ValueError(f"{who} takes no rows with errors of measurement")
        return source
