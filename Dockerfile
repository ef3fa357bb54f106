# The image of the DaemonSet: the agent and what it runs on, nothing of the lab, nothing to build with.
# Another base: --build-arg BASE=… (any image with Python 3.11 or newer and glibc, the same one for both stages; it needs no pip
# where wheels are given).
ARG BASE=python:3.11-slim-bookworm

# Empty unless a folder takes its place: --build-context wheels=DIR, with pip, setuptools and what requirements/run.txt names, for a build
# that asks no package index.
FROM scratch AS wheels

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/run.txt requirements/
COPY packaging/pip.sh packaging/
# Without pip inside: nothing is ever installed into the running image.
RUN --mount=type=bind,from=wheels,target=/wheels \
    python3 -m venv --without-pip /opt/lhnet-agent \
    && sh packaging/pip.sh install --no-compile --no-deps --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
RUN --mount=type=bind,from=wheels,target=/wheels \
    rm -rf agent/lab agent/cli/lab.py \
    && sh packaging/pip.sh install --no-compile --no-deps . \
    # Compiled here, since the root file system is read-only later: without it every start costs three times the CPU.
    && /opt/lhnet-agent/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/lhnet-agent/lib

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lhnet-agent" \
      org.opencontainers.image.description="Node-level diagnostic agent for the Longhorn storage network" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/lhnet-agent /opt/lhnet-agent
ENV PATH=/opt/lhnet-agent/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=1
EXPOSE 9811
# As user 0: capabilities that a manifest adds do not reach other users.
ENTRYPOINT ["/opt/lhnet-agent/bin/lhnet-agent"]
CMD ["run"]
