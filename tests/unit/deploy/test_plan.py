"""A plan travels to its supervisor whole, and its secrets nowhere else."""

from __future__ import annotations

import json

from modcore.deploy.plan import DeploymentPlan, new_ids
from modcore.plugins.records import Resources, ServiceSpec

PLAN = DeploymentPlan(
    name="web",
    entry="/app.py:module",
    token="t0ken",
    arguments='{"a": 1}',
    replicas=2,
    capacity=7,
    is_idempotent=True,
    resources=Resources(cpus=0.5, gpus=1, memory=2**30),
    gateway="redis://user:pa55word@127.0.0.1/0",
    cluster_key="the secret of this cluster",
    ids=("a", "b"),
)


def test_plan_arrives_as_it_was_sent() -> None:
    assert DeploymentPlan.from_bytes(PLAN.to_bytes()) == PLAN


def test_specs_are_json_without_secrets_and_each_instance_has_its_id() -> None:
    specs = PLAN.specs()
    told = json.dumps([spec.to_json() for spec in specs]) + repr(PLAN) + repr(specs)
    for secret in ("t0ken", "pa55word", "the secret of this cluster"):
        assert secret not in told
    assert [spec.replica for spec in specs] == [0, 1]
    assert [spec.environment["MODCORE_INSTANCE"] for spec in specs] == ["a", "b"]
    assert [
        ServiceSpec.from_json(json.loads(json.dumps(spec.to_json()))) for spec in specs
    ] == specs
    for word in ("--idempotent", "--capacity", "7", "--args", "/app.py:module"):
        assert word in specs[0].command


def test_handover_holds_what_the_specs_do_not() -> None:
    handover = PLAN.handover()
    assert (handover.token, handover.cluster_key) == ("t0ken", "the secret of this cluster")
    assert "t0ken" not in repr(handover)


def test_ids_are_new_each_time() -> None:
    assert len({*new_ids(3), *new_ids(3)}) == 6
