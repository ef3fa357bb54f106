#!/usr/bin/env bash
# Builds the image and writes it as an archive that `ctr images import` and `docker load` take: packaging/build-image.sh [FILE]
#
# With docker where its engine answers, else with buildah, whose storage is then a folder of ours that goes at the end.
# LHNET_IMAGE_BASE names the base. Unset: the Dockerfile's, if it can be had, else one made on the spot, with the wheels beside it, from
# Debian's and Python's packages alone. LHNET_IMAGE_BASE=made: made in any case, no image registry is asked.
# Nothing is pushed anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

archive=${1:-build/lhnet-agent.tar}
python=${PYTHON:-.venv/bin/python}
suite=bookworm
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# A change that no commit holds is no revision of anything.
if [ "$revision" != unknown ] && [ -n "$(git status --porcelain -- Dockerfile packaging agent requirements pyproject.toml)" ]; then
  revision=$revision-dirty
fi
base=${LHNET_IMAGE_BASE:-}
pulled=$(sed -n 's/^ARG BASE=//p' Dockerfile)
name=lhnet-agent:$version
made=localhost/lhnet-base:$suite

fail() {
  echo "image: $*" >&2
  exit 1
}

# What programs print matters to nobody unless they fail.
quietly() {
  if ! "$@" >build/.image.log 2>&1; then
    cat build/.image.log >&2
    fail "$1 failed"
  fi
}

mkdir -p build "$(dirname "$archive")"
# Two builds at a time would make the same base twice, and the one would replace the other's wheels.
exec 9>build/.image.lock
flock 9
# Of a build that was killed.
rm -rf --one-file-system build/.containers.*

engine=
if command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; then
  engine=docker
elif command -v buildah >/dev/null; then
  engine=buildah
  storage=$(mktemp -d "$PWD/build/.containers.XXXXXX")
  trap 'rm -rf --one-file-system "$storage"' EXIT
  trap 'exit 130' INT TERM HUP
  # chroot is the isolation that needs no runtime and no cgroups, vfs the storage that needs no mount.
  export BUILDAH_ISOLATION=chroot
  buildah() { command buildah --storage-driver vfs --root "$storage/root" --runroot "$storage/run" "$@"; }
else
  fail "neither a docker engine nor buildah is here"
fi

have_base() {
  case $engine in
    docker) docker image inspect "$1" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$1" >/dev/null 2>&1 ;;
    buildah) timeout 300 buildah --storage-driver vfs --root "$storage/root" --runroot "$storage/run" pull --quiet "$1" >/dev/null 2>&1 ;;
  esac
}

# Python and what it stands on: no package manager, no compiler, no Perl. The hook and the package keep that of `usrmerge` out.
make_base() {
  [ -s "build/base-$suite.tar" ] && return
  command -v mmdebstrap >/dev/null || fail "no base image can be had, and mmdebstrap, which would make one, is not here"
  echo "image: making a base of Debian $suite"
  quietly mmdebstrap --quiet --variant=essential --include=python3,usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "build/.base-$suite.tar"
  mv "build/.base-$suite.tar" "build/base-$suite.tar"
}

import_base() {
  case $engine in
    docker) quietly docker import "build/base-$suite.tar" "$made" ;;
    buildah)
      local container
      container=$(buildah from scratch)
      buildah add --quiet "$container" "build/base-$suite.tar" / >/dev/null
      buildah commit --quiet --rm "$container" "$made" >/dev/null
      ;;
  esac
}

# For the base's Python, whichever one runs pip here: hence every tag of its C library, and no marker, which pip would judge by its own version.
fetch_wheels() {
  local wanted tag platforms=(--platform any --platform "manylinux2014_$(uname -m)")
  wanted=$(cat requirements/run.txt; grep -E '^(pip|setuptools)==' requirements/dev.txt)
  if [ -d build/wheels ] && [ "$wanted" = "$(cat build/wheels/.wanted 2>/dev/null)" ]; then return; fi
  for tag in $(seq 5 36); do platforms+=(--platform "manylinux_2_${tag}_$(uname -m)"); done
  rm -rf build/wheels
  mkdir -p build/wheels
  echo "$wanted" | sed -e '/sys_platform == .win32/d' -e 's/ ;.*//' -e '/^ *#/d' >build/wheels/.names
  quietly "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 "${platforms[@]}" \
    --dest build/wheels --requirement build/wheels/.names
  echo "$wanted" >build/wheels/.wanted
}

# Once one had to be made here, no registry is asked again.
if [ -z "$base" ] && { [ -s "build/base-$suite.tar" ] || ! have_base "$pulled"; }; then base=made; fi
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
if [ "$base" = made ]; then
  make_base
  import_base
  fetch_wheels
  arguments+=(--build-arg "BASE=$made" --build-context "wheels=build/wheels")
elif [ -n "$base" ]; then
  arguments+=(--build-arg "BASE=$base")
fi

echo "image: building $name with $engine"
case $engine in
  docker)
    quietly docker build --quiet "${arguments[@]}" --tag "$name" .
    docker save --output "$archive.new" "$name"
    ;;
  buildah)
    quietly buildah bud --quiet "${arguments[@]}" --iidfile "$storage/id" .
    # By its id, so that the archive carries this one name.
    buildah push --quiet "$(cat "$storage/id")" "docker-archive:$archive.new:$name" >/dev/null
    ;;
esac
mv "$archive.new" "$archive"
echo "image: $name is in $archive, $(($(stat -c %s "$archive") / 1048576)) MB"
