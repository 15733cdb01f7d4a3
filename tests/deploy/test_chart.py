"""The Helm chart, with Helm's own engine, against Kubernetes' own schemas and dualkv's own settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dualkv.config import SETTINGS, ProxyConfig, load_config
from tests.deploy.behind import DEPLOY
from tests.deploy.programs import package
from tests.deploy.rendering import CHART, MANIFESTS, by_kind, documents, plain_manifests, render

pytestmark = pytest.mark.deploy

VERSIONS = ["1.28", "1.31", "1.34", "1.37"]
"""Of Kubernetes."""

SETS: dict[str, dict[str, Any]] = {
    "default": {},
    "all": {
        "secrets": {
            "values": {
                "primary_password": "p: |\n#'\"",
                "users": "user default on nopass ~* &* +@all",
                "admin_token": "0123456789abcdef",
            }
        },
        "admin": {"exposed": True, "from": [{"podSelector": {"matchLabels": {"team": "operators"}}}]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "autoscaling": {"enabled": True},
        "service": {"annotations": {"example.org/a": "b"}, "type": "LoadBalancer"},
        "journal": {"storageClassName": "fast"},
        "imagePullSecrets": [{"name": "pull"}],
        "podAnnotations": {"example.org/a": "b"},
        "podLabels": {"team": "stores"},
        "extraVolumes": [{"name": "certificates", "secret": {"secretName": "dualkv-tls"}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/dualkv-tls", "readOnly": True}],
        "nodeSelector": {"disk": "local"},
        "tolerations": [{"key": "stores", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "networkPolicy": {
            "backends": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "extraEgress": [{"ports": [{"port": 443}]}],
        },
        "config": {
            "dirty_keys": 12345678,
            "shadow_sample": 0.25,
            "fill_gaps": True,
            "shadow_rules": ["session:* * ignore"],
            "coverage_delimiter": '"<&\\',
        },
    },
    "deployment": {"journal": {"kind": "emptyDir"}, "shutdown": {"preStopSeconds": 0}},
    "no journal": {
        "journal": {"kind": "none"},
        "secrets": {"existing": "mine", "names": ["primary_password"]},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "resources": {},
        "topologySpreadConstraints": [],
    },
}
every_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def workload(values: dict[str, Any]) -> dict[str, Any]:
    """Return what runs the pods."""
    objects = by_kind(values)
    return objects.get("StatefulSet/dualkv") or objects["Deployment/dualkv"]


def pod(values: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of the pods."""
    found: dict[str, Any] = workload(values)["spec"]["template"]["spec"]
    return found


def config_of(objects: dict[str, dict[str, Any]], tmp_path: Path) -> ProxyConfig:
    """Return the settings as dualkv reads them from the rendered file, with files for its secrets."""
    text = objects["ConfigMap/dualkv"]["data"]["dualkv.toml"]
    secret = tmp_path / "secret"
    secret.write_text("redis://sentry@example.org/1")
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    file = tmp_path / "dualkv.toml"
    text = text.replace("/run/secrets/dualkv/admin_token", str(token))
    file.write_text(re.sub(r"/run/secrets/dualkv/\w+", str(secret), text))
    return load_config(file=file)


