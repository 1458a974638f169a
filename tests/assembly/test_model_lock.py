"""What a lock says of other versions."""

from lipflow_core.model_lock import Lock, LockedPart, other_versions
from lipflow_core.registry import default_registry
from lipflow_core.specs import load_spec
from lipflow_core.version import __version__


def told(distribution, version):
    """What is told of a prior that was locked with this distribution and version."""
    part = LockedPart(kind="prior", name="standard-normal", distribution=distribution, version=version)
    lock = Lock.model_construct(lipflow_core=__version__, parts=(part,))
    return list(other_versions(lock, load_spec("dam", ["preset=tiny"]), default_registry()))


def test_a_distribution_is_the_same_however_its_name_is_spelt():
    assert told("LipFlow_Core", __version__) == []


def test_another_distribution_or_version_is_told():
    (line,) = told("acme", "3")
    assert line == f"prior 'standard-normal' was acme 3; here it is lipflow-core {__version__}"
    assert len(told("LipFlow_Core", "0.0.1")) == 1
