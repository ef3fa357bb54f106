#!/bin/sh
# pip for the image's virtual environment, which has none: the base's own, or the one in /wheels, and then nothing else is asked.
set -eu
if ls /wheels/pip-*.whl >/dev/null 2>&1; then
    # A wheel is an archive that Python runs from as it is.
    PYTHONPATH=$(echo /wheels/pip-*.whl)
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
    export PYTHONPATH PIP_NO_INDEX PIP_FIND_LINKS
fi
# setuptools warns of the folder of pages, which is meant to be data.
export PYTHONWARNINGS=ignore
exec python3 -m pip --quiet --disable-pip-version-check --no-cache-dir --python /opt/lhnet-agent/bin/python "$@"
