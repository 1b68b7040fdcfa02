"""Scripts on simulated machines, through ARM."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.azuresim.azure_client import COMPUTE, Azure, code, until, vm_body, vm_id


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start_sleeper(azure: Azure, folder: Path, name: str = "job", **properties: object) -> int:
    """An asynchronous command that never ends; gives its process id."""
    note = folder / f"{name}.pid"
    script = f"echo $$ > {note}; exec sleep 1000"
    answer = azure.run("a", script, name, **{"asyncExecution": True, **properties})
    assert answer.status_code == 201, answer.text
    pid = int(until(lambda: note.read_text() if note.exists() else "", lambda text: text.endswith("\n")))
    assert is_alive(pid)
    return pid


def test_a_script_runs_with_its_parameters_in_a_place_of_its_own(azure: Azure) -> None:
    azure.create_vm()
    parameters = [{"name": "greeting", "value": "hello world"}, {"name": "", "value": "positional"}]
    secrets = [{"name": "secret", "value": "s3cret"}]
    script = 'echo "$greeting $1 $secret"; pwd >&2; echo $HOME >&2; command -v python3 >&2'
    answer = azure.run("a", script, parameters=parameters, protectedParameters=secrets)
    assert answer.json()["properties"]["provisioningState"] == "Creating"
    assert "s3cret" not in answer.text
    view = azure.finished("a")
    assert (view["executionState"], view["exitCode"]) == ("Succeeded", 0)
    assert view["output"] == "hello world positional s3cret\n"
    where, home, python = view["error"].split()
    assert where.startswith(home) and not where.startswith(str(Path.cwd()))
    assert Path(python).parent == Path(sys.executable).parent
    shown = azure.get(f"{vm_id('a')}/runCommands/job")
    assert "instanceView" not in shown["properties"]
    assert "s3cret" not in str(shown)


def test_a_failed_script_is_seen_in_the_instance_view_only(azure: Azure) -> None:
    azure.create_vm()
    put = azure.run("a", "echo oops >&2; exit 7")
    view = azure.finished("a")
    assert (view["executionState"], view["exitCode"], view["error"]) == ("Failed", 7, "oops\n")
    assert azure.get(put.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    assert azure.get(f"{vm_id('a')}/runCommands/job")["properties"]["provisioningState"] == "Succeeded"


def test_a_failed_script_fails_the_deployment_if_asked_to(azure: Azure) -> None:
    azure.create_vm()
    put = azure.run("a", "exit 7", treatFailureAsDeploymentFailure=True)
    azure.finished("a")
    operation = azure.get(put.headers["Azure-AsyncOperation"])
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "VMExtensionProvisioningError")


def test_only_the_end_of_the_output_is_kept(azure: Azure) -> None:
    azure.create_vm()
    output = azure.outcome("seq 1 5000")["output"]
    assert len(output) == 4096
    assert output.endswith("4999\n5000\n")


def test_an_asynchronous_command_is_provisioned_before_its_script_ends(azure: Azure, tmp_path: Path) -> None:
    azure.create_vm()
    start_sleeper(azure, tmp_path)
    assert azure.get(f"{vm_id('a')}/runCommands/job")["properties"]["provisioningState"] == "Succeeded"
    assert azure.script("a")["executionState"] == "Running"


def test_a_script_is_stopped_at_its_virtual_time_limit(azure: Azure, tmp_path: Path) -> None:
    azure.create_vm()
    pid = start_sleeper(azure, tmp_path, timeoutInSeconds=120)
    azure.control.advance(100)
    assert azure.script("a")["executionState"] == "Running"
    azure.control.advance(30)
    assert azure.finished("a")["executionState"] == "TimedOut"
    assert not is_alive(pid)


def test_putting_a_command_again_does_not_run_it_again_but_a_changed_one_runs(
    azure: Azure, tmp_path: Path
) -> None:
    azure.create_vm()
    count = f"echo x >> {tmp_path}/count"
    azure.run("a", count)
    azure.finished("a")
    assert azure.run("a", count).status_code == 200
    assert azure.finished("a")["executionState"] == "Succeeded"
    assert (tmp_path / "count").read_text() == "x\n"
    assert azure.run("a", f"{count} # changed").status_code == 200
    assert azure.finished("a")["executionState"] == "Succeeded"
    assert (tmp_path / "count").read_text() == "x\nx\n"


def test_deleting_a_command_ends_its_script(azure: Azure, tmp_path: Path) -> None:
    azure.create_vm()
    pid = start_sleeper(azure, tmp_path)
    path = f"{vm_id('a')}/runCommands/job"
    assert azure.send("DELETE", path).status_code == 202
    until(lambda: is_alive(pid), lambda alive: not alive)
    azure.control.advance(5)
    assert code(azure.send("GET", path)) == (404, "ResourceNotFound")
    assert azure.send("DELETE", path).status_code == 204


def test_deleting_a_machine_kills_all_that_runs_on_it(azure: Azure, tmp_path: Path) -> None:
    azure.create_vm()
    script = f"setsid nohup sleep 1000 & echo $! > {tmp_path}/escaped; sleep 1000"
    azure.run("a", script, asyncExecution=True)
    note = tmp_path / "escaped"
    pid = int(until(lambda: note.read_text() if note.exists() else "", lambda text: text.endswith("\n")))
    home = Path(azure.outcome("echo $HOME")["output"].strip())
    assert is_alive(pid) and home.is_dir()
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert not is_alive(pid)
    assert not home.exists()
    assert azure.existing("Microsoft.Compute/virtualMachines/runCommands") == set()


def test_stopping_a_machine_ends_its_scripts_and_keeps_its_files(azure: Azure, tmp_path: Path) -> None:
    azure.create_vm()
    azure.outcome("echo kept > $HOME/file")
    pid = start_sleeper(azure, tmp_path)
    azure.post("a", "deallocate")
    azure.control.advance(30)
    assert not is_alive(pid)
    view = azure.script("a")
    assert (view["executionState"], view["exitCode"]) == ("Failed", -1)
    assert code(azure.run("a", "echo no", "late")) == (409, "OperationNotAllowed")
    azure.post("a", "start")
    azure.control.advance(40)
    assert azure.outcome("cat $HOME/file")["output"] == "kept\n"


def test_a_command_for_no_machine_or_an_unready_one_is_refused(azure: Azure) -> None:
    assert code(azure.run("none", "echo")) == (404, "ParentResourceNotFound")
    azure.send("PUT", vm_id("a"), vm_body(azure.env))
    assert code(azure.run("a", "echo")) == (409, "Conflict")
    azure.control.advance(60)
    assert azure.send("PUT", f"{vm_id('a')}/runCommands/x", {"location": "westeurope"}).status_code == 400
    assert code(azure.run("a", "echo", runAsUser="nobody")) == (400, "NotImplementedBySimulator")


def test_a_command_waits_for_the_agent(azure: Azure) -> None:
    azure.send("PUT", vm_id("a"), vm_body(azure.env))
    azure.control.advance(46)  # provisioned at 45 s, the agent is ready at 57 s
    azure.run("a", "echo up", asyncExecution=True)
    assert azure.script("a")["executionState"] == "Pending"
    azure.control.advance(15)
    assert azure.finished("a")["output"] == "up\n"


def test_commands_can_be_listed_with_their_views(azure: Azure) -> None:
    azure.create_vm()
    azure.run("a", "echo 1", "one")
    azure.run("a", "echo 2", "two")
    azure.finished("a", "one")
    azure.finished("a", "two")
    path = f"{vm_id('a')}/runCommands?$expand=instanceView&api-version={COMPUTE}"
    views = {each["name"]: each["properties"]["instanceView"]["output"] for each in azure.get(path)["value"]}
    assert views == {"one": "1\n", "two": "2\n"}


def test_the_action_answers_with_its_output_one_at_a_time(azure: Azure) -> None:
    azure.create_vm()
    body = {"commandId": "RunShellScript", "script": ["echo out", "echo err >&2"]}
    first = azure.send("POST", f"{vm_id('a')}/runCommand", body)
    assert first.status_code == 202
    assert code(azure.send("POST", f"{vm_id('a')}/runCommand", body)) == (409, "Conflict")
    azure.control.advance(5)
    result = first.headers["Location"]
    until(lambda: azure.control.events(type_="script_ended"), bool)
    assert azure.send("GET", result).status_code == 202
    azure.control.advance(30)
    message = azure.get(result)["value"][0]["message"]
    assert message == "Enable succeeded: \n[stdout]\nout\n\n[stderr]\nerr\n"
    assert azure.send("POST", f"{vm_id('a')}/runCommand", body).status_code == 202
