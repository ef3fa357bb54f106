# The image of the DaemonSet: the agent and what it runs on, nothing of the lab, nothing to build with.
# Another base: docker build --build-arg BASE=… (any image with Python 3.11 or newer and glibc, the same one for both stages)
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/run.txt requirements/
# Without pip inside: nothing is ever installed into the running image.
RUN python -m venv --without-pip /opt/lhnet-agent \
    && python -m pip --python /opt/lhnet-agent/bin/python install --no-cache-dir --no-compile --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
RUN rm -rf agent/lab agent/cli/lab.py \
    && python -m pip --python /opt/lhnet-agent/bin/python install --no-cache-dir --no-compile --no-deps . \
    # Compiled here, since the root file system is read-only later: without it every start costs three times the CPU.
    && /opt/lhnet-agent/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/lhnet-agent/lib

FROM ${BASE}
ARG VERSION=0.1.0
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
