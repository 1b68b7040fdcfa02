#!/bin/bash
# Starts the agent on a rented machine: fetches it with the machine's identity, checks it, finds it a Python, runs it.
#
# This text is sent as it is: nothing is pasted into it and its hash never changes. Its one parameter is base64 of JSON
#   {"account_url", "client_id", "agent": {"container", "blob", "sha256"}, "job": {"container", "blob", "sha256"}}
# in MUSTER_NODE (a named parameter of a managed run command is an environment variable), or else in $1.
# Exit codes: 2 the parameter is unusable, 4 identity or storage refused, 1 no Python could be made, else the agent's.
set -euo pipefail
umask 077

parameter="${MUSTER_NODE:-${1:-}}"
unset MUSTER_NODE
base="${HOME:-/root}/.muster"
mkdir -p "$base"

# Standard library only: whatever python3 the machine has must do. Prints the agent's folder and the job's reference.
fetched="$(python3 -I - "$base" "$parameter" <<'PYTHON'
import base64, hashlib, io, json, os, re, shutil, sys, tempfile, time, zipfile
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"
HOST = re.compile(r"[a-z0-9]{3,24}\.blob\.(core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net)")
MAX_AGENT_BYTES = 16 * 1024 * 1024


def leave(code, words):
    sys.stderr.write("muster bootstrap: %s\n" % words)
    sys.exit(code)


def parameter(text):
    try:
        given = json.loads(base64.b64decode(text, validate=True).decode("utf-8"))
        url = urlsplit(given["account_url"])
        assert url.scheme == "https" and HOST.fullmatch(url.netloc) and url.path in ("", "/"), "account_url"
        for name in ("agent", "job"):
            for field in ("container", "blob", "sha256"):
                assert isinstance(given[name][field], str) and given[name][field], "%s.%s" % (name, field)
        assert re.fullmatch("[0-9a-f]{64}", given["agent"]["sha256"]), "agent.sha256"
        return given
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        leave(2, "unusable parameter: %s: %s" % (type(error).__name__, error))


def read(what, url, headers):
    """With the pauses Azure asks for while a fresh machine's identity endpoint or a role is not there yet."""
    for pause in (1, 2, 4, 8, 16, 32, None):
        try:
            with urlopen(Request(url, headers=headers), timeout=30) as answer:
                return answer.read(MAX_AGENT_BYTES + 1)
        except HTTPError as error:
            if error.code not in (404, 408, 410, 429) and error.code < 500 or pause is None:
                leave(4, "%s: HTTP %d" % (what, error.code))
        except (URLError, OSError) as error:
            if pause is None:
                leave(4, "%s: %s" % (what, error))
        time.sleep(pause)


def token(client_id):
    """From the machine's metadata service; in a job on an Azure ML cluster, where that is out of reach, from the job's."""
    endpoint, secret = os.environ.get("MSI_ENDPOINT"), os.environ.get("MSI_SECRET")
    query = {"api-version": "2018-02-01", "resource": "https://storage.azure.com/"}
    name, headers = "client_id", {"Metadata": "true"}
    if endpoint and secret:  # as in azure-identity, _credentials/azure_ml.py
        query["api-version"], name, headers = "2017-09-01", "clientid", {"secret": secret}
    if client_id:
        query[name] = client_id
    url = (endpoint if endpoint and secret else IMDS) + "?" + urlencode(query)
    return json.loads(read("identity", url, headers))["access_token"]


def unpacked(base, data, digest):
    """The agent's folder; made aside and moved into place, so that a half-made one is never used."""
    target = os.path.join(base, digest)
    if not os.path.isdir(target):
        fresh = tempfile.mkdtemp(dir=base)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(fresh)
        try:
            os.rename(fresh, target)
        except OSError:
            shutil.rmtree(fresh)
    return target


given = parameter(sys.argv[2])
agent, account = given["agent"], given["account_url"].rstrip("/")
address = "%s/%s/%s" % (account, quote(agent["container"]), quote(agent["blob"]))
headers = {"Authorization": "Bearer " + token(given.get("client_id")), "x-ms-version": "2021-12-02"}
data = read("agent", address, headers)
found = hashlib.sha256(data).hexdigest()
if found != agent["sha256"]:
    leave(2, "the agent has sha256 %s, promised is %s" % (found, agent["sha256"]))
reference = dict(given["job"], account_url=account, client_id=given.get("client_id"))
print(unpacked(sys.argv[1], data, found))
print(base64.b64encode(json.dumps(reference).encode("utf-8")).decode("ascii"))
PYTHON
)"
folder="$(sed -n 1p <<<"$fetched")"
reference="$(sed -n 2p <<<"$fetched")"
requirements="$folder/node/requirements.txt"

if python3 "$folder/node/ensure.py" "$requirements"; then
  python=python3
else
  environment="$base/python-$(sha256sum "$requirements" | cut -c 1-16)"
  python="$environment/bin/python"
  exec 9>"$environment.lock"
  flock 9 # two jobs on one machine must not build it at once
  if ! { [ -x "$python" ] && "$python" "$folder/node/ensure.py" "$requirements"; }; then
    # --target: works without root, without venv, and where the system's Python is "externally managed"
    python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$base/uv" uv==0.13.8 >&2 &&
      "$base/uv/bin/uv" venv --quiet --allow-existing --python 3.13 "$environment" >&2 &&
      "$base/uv/bin/uv" pip install --quiet --python "$python" -r "$requirements" >&2 ||
      { echo "muster bootstrap: no Python with the agent's needs could be made" >&2 && exit 1; }
  fi
  exec 9>&-
fi

cd "$folder"
exec "$python" -m node.agent "$reference"
