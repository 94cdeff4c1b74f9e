"""A report draws what is paid beside what a second judge says, a panel for each."""

from __future__ import annotations

from munro.machine.report.figures import specify


def test_each_watch_has_a_panel_of_paid_and_watched():
    columns = {
        "watch/nice/paid": [0.2, 0.9],
        "watch/nice/watched": [0.2, 0.1],
        "watch/nice/attempts": [4.0, 4.0],
        "watch/safe/paid": [1.0, None],
        "watch/safe/watched": [1.0, None],
    }
    (figure,) = (one for one in specify(columns, targets={}) if one["id"] == "watches")
    assert [panel["label"] for panel in figure["panels"]] == ["nice", "safe"]
    drawn = [series["key"] for series in figure["panels"][0]["series"]]
    assert drawn == ["watch/nice/paid", "watch/nice/watched"]
    plain = specify({"reward/total": [1.0]}, targets={})
    assert not [one for one in plain if one["id"] == "watches"]