@every_set
def test_helm_has_nothing_to_say(values: dict[str, Any]) -> None:
    """Neither errors nor warnings; that a chart should have an icon is no more than information."""
    report = package("helm_python").lint(CHART, values, strict=True)

    assert report["errors"] == []
    assert [found for found in report["messages"] if found["severity"] > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
@every_set
def test_objects_are_what_kubernetes_takes(values: dict[str, Any], version: str) -> None:
    """Each object, by the strict schema of its kind; a ServiceMonitor is not Kubernetes' own."""
    objects = documents(render(values))

    assert len(objects) >= 4
    for found in objects:
        if found["kind"] != "ServiceMonitor":
            package("kubernetes_validate").validate(found, version, strict=True)


@every_set
def test_settings_are_what_dualkv_takes(values: dict[str, Any], tmp_path: Path) -> None:
    """The file in the ConfigMap is read by dualkv itself, and says what the values say."""
    config = config_of(by_kind(values), tmp_path)

    for name, value in values.get("config", {}).items():
        if isinstance(value, str | int | float):
            assert getattr(config, name) == value
    assert isinstance(config.listen, tuple)
    assert (config.listen[1], config.metrics and config.metrics[1]) == (6479, 9191)
    assert bool(config.journal_dir) == (values.get("journal", {}).get("kind") != "none")


@every_set
def test_secrets_are_mounted_where_the_settings_look(values: dict[str, Any]) -> None:
    """Each ``…_file`` of the settings is an item of the Secret's volume; no secret is in the ConfigMap."""
    objects = by_kind(values)
    text = objects["ConfigMap/dualkv"]["data"]["dualkv.toml"]
    volumes = [volume["secret"] for volume in pod(values)["volumes"] if volume["name"] == "secrets"]

    looked_for = set(re.findall(r'^(\w+)_file = "/run/secrets/dualkv/\1"$', text, re.MULTILINE))
    assert looked_for == {item["key"] for volume in volumes for item in volume["items"]}
    given = values.get("secrets", {})
    assert looked_for == set(given.get("names", given.get("values", {})))
    if given.get("values"):
        assert objects["Secret/dualkv"]["stringData"] == given["values"]
        assert "nopass" not in text
    if given.get("existing"):
        assert volumes[0]["secretName"] == given["existing"]


def test_every_secret_can_be_given_as_one() -> None:
    """The chart knows the secrets that dualkv knows, and takes them nowhere else."""
    secrets = {setting.name for setting in SETTINGS if setting.secret}

    names = json.loads((CHART / "values.schema.json").read_text())
    assert set(names["definitions"]["secret"]["enum"]) == secrets
    assert secrets <= set(names["properties"]["config"]["propertyNames"]["not"]["enum"])


@pytest.mark.parametrize(
    ("shutdown", "seconds"),
    [
        ({}, 2 + 5 + 30 + 2 + 5),
        ({"preStopSeconds": 0, "lameDuckSeconds": 0, "drainSeconds": 1, "spareSeconds": 0}, 3 + 2),
        ({"lameDuckSeconds": 60, "drainSeconds": 120}, 2 + 60 + 360 + 2 + 5),
    ],
)
def test_grace_period_has_room_for_every_phase(
    shutdown: dict[str, int], seconds: int, tmp_path: Path
) -> None:
    """Before SIGTERM, the lame duck, three waits of ``drain`` each, Sentry, and something to spare."""
    values = {"shutdown": shutdown}
    config = config_of(by_kind(values), tmp_path)

    assert pod(values)["terminationGracePeriodSeconds"] == seconds
    assert config.lame_duck_seconds == shutdown.get("lameDuckSeconds", 5)
    assert config.drain_seconds == shutdown.get("drainSeconds", 10)
    sleep = (
        pod(values)["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
    )
    pause = shutdown.get("preStopSeconds", 2)
    assert sleep == (["sleep", str(pause)] if pause else None)


def test_journal_of_each_pod_is_its_own() -> None:
    """A claim for each pod of a StatefulSet; else a directory that lives and dies with the pod; or none."""
    claimed, shared, none = (workload({"journal": {"kind": kind}}) for kind in ("claim", "emptyDir", "none"))

    assert [found["kind"] for found in (claimed, shared, none)] == ["StatefulSet", "Deployment", "Deployment"]
    assert claimed["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "journal"
    for found, mounted in ((claimed, True), (shared, True), (none, False)):
        spec = found["spec"]["template"]["spec"]
        mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts.get("journal") == ("/var/lib/dualkv" if mounted else None)
    volumes = {volume["name"]: volume for volume in shared["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes["journal"]


@every_set
def test_pods_may_do_nothing_they_need_not(values: dict[str, Any]) -> None:
    """Not root, a read-only root, no capabilities, no token, and what the image says of user and ports."""
    spec = pod(values)
    (container,) = spec["containers"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert (
        f"USER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" in dockerfile
    )
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    ports = [str(port["containerPort"]) for port in container["ports"]]
    assert f"EXPOSE {' '.join(ports[:2])}\n" in dockerfile
    assert ports[2:] == (["9192"] if "admin" in values else [])


@every_set
def test_probes_ask_for_life_and_for_readiness(values: dict[str, Any]) -> None:
    """A store that is away takes the pod out of the Service; it is no reason to restart it."""
    (container,) = pod(values)["containers"]
    asked = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")
    }

    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


@pytest.mark.parametrize(("tls", "scheme"), [("off", "HTTP"), ("on", "HTTPS")])
def test_probes_and_scrapes_speak_what_http_speaks(tls: str, scheme: str) -> None:
    """Plain, or TLS with `metrics_tls`."""
    objects = by_kind({"config": {"metrics_tls": tls}, "serviceMonitor": {"enabled": True}})
    (container,) = objects["StatefulSet/dualkv"]["spec"]["template"]["spec"]["containers"]

    probes = [container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")]
    assert {probe["scheme"] for probe in probes} == {scheme}
    assert objects["ServiceMonitor/dualkv"]["spec"]["endpoints"][0]["scheme"] == scheme.lower()


@every_set
def test_what_selects_pods_finds_them(values: dict[str, Any]) -> None:
    """Services, budget, policy and autoscaler mean the pods of this release; ports by names that exist."""
    objects = by_kind(values)
    runs = workload(values)
    labels = runs["spec"]["template"]["metadata"]["labels"].items()
    names = {port["name"] for port in runs["spec"]["template"]["spec"]["containers"][0]["ports"]}
    selectors = [runs["spec"]["selector"]["matchLabels"]]
    for found in objects.values():
        if found["kind"] == "Service":
            selectors.append(found["spec"]["selector"])
            assert {port["targetPort"] for port in found["spec"]["ports"]} <= names
        if found["kind"] == "PodDisruptionBudget":
            selectors.append(found["spec"]["selector"]["matchLabels"])
        if found["kind"] == "NetworkPolicy":
            selectors.append(found["spec"]["podSelector"]["matchLabels"])
        if found["kind"] == "HorizontalPodAutoscaler":
            target = found["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) == (runs["kind"], runs["metadata"]["name"])
            assert "replicas" not in runs["spec"]
        if found["kind"] == "ServiceMonitor":
            asked = found["spec"]["selector"]["matchLabels"].items()
            services = [one for one in objects.values() if one["kind"] == "Service"]
            (service,) = [one for one in services if asked <= one["metadata"]["labels"].items()]
            assert found["spec"]["endpoints"][0]["port"] in {
                port["name"] for port in service["spec"]["ports"]
            }
    assert len(selectors) >= 3
    assert all(selector.items() <= labels for selector in selectors)


def test_nobody_outside_a_pod_reaches_its_control_unless_that_is_wanted(tmp_path: Path) -> None:
    """By default it listens within the pod only; exposed, it is for those who are named."""
    objects = by_kind({})
    assert config_of(objects, tmp_path).admin == ("127.0.0.1", 9192)
    assert "admin" not in str(objects["NetworkPolicy/dualkv"]) + str(objects["Service/dualkv-pods"])

    exposed = by_kind(SETS["all"])
    assert config_of(exposed, tmp_path).admin == ("", 9192)
    rules = exposed["NetworkPolicy/dualkv"]["spec"]["ingress"]
    (rule,) = [rule for rule in rules if rule["ports"] == [{"port": "admin"}]]
    assert rule["from"] == SETS["all"]["admin"]["from"]
    assert [port["name"] for port in exposed["Service/dualkv"]["spec"]["ports"]] == ["redis"]


def test_control_is_not_exposed_without_a_token() -> None:
    """Dualkv would not start: so it is said before."""
    with pytest.raises(Exception, match=r"admin\.exposed needs the secret admin_token"):
        render({"admin": {"exposed": True, "from": [{"podSelector": {}}]}})


def test_changed_settings_and_secrets_restart_the_pods() -> None:
    """They are read at the start only."""
    sums = [
        workload(values)["spec"]["template"]["metadata"]["annotations"]
        for values in (
            {},
            {"config": {"mode": "dual-write"}},
            {"secrets": {"values": {"users": "a"}}},
            {"secrets": {"values": {"users": "b"}}},
        )
    ]

    assert len({tuple(one.items()) for one in sums}) == len(sums)


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"listen": ":1"}},
        {"config": {"drain": "1h"}},
        {"config": {"admin": ":9192"}},
        {"admin": {"exposed": True, "from": []}},
        {"config": {"primary_password": "secret"}},
        {"config": {"metrics_tls": "mutual"}},
        {"secrets": {"values": {"password": "secret"}}},
        {"journal": {"kind": "shared"}},
        {"shutdown": {"drainSeconds": 0}},
        {"replica": 3},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    """Instead of being ignored."""
    helm = package("helm_python")
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.validate_schema(values)


@pytest.mark.parametrize("name", ["autoscaler.yaml", "dualkv.yaml", "servicemonitor.yaml"])
def test_plain_manifests_are_the_chart_rendered(name: str) -> None:
    """``make manifests`` was run after the last change of the chart."""
    assert (MANIFESTS / name).read_text() == plain_manifests()[name]


def test_release_of_another_name_has_its_name_everywhere() -> None:
    """Two releases in one namespace do not meet."""
    names = {found["metadata"]["name"] for found in documents(render(SETS["all"], name="blue"))}

    assert names == {"blue-dualkv", "blue-dualkv-pods"}


def test_values_in_the_how_to_are_what_the_chart_takes(tmp_path: Path) -> None:
    """The example that a reader begins with becomes objects that Kubernetes takes, and right settings."""
    text = (DEPLOY.parent / "docs" / "how-to" / "kubernetes.md").read_text()
    (block,) = re.findall(r"```yaml\n# values.yaml\n(.*?)```", text, re.DOTALL)
    values = package("yaml").safe_load(block)

    objects = by_kind(values)
    for found in objects.values():
        if found["kind"] != "ServiceMonitor":
            package("kubernetes_validate").validate(found, VERSIONS[-1], strict=True)
    assert config_of(objects, tmp_path).secondary.startswith("rediss://")
    assert f"so {pod(values)['terminationGracePeriodSeconds']};" in text
