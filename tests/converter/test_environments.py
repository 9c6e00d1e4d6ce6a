# SPDX-License-Identifier: Apache-2.0
"""Worker environments: the table, the match, the refusals, and installing from hashed wheels without a network."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from depickle.environments import (
    WorkerEnvironment,
    add_environment,
    environments_folder,
    install,
    known_specs,
    list_environments,
    match,
    parse_spec,
    remove_environment,
    running_environment,
    table,
)
from depickle.errors import EnvironmentMissingError

HOSTILE_VERSIONS = {
    "a command": "1.2.2; touch owned",
    "a substitution": "$(touch owned)",
    "an option": "--index-url=https://example.invalid",
    "a requirement of its own": "1.2.2 @ file:///owned",
    "a path": "../../1.2.2",
    "a newline": "1.2.2\n--pre",
    "a padded version": " 1.2.2",
    "another spelling of a locked version": "1.2.2.0",
    "digits of another script": "1.2.٢",
    "nothing": "",
    "a long text": "1" * 100_000,
    "a terminal escape": "\x1b[2J1.2.2",
    "a spec where a version belongs": "1.2.2+xgboost-2.0.3",
}
MODULES = {"scikit-learn": "sklearn", "python-dateutil": "dateutil"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of environments; the user's own is never touched."""
    chosen = tmp_path / "environments"
    monkeypatch.setenv("DEPICKLE_ENVIRONMENTS", str(chosen))
    return chosen


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of tiny wheels in the versions of 1.2.2, and a lock with their hashes in place of the shipped one."""
    made = tmp_path / "wheels"
    made.mkdir()
    lines = []
    for name, version in parse_spec("1.2.2").versions.items():
        digest = tiny_wheel(made, name, version)
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    monkeypatch.setattr(install, "lock_text", lambda spec: "".join(lines))
    yield made


def tiny_wheel(made: Path, name: str, version: str, module_text: str = "") -> str:
    """Build an importable wheel and return its SHA-256."""
    distribution = name.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    files = {
        f"{MODULES.get(name, distribution)}.py": module_text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    target = made / f"{distribution}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def refusal(code: str, writer: dict[str, str]) -> EnvironmentMissingError:
    """The refusal of `match`, which must carry `code`."""
    with pytest.raises(EnvironmentMissingError) as caught:
        match(writer)
    assert caught.value.code == code
    return caught.value


# The table and its locks.


def test_every_locked_version_from_1_2_to_1_9_is_in_the_table() -> None:
    versions = [spec.sklearn for spec in known_specs()]
    assert {"1.2.2", "1.3.2", "1.5.2", "1.7.2", "1.9.1"} <= set(versions)
    assert {version.rpartition(".")[0] for version in versions if "post" not in version} == {
        f"1.{minor}" for minor in range(2, 10)
    }


def test_every_lock_holds_exact_pins_and_hashes_and_names_no_index() -> None:
    line = re.compile(r"([a-z0-9-]+==[0-9a-z.]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?)")
    locks = list((resources.files("depickle.environments") / "locks").iterdir())
    assert len(locks) > len(known_specs())
    for lock in locks:
        for text in lock.read_text(encoding="utf-8").splitlines():
            assert line.fullmatch(text), (lock.name, text)


def test_the_lock_of_a_spec_pins_exactly_the_versions_that_the_table_states() -> None:
    for spec in (*known_specs(), parse_spec("1.3.2+lightgbm-4.0.0+xgboost-1.7.6")):
        pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", table.lock_text(spec), re.MULTILINE))
        assert pins == spec.versions


def test_every_booster_of_the_table_has_its_lock() -> None:
    for library in table.BOOSTERS:
        for spec in known_specs():
            assert parse_spec(f"{spec.sklearn}+{library}-{spec.versions[library]}") == spec


def test_a_spec_reads_back_from_its_name() -> None:
    for text in ("1.2.2", "1.2.2+xgboost-2.0.3", "1.2.2+lightgbm-4.1.0+xgboost-2.0.3"):
        assert parse_spec(text).name == text


@pytest.mark.parametrize(
    "text",
    ["1.2", "1.2.2+", "1.2.2+xgboost", "1.2.2+xgboost-9.9", "1.2.2+numpy-1.26.4", "1.2.2+xgboost-2.0.3" * 2],
)
def test_a_spec_that_no_lock_holds_is_refused(text: str) -> None:
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment(text)
    assert caught.value.code == "DP523"


# The match.


def test_the_running_interpreter_answers_for_what_it_would_write_itself() -> None:
    own = running_environment().versions
    for libraries in (("scikit-learn",), ("xgboost",), ("scikit-learn", "lightgbm", "xgboost")):
        assert match({library: own[library] for library in libraries}) == running_environment()


def test_a_file_of_an_old_version_is_refused_with_the_command_that_adds_it() -> None:
    error = refusal("DP520", {"scikit-learn": "1.2.2", "numpy": "1"})
    assert error.next_step == "depickle env add 1.2.2"
    assert "1.2.2" in error.found


def test_another_patch_release_never_stands_in() -> None:
    assert refusal("DP520", {"scikit-learn": "1.3.0"}).next_step == "depickle env add 1.3.0"
    refusal("DP521", {"scikit-learn": "1.3.9"})


def test_a_booster_beside_scikit_learn_must_match_as_well() -> None:
    error = refusal("DP520", {"scikit-learn": "1.2.2", "xgboost": "2.0.3"})
    assert error.next_step == "depickle env add 1.2.2+xgboost-2.0.3"
    own = running_environment().versions["scikit-learn"]
    assert (
        refusal("DP520", {"scikit-learn": own, "xgboost": "1.7.6"}).next_step
        == f"depickle env add {own}+xgboost-1.7.6"
    )


def test_a_booster_alone_gets_an_environment_of_its_time() -> None:
    assert refusal("DP520", {"xgboost": "1.7.6", "numpy": "1"}).next_step == "depickle env add 1.2.2"
    assert refusal("DP520", {"xgboost": "1.7.3"}).next_step.endswith("+xgboost-1.7.3")


def test_lightgbm_s_format_stands_for_its_major_version() -> None:
    assert match({"lightgbm": "v4"}) == running_environment()
    assert refusal("DP520", {"lightgbm": "v3", "numpy": "1"}).next_step == "depickle env add 1.2.2"
    assert (
        refusal("DP520", {"lightgbm": "v4", "scikit-learn": "1.2.2"}).next_step
        == "depickle env add 1.2.2+lightgbm-4.1.0"
    )
    refusal("DP521", {"lightgbm": "v9"})


def test_arrays_of_numpy_2_are_not_given_to_numpy_1() -> None:
    refusal("DP521", {"scikit-learn": "1.2.2", "numpy": "2"})


@pytest.mark.parametrize("writer", [{}, {"numpy": "2"}, {"pandas": "2.0.0"}])
def test_a_file_that_names_no_model_library_is_refused(writer: dict[str, str]) -> None:
    assert "save it again" in refusal("DP522", writer).next_step


def test_a_booster_whose_version_the_file_does_not_tell_is_refused_as_such() -> None:
    assert "xgboost" in refusal("DP522", {"scikit-learn": "1.9.1", "xgboost": "unknown"}).found


@pytest.mark.parametrize("library", ["scikit-learn", "lightgbm", "xgboost"])
@pytest.mark.parametrize("version", HOSTILE_VERSIONS.values(), ids=HOSTILE_VERSIONS.keys())
def test_a_hostile_version_string_is_refused_and_never_pasted(
    library: str, version: str, folder: Path
) -> None:
    error = refusal("DP521", {library: version})
    assert "add" not in error.next_step
    for text in (error.found, error.diagnostics()):
        assert len(text) < 1000
        assert text.replace("\n", "").isprintable()
    assert not version or version not in error.next_step
    assert not folder.exists()


@pytest.mark.parametrize("version", HOSTILE_VERSIONS.values(), ids=HOSTILE_VERSIONS.keys())
def test_a_hostile_spec_installs_and_removes_nothing(version: str, folder: Path) -> None:
    if version == "1.2.2+xgboost-2.0.3":
        assert parse_spec(version).xgboost == "2.0.3"  # this one is a spec, and was hostile only as a version
        return
    for act in (add_environment, remove_environment):
        with pytest.raises(EnvironmentMissingError) as caught:
            act(version)
        assert caught.value.code == "DP523"
    assert not folder.exists()


# Installing.


def test_without_a_setting_environments_live_in_the_user_s_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DEPICKLE_ENVIRONMENTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert environments_folder() == tmp_path / "depickle" / "environments"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert environments_folder() == Path.home() / ".local" / "share" / "depickle" / "environments"


def test_an_environment_is_added_offline_matched_listed_and_removed(wheels: Path, folder: Path) -> None:
    made = add_environment("1.2.2", offline_folder=wheels)
    assert isinstance(made, WorkerEnvironment)
    assert made.python.is_file()
    assert made.python.is_relative_to(folder / "1.2.2")
    assert made.versions["scikit-learn"] == "1.2.2"
    assert [entry.name for entry in folder.iterdir()] == ["1.2.2"]
    assert list_environments() == (made,)
    assert match({"scikit-learn": "1.2.2"}) == made
    assert match({"lightgbm": "v3"}) == made
    assert add_environment("1.2.2", offline_folder=wheels / "absent") == made
    refusal("DP520", {"scikit-learn": "1.2.1"})
    assert remove_environment("1.2.2") == folder / "1.2.2"
    assert list(folder.iterdir()) == []
    refusal("DP520", {"scikit-learn": "1.2.2"})


def test_a_wheel_with_another_hash_is_refused_and_nothing_is_kept(wheels: Path, folder: Path) -> None:
    tiny_wheel(wheels, "numpy", parse_spec("1.2.2").versions["numpy"], "owned = True")
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment("1.2.2", offline_folder=wheels)
    assert caught.value.code == "DP525"
    assert "hash" in caught.value.found.lower()
    assert list(folder.iterdir()) == []


def test_a_missing_wheel_is_refused_and_nothing_is_kept(wheels: Path, folder: Path) -> None:
    next(wheels.glob("xgboost-*")).unlink()
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment("1.2.2", offline_folder=wheels)
    assert caught.value.code == "DP525"
    assert caught.value.next_step.endswith("depickle env add 1.2.2")
    assert list(folder.iterdir()) == []


def test_a_source_archive_is_not_built(wheels: Path, folder: Path) -> None:
    wheel = next(wheels.glob("six-*"))
    wheel.rename(wheels / "six-1.17.0.tar.gz")
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment("1.2.2", offline_folder=wheels)
    assert caught.value.code == "DP525"
    assert list(folder.iterdir()) == []


def test_an_environment_whose_record_was_changed_is_refused(wheels: Path, folder: Path) -> None:
    add_environment("1.2.2", offline_folder=wheels)
    record = folder / "1.2.2" / "environment.json"
    whole = record.read_text(encoding="utf-8")
    for changed in (
        whole.replace('"3.3.5"', '"3.3.4"'),
        "{}",
        "",
        whole.replace('"schema_version": 1', '"x": 1'),
    ):
        record.write_text(changed, encoding="utf-8")
        error = refusal("DP526", {"scikit-learn": "1.2.2"})
        assert error.next_step == "depickle env remove 1.2.2 && depickle env add 1.2.2"


def test_an_environment_without_its_interpreter_is_refused(wheels: Path, folder: Path) -> None:
    made = add_environment("1.2.2", offline_folder=wheels)
    made.python.unlink()
    with pytest.raises(EnvironmentMissingError) as caught:
        list_environments()
    assert caught.value.code == "DP526"


def test_what_a_build_that_was_cut_short_left_is_not_an_environment(wheels: Path, folder: Path) -> None:
    (folder / "1.2.2" / "bin").mkdir(parents=True)
    (folder / ".building-x").mkdir()
    assert list_environments() == ()
    made = add_environment("1.2.2", offline_folder=wheels)
    assert list_environments() == (made,)


def test_a_folder_that_is_not_ours_among_the_environments_is_left_alone(folder: Path) -> None:
    (folder / "notes").mkdir(parents=True)
    (folder / "file").write_text("", encoding="utf-8")
    assert list_environments() == ()


def test_removing_what_is_not_installed_is_refused() -> None:
    with pytest.raises(EnvironmentMissingError) as caught:
        remove_environment("1.3.2")
    assert caught.value.code == "DP528"


def test_a_folder_that_cannot_be_used_is_refused(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file", encoding="utf-8")
    for act in (list_environments, lambda: add_environment("1.2.2")):
        with pytest.raises(EnvironmentMissingError) as caught:
            act()
        assert caught.value.code == "DP529"


def test_a_machine_without_the_right_python_is_told_how_to_get_it(
    wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_interpreter", lambda: "3.99")
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment("1.2.2", offline_folder=wheels)
    assert caught.value.code == "DP524"
    assert caught.value.next_step == "uv python install 3.11"
    assert list(folder.iterdir()) == []


def test_a_machine_without_uv_is_told_so(wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise FileNotFoundError("no uv here")

    monkeypatch.setattr("uv.find_uv_bin", absent)
    with pytest.raises(EnvironmentMissingError) as caught:
        add_environment("1.2.2", offline_folder=wheels)
    assert caught.value.code == "DP527"
    assert list(folder.iterdir()) == []


def test_the_command_in_a_refusal_is_one_that_add_understands() -> None:
    for spec in known_specs():
        for writer in (
            {"scikit-learn": spec.sklearn, "xgboost": "2.1.2"},
            {"scikit-learn": spec.sklearn, "lightgbm": "v3"},
        ):
            command = refusal("DP520", writer).next_step
            assert parse_spec(command.removeprefix("depickle env add ")).sklearn == spec.sklearn
