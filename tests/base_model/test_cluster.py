"""A cluster that is not there is told in a sentence, whatever its address looks like."""

import socket

import pytest

from munro.base_model.cluster import join


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refused(address):
    with pytest.raises(ConnectionError) as told:
        join(address, logging_level="ERROR", log_to_driver=False)
    return str(told.value)


@pytest.fixture
def started_last(tmp_path, monkeypatch):
    """Where Ray notes which cluster was started last on a machine."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_a_port_without_a_listener_is_named():
    port = free_port()
    assert f"nothing listens at 127.0.0.1:{port}" in refused(f"127.0.0.1:{port}")
    assert "6379" in refused(f"localhost:{port}")


def test_a_cluster_that_died_is_not_waited_for(started_last):
    port = free_port()
    started_last.write_text(f"127.0.0.1:{port}")
    assert f"nothing listens at 127.0.0.1:{port}" in refused("auto")


def test_auto_without_any_cluster_says_how_to_start_one(started_last):
    assert not started_last.exists()
    assert "ray start --head" in refused("auto")


def test_auto_prefers_what_the_environment_names(started_last, monkeypatch):
    started_last.write_text("127.0.0.1:2")
    port = free_port()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in refused("auto")


@pytest.mark.parametrize(
    "address", ["no.such.host.invalid:6379", "127.0.0.1:99999", "nonsense", "127.0.0.1:", ":"]
)
def test_what_is_no_address_is_a_sentence(address):
    assert refused(address)


@pytest.mark.slow
@pytest.mark.timeout(300)  # asked once it takes Ray forty seconds, and twenty times is its own way
def test_a_listener_that_is_no_ray_is_asked_once():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConnectionError):
        join(f"127.0.0.1:{other.getsockname()[1]}", logging_level="ERROR")
