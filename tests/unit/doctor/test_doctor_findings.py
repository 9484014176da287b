"""Findings: how they are shown, and that a probe which fails is one."""

from __future__ import annotations

from animetune.doctor.findings import WIDTH, Group, is_well, look, note, ok, problem, rendered


def test_lines_are_aligned_wrapped_and_counted():
    groups = [
        Group("disks", (ok("runs", "10 GB"), problem("hub's cache", "word " * 60, "make room"))),
        Group("empty", ()),
        Group("GPUs", (note("links", "slow"),)),
    ]
    lines = rendered(groups)
    assert lines[0] == "disks:"
    assert lines[1] == "    ok       runs         10 GB"
    assert lines[2].startswith("    problem  hub's cache  word")
    assert lines[3].startswith(" " * 26 + "word")
    assert all(len(line) <= WIDTH for line in lines)
    assert " " * 26 + "-> make room" in lines
    assert "empty:" not in lines
    assert lines[-1] == "1 problems, 1 notes, 1 ok"
    assert not is_well(groups)
    assert is_well(groups[1:])


def test_a_probe_that_fails_is_a_finding_and_the_others_go_on():
    def broken():
        yield ok("first", "seen")
        raise OSError("the disk is on fire\nand more")

    found = look("machine", {"disk": broken, "clock": lambda: [ok("clock", "ticks")]}).findings
    assert [each.what for each in found] == ["first", "disk", "clock"]
    assert found[1].state == "note"
    assert found[1].text == "could not be looked at: OSError: the disk is on fire"


def test_what_a_terminal_would_obey_is_not_shown():
    assert "\x1b" not in "\n".join(rendered([Group("a", (ok("b", "c\x1b[2Jd"),))]))
